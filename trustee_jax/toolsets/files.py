"""Files of tools in the OpenAI format: read with every problem named, and written."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trustee_jax.storage import replacing
from trustee_jax.toolsets.schema import function_problems
from trustee_jax.toolsets.tool import Tool, ToolError

DEFAULT_CATEGORY = "user"
SUFFIXES = (".json", ".jsonl")
# What the schema of a function's arguments is called by OpenAI, MCP, Anthropic and Gemini.
ARGUMENTS = ("parameters", "inputSchema", "input_schema", "parametersJsonSchema")
_LISTS = ("tools", "functions", "functionDeclarations", "function_declarations")
_SPACE = re.compile(r"\s*")
_NEXT = re.compile(r"^[\[{]", re.MULTILINE)
_WRAP = 'use {"type": "function", "function": {...}}'


def read_tools(file: Path, owners: dict[str, str] | None = None) -> list[Tool]:
    """Reads and checks one file.

    Args:
      file: Tools in the OpenAI format, each as {"type": "function", "function": {...}} or as the
        bare function dict, with an optional "category" beside it ("user" if absent). The file is a
        JSON list of tools, JSON lines of tools (.jsonl), {"<category>": [tools]},
        {"category": "...", "tools": [tools]}, {"tools": [tools]} with whatever else a request or
        an answer has, or one tool.
      owners: Name -> place, of tools read before; is added to, and no name may come twice.

    Raises:
      ToolError: With every problem of the file: its place, tool, field and remedy.
    """
    owners = owners if owners is not None else {}
    problems: list[str] = []
    tools = []
    for place, entry, category in raw_tools(file, problems):
        tool = _tool(entry, category, place, problems)
        if tool is None:
            continue
        here = f"{file.name} {place}"
        first = owners.setdefault(tool.name, here)
        if first != here:
            problems.append(
                f"{place} {tool.name!r}: name: already used by {first}; rename one of the two"
            )
        tools.append(tool)
    if problems:
        raise ToolError(str(file), problems)
    if not tools:
        raise ToolError(str(file), ["the file holds no tools; add at least one"])
    return tools


def write_tools(file: Path, tools: Iterable[Tool]) -> int:
    """Writes tools as they come, so that `read_tools` reads the same ones back.

    Args:
      file: JSON lines where its name ends in .jsonl, else a JSON list with a tool a line. It
        appears when it is complete.
      tools: With distinct names.

    Returns:
      The number of tools.

    Raises:
      ToolError: There are none.
    """
    lines = file.suffix == ".jsonl"
    count = 0
    with replacing(file) as stream:
        stream.write("" if lines else "[")
        for tool in tools:
            stream.write("" if not count else "\n" if lines else ",\n ")
            entry = {"category": tool.category, **tool.openai()}
            stream.write(json.dumps(entry, ensure_ascii=False))
            count += 1
        stream.write("\n" if lines else "]\n")
        if not count:
            raise ToolError(str(file), ["there are no tools to write"])
    return count


def _tool(entry: Any, category: str, place: str, problems: list[str]) -> Tool | None:
    """Builds a tool, or adds to `problems` what is wrong with it."""
    wrapper = entry if isinstance(entry, dict) else {}
    function = wrapper.get("function", wrapper)
    if not isinstance(function, dict) or not function:
        problems.append(f"{place}: not a tool; {_WRAP}")
        return None
    own_category: Any = wrapper.get("category", function.get("category", category))
    label = f"{place} {function.get('name', '(no name)')!r}"
    function = {k: v for k, v in function.items() if k not in ("type", "category")}
    found = function_problems(function)
    if wrapper.get("type", "function") != "function":
        found.append(f'type: {wrapper["type"]!r} is not supported; use "function"')
    if not isinstance(own_category, str) or not own_category.strip():
        found.append("category: must be a non-empty string; correct or drop it")
    problems += [f"{label}: {problem}" for problem in found]
    if found:
        return None
    # As in the OpenAI format, a tool without "parameters" takes no arguments.
    parameters = function.get("parameters", {"type": "object", "properties": {}})
    return Tool(function["name"], function["description"].strip(), parameters, own_category)


def raw_tools(file: Path, problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    """Yields (place in the file, what stands there, category) in the order of the file.

    Args:
      file: As `read_tools` takes it; nothing but the form of the file is checked.
      problems: Is added to: lines that are no JSON.

    Raises:
      ToolError: The file cannot be read, or has another form.
    """
    text = read_text(file, "there is no such file; name a file, a stored folder or starter")
    if file.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    entry = _json(line)
                except (ValueError, RecursionError) as error:
                    problems.append(f"line {number}: {_syntax(error, line)}")
                else:
                    yield f"line {number}", entry, DEFAULT_CATEGORY
        return
    try:
        document = _json(text)
    except (ValueError, RecursionError) as error:
        raise ToolError(str(file), [_syntax(error, text)]) from error
    document = _listed(document)
    if isinstance(document, list):
        groups: dict[str, Any] = {DEFAULT_CATEGORY: document}
    elif isinstance(document, dict) and isinstance(document.get("category"), str):
        if set(document) != {"category", "tools"}:
            raise ToolError(str(file), ['beside "category" there must be "tools", and no more'])
        groups = {document["category"]: document["tools"]}
    else:
        groups = document
    if not isinstance(groups, dict) or not all(isinstance(g, list) for g in groups.values()):
        raise ToolError(str(file), ['use a list of tools, or {"<category>": [tools], ...}'])
    for category, group in groups.items():
        for index, entry in enumerate(group):
            place = f"[{index}]" if isinstance(document, list) else f"{category}[{index}]"
            yield place, entry, category


def _listed(document: Any) -> Any:
    """The list of tools in a document that is one tool, a request or an answer; else itself."""
    if not isinstance(document, dict):
        return document
    if isinstance(document.get("function", document.get("name")), dict | str):
        tools = tools_within(document)
        if tools is None or not isinstance(document.get("category"), str):
            return [document] if tools is None else tools
    if isinstance(document.get("category"), str):
        return document
    if isinstance(document.get("result"), dict):  # as a server of tools sends it
        document = document["result"]
    lists = [key for key, value in document.items() if isinstance(value, list)]
    for key in _LISTS:
        if key in lists and (len(lists) == 1 or len(lists) < len(document)):
            return document[key]
    return document


def tools_within(entry: Any) -> list[Any] | None:
    """The tools of an entry that is none itself, such as the manifest of a server; None: it is."""
    if not isinstance(entry, dict) or isinstance(entry.get("function"), dict):
        return None
    if any(word in entry for word in ARGUMENTS):
        return None
    return next((entry[key] for key in _LISTS if isinstance(entry.get(key), list)), None)


def read_text(file: Path, absent: str = "") -> str:
    """Returns the text of a file.

    Args:
      file: In UTF-8.
      absent: What to say where there is no such file; "": what the system says.

    Raises:
      ToolError: It cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{error}; give a UTF-8 file"
        problem = absent if absent and isinstance(error, FileNotFoundError) else problem
        raise ToolError(str(file), [f"cannot be read: {problem}"]) from error


