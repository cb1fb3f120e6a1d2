"""Tools that are functions of a user's file: typed, with a docstring in Google's style."""

import ast
import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any

from trustee_jax import plugins
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.invocations import Invocation
from trustee_jax.environment.tools.backend import Answer, CallContext, invoke
from trustee_jax.errors import ConfigError, one_line
from trustee_jax.paths import user_path
from trustee_jax.toolsets.importing.drafts import modern
from trustee_jax.toolsets.schema import function_problems
from trustee_jax.toolsets.tool import Tool

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class PythonTool:
    """A function of this process, which may also be `async`."""

    def __init__(self, function: Callable[..., Any], deadline: float):
        """Takes the function, and the seconds that a call of it may take."""
        self._function = function
        self._deadline = deadline

    def answer(self, call: CallRecord, context: CallContext) -> Generator[Invocation, Any, Answer]:
        """Coroutine that answers one call; see `ToolBackend`."""
        return (yield from invoke(self._call, call, self._deadline))

    def _call(self, arguments: dict[str, Any]) -> Any:
        result = self._function(**arguments)
        if inspect.iscoroutine(result):
            return asyncio.run(asyncio.wait_for(result, self._deadline))
        return result


def read_functions(path: str, category: str) -> Iterator[tuple[Tool, Callable[..., Any]]]:
    """Runs a file and makes a tool of each of its functions.

    Those are the names in its `__all__`, else all public functions that it defines itself. A tool's
    description is the docstring without its sections; types and the section Args make the schema,
    by the rules of `transformers.utils.get_json_schema`.

    Args:
      path: Of the file.
      category: Of all tools.

    Raises:
      ConfigError: The file does not import or has no functions; or one of them cannot be a tool.
    """
    module = plugins.load(path, "tools")
    functions: dict[str, Any] = plugins.functions(module)
    if (listed := getattr(module, "__all__", None)) is not None:
        functions = {str(name): getattr(module, str(name), None) for name in listed}
    twice = [name for name, count in _defined(path).items() if count > 1 and name in functions]
    if twice:
        fix = f"function {twice[0]} is defined twice; rename one of the two"
        raise ConfigError("tools", path, fix)
    if not functions:
        fix = "the file defines no public function; define one, typed and with a docstring"
        raise ConfigError("tools", path, fix)
    for name, function in functions.items():
        if not callable(function):
            raise ConfigError("tools", path, f"__all__ names {name!r}, which is no function there")
        schema, problem = _schema(name, function)
        if problem:
            raise ConfigError("tools", path, f"function {name}: {problem}")
        yield Tool(name, schema["description"], schema["parameters"], category), function


def _defined(path: str) -> Counter[str]:
    """How often a file defines each of its functions; of two of one name only the last is left."""
    nodes = ast.parse(user_path(path).read_bytes()).body
    return Counter(n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _schema(name: str, function: Callable[..., Any]) -> tuple[dict[str, Any], str]:
    """A function as tools describe it, and what is wrong with it, with the remedy."""
    # It imports PyTorch, where that is installed.
    from transformers.utils import chat_template_utils as library

    text = inspect.getdoc(function)
    if not text or not text.strip():
        return {}, "it has no docstring; say what it does, and describe its arguments under Args:"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return {}, "it yields; return the whole result"
    _, described, _ = library.parse_google_format_docstring(text.strip())
    try:
        signature = inspect.signature(function)
    except ValueError:
        return {}, "it has no signature; wrap it in a function that has one"
    for parameter in signature.parameters.values():
        if parameter.kind not in _BY_NAME:
            return {}, f"{parameter}: a call gives arguments by name; name them one by one"
        if parameter.annotation is inspect.Parameter.empty:
            fix = f"write one, e.g. {parameter.name}: str"
            return {}, f"argument {parameter.name!r} has no type; {fix}"
        if parameter.name not in (described or {}):
            fix = "describe it in the docstring under Args:"
            return {}, f"argument {parameter.name!r} is not described; {fix}"
    try:
        schema = library.get_json_schema(function)["function"]
        parameters, _ = modern(schema["parameters"])
    except Exception as error:  # types are evaluated, and may be of any kind
        return {}, f"its types make no schema: {one_line(error, 300)}; use plain ones"
    found = {"name": name, "description": schema["description"], "parameters": parameters}
    problems = function_problems(found)
    return found, problems[0] if problems else ""
