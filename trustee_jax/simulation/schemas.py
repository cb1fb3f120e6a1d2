"""The JSON schemas that simulator answers are held to while they are decoded.

All texts and lists are bounded, so that an answer ends within a few hundred tokens. The features
used are those that llguidance and jsonschema understand alike.
"""

import functools
from typing import Any

import jsonschema

from trustee_jax.simulation.prompts import CRITERIA

Schema = dict[str, Any]

_AMOUNT = {"type": "number", "minimum": -(10**9), "maximum": 10**9, "multipleOf": 0.01}
_KEY = "^[a-z][a-z0-9_]{0,23}$"
# Small models like to answer with a letter, which is neither a wish nor a person.
_LEAST_TEXT = 4
# The engine writes decimal digits; a float is rarely an exact multiple of 0.01.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"multipleOf": lambda *_: None}
)


@functools.cache
def task_schema(tools: tuple[str, ...], calls: int, text_limit: int) -> Schema:
    """Schema of a task: {persona, intent, expected_calls, query}."""
    text = _text(text_limit, least=_LEAST_TEXT)
    persona = _text(text_limit // 2, least=_LEAST_TEXT)
    name = {"type": "string", "enum": list(tools)}
    expected = {"type": "array", "items": name, "minItems": calls, "maxItems": calls}
    return _closed(persona=persona, intent=text, expected_calls=expected, query=text)


@functools.cache
def user_schema(text_limit: int) -> Schema:
    """Schema of a user's message: {message}; "" ends the conversation."""
    return _closed(message=_text(text_limit))


@functools.cache
def result_schema(result_limit: int) -> Schema:
    """Schema of a tool result: a small object of texts, amounts, lists and lists of objects."""
    short = _scalar(max(16, result_limit // 16))
    items = {"anyOf": [short, _open(short, most=3)]}
    listing = {"type": "array", "items": items, "maxItems": 3}
    value = {"anyOf": [*_scalar(max(24, result_limit // 4))["anyOf"], listing]}
    return _open(value, most=5)


@functools.cache
def verdict_schema(criteria: int, text_limit: int) -> Schema:
    """Schema of a verdict: {reasoning, one boolean for each of the first criteria}."""
    flags = {name: {"type": "boolean"} for name in CRITERIA[:criteria]}
    return _closed(reasoning=_text(text_limit), **flags)


def matches(value: Any, schema: Schema) -> bool:
    """Whether a decoded answer fits its schema."""
    return _Validator(schema).is_valid(value)


def _text(most: int, least: int = 0) -> Schema:
    return {"type": "string", "minLength": least, "maxLength": most}


def _scalar(text_limit: int) -> Schema:
    return {"anyOf": [_text(text_limit), _AMOUNT, {"type": "boolean"}]}


def _closed(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _open(value: Schema, most: int) -> Schema:
    return {
        "type": "object",
        "patternProperties": {_KEY: value},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": most,
    }