def json_values(text: str) -> Iterator[tuple[int, Any, str]]:
    """Yields (line, value, "") of each value; (line, None, what is wrong) where there is none.

    An object that has a key twice is none: one of the two values would be lost.
    After something broken it goes on with the next line that begins with "{" or "[".
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    position, line, counted = _SPACE.match(text).end(), 1, 0  # type: ignore[union-attr]
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield line, None, str(error) or type(error).__name__
            following = _NEXT.search(text, position + 1)
            position = following.start() if following else len(text)
        else:
            yield line, value, ""
            position = _SPACE.match(text, position).end()  # type: ignore[union-attr]


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=unique_keys, parse_constant=_no_constant)


def _syntax(error: Exception, text: str) -> str:
    """What is wrong with a text that is no JSON, and what to do about it."""
    fix = "correct it"
    if isinstance(error, json.JSONDecodeError):
        before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
        if after.startswith(","):  # where Python 3.13 places it
            before, after = f"{before},", after[1:].lstrip()
        if after.startswith(("}", "]")) and before.endswith(","):
            fix = f"drop the comma before the {after[0]!r}"
        elif after.startswith("'"):
            fix = "write double quotes instead of single ones"
        elif after.startswith(("//", "/*", "#")):
            fix = "drop the comment, JSON has none"
        elif error.msg == "Extra data":
            fix = "put all tools into one list, or name a file of JSON lines .jsonl"
        elif text.strip() and text.lstrip()[0] not in "[{":
            fix = "`trustee tools import` reads YAML, and documents of other formats"
        elif not after:
            fix = "it ends too early, complete it" if before else "it is empty, write the tools"
    return f"not valid JSON: {error}; {fix}"


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object of its pairs (an `object_pairs_hook`).

    Raises:
      ValueError: A key stands in it twice.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")
