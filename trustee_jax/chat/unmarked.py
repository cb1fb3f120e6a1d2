"""Calls that a model wrote as mere text: without the tags, or beside the form, of its family."""

import json
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

_NAME_KEYS = ("name", "function")
_ARGUMENT_KEYS = ("arguments", "parameters")
# A JSONDecodeError counts the lines before it, so text that is done with is cut off now and then.
_DONE = 1 << 11
_OBJECT = re.compile(r'\{\s*"')
# Nothing is done with the values, so no number is too large and no character out of place.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)


def unmarked_calls(content: str, tool_names: Container[str]) -> tuple[str, ...]:
    """Finds JSON objects in a turn's text that name a tool and give its arguments.

    Small models often leave the tags out, or put a fence, a list or an object of another API around
    the call. Objects are found wherever they stand, within other JSON too; each needs `name` (or
    `function`) with a known tool's name, and `arguments` or `parameters` with an object or the JSON
    text of one. A schema in their place is a tool's description, which is no call. Takes time
    linear in the text.

    Args:
      content: The text of a turn, see `AssistantTurn.content`.
      tool_names: The tools that the model was offered.

    Returns:
      The tools' names, one per call.
    """
    found = json_objects(content, _DECODER)
    return tuple(name for value in found for name, _ in calls_in(value, tool_names))


def json_objects(content: str, decoder: json.JSONDecoder) -> Iterator[Any]:
    """Finds the JSON objects in a text that stand in no other one; takes linear time.

    Args:
      content: The text.
      decoder: Reads them.

    Yields:
      Their values, in order.
    """
    position = 0
    while match := _OBJECT.search(content, position):
        if match.start() > _DONE:
            content, position = content[match.start() :], 0
            continue
        position = match.end()
        try:
            value, position = decoder.raw_decode(content, match.start())
        except json.JSONDecodeError as error:
            # What was read up to there is not read again. Only a string without end is cut short
            # by its error, and no object begins within one.
            position = max(position, error.pos)
        except RecursionError:
            break
        else:
            yield value


def calls_in(value: Any, tool_names: Container[str]) -> Iterator[tuple[str, Any]]:
    """Finds the calls in a JSON value.

    Args:
      value: Any.
      tool_names: The tools that the model was offered.

    Yields:
      The tool's name, and the arguments: an object, or the JSON text of one.
    """
    pending = [value]  # no recursion: the decoder may nest deeper than the interpreter
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += reversed(value)
        elif isinstance(value, dict):
            name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), "")
            arguments = next((value[key] for key in _ARGUMENT_KEYS if key in value), None)
            if name.strip() in tool_names and _are_arguments(arguments):
                yield name.strip(), arguments
            else:
                pending += reversed(value.values())


def _are_arguments(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().startswith("{")
    return isinstance(value, dict) and not is_schema(value)


def is_schema(value: Mapping[str, Any]) -> bool:
    """Whether an object in the place of arguments describes them instead."""
    return value.get("type") == "object" and "properties" in value
