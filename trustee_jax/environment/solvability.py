"""Whether a task can be solved: what its calls need, and whether the user knows it."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trustee_jax.toolsets import Tool
from trustee_jax.toolsets.arguments import check_arguments

_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_WORDS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
# Apostrophes, the commas of 1,250,000 and the letters of 12th.
_ORNAMENTS = re.compile(r"['\u2019]|(?<=\d),(?=\d{3}(?!\d))|(?<=\d)(?:st|nd|rd|th)\b")
# What no way of saying a value gets round; a date may be said in words, and a choice by another
# name.
_HARD_LIMITS = ("type", "pattern", "minLength", "maxLength", "minimum", "maximum")


def needed_values(tool: Tool) -> dict[str, str]:
    """The parameters whose values only the user can know, and their types.

    These are the required ones that are a text or a number. One of fixed choices, a boolean and one
    with a default can be told from the wish; lists and objects are too free to be checked.
    """
    properties = tool.parameters.get("properties", {})
    return {
        name: str(schema["type"])
        for name in tool.parameters.get("required", ())
        # A schema may also be true or false.
        if isinstance(schema := properties.get(name), dict)
        and schema.get("type") in ("string", "number", "integer")
        and schema.keys().isdisjoint(("enum", "const", "default"))
    }


def missing_values(calls: Sequence[Mapping[str, Any]], text: str) -> list[str]:
    """Finds what an intent or a query does not say of the calls that are to fulfil it.

    A value is said if all its words and numbers stand in the text, in any order and spelling of
    case, accents, apostrophes, ordinals, thousands and small numbers. A later call may leave a
    value empty: it comes from the result of an earlier one.

    Args:
      calls: {name, values: parameter -> text} in order.
      text: What the user wants, or says.

    Returns:
      "call.parameter (value)" for each one missing.
    """
    known = set(plain_words(text))
    lacking = []
    for index, call in enumerate(calls):
        for parameter, value in call["values"].items():
            words = set(plain_words(value))
            if (not words and index == 0) or not words <= known:
                lacking.append(f"{call['name']}.{parameter} ({value!r})")
    return lacking


def unfit_values(calls: Sequence[Mapping[str, Any]], tools: Iterable[Tool]) -> list[str]:
    """Finds values that a tool refuses in any spelling: a card's last four digits that are ten.

    Args:
      calls: {name, values: parameter -> text} in order; an empty text is no value yet.
      tools: Those of the task.

    Returns:
      One message for each value that breaks its parameter's pattern, length or range.
    """
    by_name = {tool.name: tool for tool in tools}
    problems = []
    for call in calls:
        tool = by_name[call["name"]]
        properties = tool.parameters.get("properties", {})
        given = {name: text.strip() for name, text in call["values"].items() if text.strip()}
        limits = {
            name: {key: properties[name][key] for key in _HARD_LIMITS if key in properties[name]}
            for name in given
        }
        typed = {
            name: text if limits[name]["type"] == "string" else _number(text)
            for name, text in given.items()
        }
        schema = {"type": "object", "properties": limits}
        found = check_arguments(Tool(tool.name, "", schema, tool.category), typed)
        problems += [f"{tool.name}: {problem}" for problem in found]
    return problems


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() else float(text)


def plain_words(text: str) -> list[str]:
    """The words and numbers of a text, in one spelling: see `missing_values`."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    words = re.findall(r"\w+", _ORNAMENTS.sub("", plain))
    return [_WORDS.get(word, word) for word in words]
