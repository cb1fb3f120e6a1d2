"""Whether a task can be solved: what its calls need, and whether the user knows it."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from trustee_jax.toolsets import Tool

_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_WORDS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
# Apostrophes, the commas of 1,250,000 and the letters of 12th.
_ORNAMENTS = re.compile(r"['\u2019]|(?<=\d),(?=\d{3}(?!\d))|(?<=\d)(?:st|nd|rd|th)\b")


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


def missing_values(calls: Sequence[Mapping[str, Any]], intent: str) -> list[str]:
    """Finds what the intent does not say of the calls that are to fulfil it.

    A value is said if all its words and numbers stand in the intent, in any order and spelling of
    case, accents, apostrophes, ordinals, thousands and small numbers. A later call may leave a
    value empty: it comes from the result of an earlier one.

    Args:
      calls: {name, values: parameter -> text} in order.
      intent: What the user wants.

    Returns:
      "call.parameter (value)" for each one missing.
    """
    known = set(plain_words(intent))
    lacking = []
    for index, call in enumerate(calls):
        for parameter, value in call["values"].items():
            words = set(plain_words(value))
            if (not words and index == 0) or not words <= known:
                lacking.append(f"{call['name']}.{parameter} ({value!r})")
    return lacking


def plain_words(text: str) -> list[str]:
    """The words and numbers of a text, in one spelling: see `missing_values`."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    words = re.findall(r"\w+", _ORNAMENTS.sub("", plain))
    return [_WORDS.get(word, word) for word in words]
