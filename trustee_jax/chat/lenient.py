"""Reads calls as a benevolent reader would, who cares for what is called and not for its form."""

import ast
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trustee_jax.chat.parsing import AssistantTurn, ToolCall
from trustee_jax.chat.unmarked import calls_in, is_schema, json_objects
from trustee_jax.text import without_surrogates

Parameters = Mapping[str, Sequence[str]]
"""Tool -> the names of its parameters, in order."""

_DECODER = json.JSONDecoder(parse_constant=str, strict=False)
_FENCED = re.compile(r"```\w*\n?(.*?)```", re.DOTALL)
_CALL = re.compile(r"(?<![\w.])(?<!def )([A-Za-z_][\w.]*)\s*\(")
_JSON_WORDS = {"true": True, "false": False, "null": None}
# Of a call in Python's form, in characters: what is longer is none, and not looked through.
_LONGEST = 10_000


def lenient_calls(turn: AssistantTurn, tools: Parameters) -> tuple[ToolCall, ...]:
    """The calls of a turn in any form that leaves no doubt about what is called.

    These are, beside the model's own form and in this order, of which the first with a call counts:
    JSON objects as `unmarked_calls` finds them, e.g. without tags, in a fence or a list, with
    `parameters` or arguments as text; objects of a tool's name and its arguments; both of them with
    brackets missing at the end, or in Python's spelling; calls as Python writes them, of which
    values without a name belong to the tool's parameters in their order. "." in a tool's name
    stands for "_", too. A tool that was not offered is never called.

    Args:
      turn: What the model wrote. Its thoughts are not read.
      tools: What the model was offered.
    """
    found: list[ToolCall] = []
    for attempt in turn.attempts:
        found += [attempt] if isinstance(attempt, ToolCall) else _read(attempt.text, tools)
    return tuple(found or _read(turn.content, tools))


def parameters(tools: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """What `lenient_calls` needs to know of OpenAI tools."""
    functions = (tool["function"] for tool in tools)
    return {
        function["name"]: tuple(function.get("parameters", {}).get("properties", {}))
        for function in functions
    }


class _Names(frozenset[str]):
    """Names of tools, which may be written with dots in place of underscores."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(_plain(str(name)))


def _plain(name: str) -> str:
    return name.strip().replace(".", "_")


def _read(text: str, tools: Parameters) -> list[ToolCall]:
    names = _Names(tools)
    for values in (_json_values(text), _json_values(_closed(text)), _python_values(text)):
        found = list(values)
        calls = [call for value in found for call in _named(value, names)]
        if calls := calls or [call for value in found for call in _keyed(value, names)]:
            return calls
    return list(_python_calls(text, tools, names))


def _json_values(text: str) -> Iterator[Any]:
    try:
        yield from json_objects(text, _DECODER)
    except ValueError:  # an integer of more digits than Python reads
        return


def _python_values(text: str) -> Iterator[Any]:
    """Dicts and lists in Python's spelling that are the whole text, or a fenced part of it."""
    for part in (text, *_FENCED.findall(text)):
        try:
            yield ast.literal_eval(part.strip()[:_LONGEST])
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue


def _closed(text: str) -> str:
    """The text from its first object on, with the closing brackets that it lacks at the end."""
    start = text.find("{")
    if start < 0:
        return ""
    text = text[start:].rstrip().rstrip("`").rstrip()
    open_brackets: list[str] = []
    for part in re.findall(r'"(?:[^"\\]|\\.)*"|[][{}]', text, re.DOTALL):
        if part in "{[":
            open_brackets.append("}" if part == "{" else "]")
        elif part in "}]" and open_brackets:
            open_brackets.pop()
    return text + "".join(reversed(open_brackets))


def _named(value: Any, names: _Names) -> Iterator[ToolCall]:
    """Calls as objects with a name and arguments, at any depth."""
    for name, arguments in calls_in(value, names):
        if isinstance(arguments, str):
            given = itertools.chain(_json_values(arguments), _python_values(arguments))
            arguments = next(given, None)
        if isinstance(arguments, dict):
            yield _call(name, arguments)


def _keyed(value: Any, names: _Names) -> Iterator[ToolCall]:
    """Calls as objects of one name, whose value is the arguments."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and all(key in names for key in one):
            for name, arguments in one.items():
                if isinstance(arguments, dict) and not is_schema(arguments):
                    yield _call(name, arguments)


def _python_calls(text: str, tools: Parameters, names: _Names) -> Iterator[ToolCall]:
    position = 0
    while match := _CALL.search(text, position):
        position = match.end()
        if match[1] not in names:
            continue
        end = _end_of_call(text, position)
        if end is None:
            continue
        call = _python_call(text[match.start() : end], tools[_plain(match[1])])
        # "You could use find()" names a tool; it is a call where nothing stands beside it.
        if call and (call.arguments or not _beside(text, match.start(), end).strip(" `;,[]")):
            yield call
            position = end


def _end_of_call(text: str, start: int) -> int | None:
    """The place after the bracket that closes the one before `start`."""
    depth, quote, escaped = 1, "", False
    for place in range(start, min(len(text), start + _LONGEST)):
        sign = text[place]
        if quote:
            quote = "" if sign == quote and not escaped else quote
            escaped = sign == "\\" and not escaped
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if not depth:
                return place + 1
    return None


def _beside(text: str, start: int, end: int) -> str:
    """The rest of the line."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    return text[first:start] + text[end : last if last >= 0 else len(text)]


def _python_call(text: str, names: Sequence[str]) -> ToolCall | None:
    try:
        node = ast.parse(" ".join(text.splitlines()), mode="eval").body
        if not isinstance(node, ast.Call) or len(node.args) > len(names):
            return None
        given = [*zip(names, node.args, strict=False)]
        given += [(word.arg, word.value) for word in node.keywords if word.arg is not None]
        if len(given) < len(node.args) + len(node.keywords):
            return None
        return _call(ast.unparse(node.func), {name: _value(value) for name, value in given})
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr) -> Any:
    """A value; what is none in JSON is its text."""
    if isinstance(node, ast.Name) and node.id in _JSON_WORDS:
        return _JSON_WORDS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        return {
            str(_value(key)): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.unparse(node)
    return value if isinstance(value, str | int | float | None) else ast.unparse(node)


def _call(name: str, arguments: Mapping[Any, Any]) -> ToolCall:
    return ToolCall(_plain(name), _plain_json(arguments))


def _plain_json(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, Mapping):
        return {without_surrogates(str(key)): _plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain_json(item) for item in value]
    return value if isinstance(value, bool | int | float | None) else str(value)
