"""The JSON schemas that simulator answers are held to while they are decoded.

All texts and lists are bounded, so that an answer ends within a few hundred tokens. The features
used are those that llguidance and jsonschema understand alike.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from trustee_jax.errors import raises_recursion_error
from trustee_jax.simulator.prompts import CRITERIA

Schema = dict[str, Any]

_AMOUNT = {"type": "number", "minimum": -(10**9), "maximum": 10**9, "multipleOf": 0.01}
_KEY = "^[a-z][a-z0-9_]{0,23}$"
_ID = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$"}
_VALUE_LENGTH = 48
# Of a value that the calls of a task need; empty, it comes from an earlier result.
_WRITTEN: dict[str, Schema] = {
    # No quotes and brackets: small models otherwise go on in JSON within the text. What is allowed
    # is listed, because llguidance lets escapes of a character through that is only excluded. The
    # ranges hold the letters of other alphabets, as \w is ASCII's.
    "string": {
        "type": "string",
        "pattern": r"^[\w .,:;'&/+@#()$€%°!?\u00c0-\u1fff\u3040-\ud7ff-]{0,32}$",
    },
    "integer": {"type": "string", "pattern": "^([0-9]{1,6})?$"},
    "number": {"type": "string", "pattern": r"^([0-9]{1,7}(\.[0-9]{1,2})?)?$"},
}
# Small models like to answer with a letter, which is neither a wish nor a person.
_LEAST_TEXT = 4
# The engine writes decimal digits; a float is rarely an exact multiple of 0.01.
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"multipleOf": lambda *_: None}
)


@functools.cache
def task_schema(tools: tuple[str, ...], calls: int, text_limit: int) -> Schema:
    """Schema of a task: {persona, expected_calls, intent, query}, the calls by their names."""
    name = {"type": "string", "enum": list(tools)}
    return _task(name, calls, text_limit)


def planned_task_schema(
    values: Mapping[str, Mapping[str, str]], calls: int, text_limit: int
) -> Schema:
    """Schema of a task whose calls come with their values: {name, values} each.

    Args:
      values: Tool name -> parameters whose values are asked for -> string, integer or number.
      calls: Number of calls.
      text_limit: Characters of a text.
    """
    call = {
        "anyOf": [
            closed(
                name={"type": "string", "enum": [name]},
                values=closed(**{key: _WRITTEN[kind] for key, kind in parameters.items()}),
            )
            for name, parameters in values.items()
        ]
    }
    return _task(call, calls, text_limit)


@functools.cache
def world_schema(collections: int, records: int, fields: int, text_limit: int) -> Schema:
    """Schema of a world: up to so many collections of records with an id and further fields."""
    record = _record(fields, text_limit)
    listing = {"type": "array", "items": record, "maxItems": records}
    return _open(listing, most=collections)


@functools.cache
def user_schema(text_limit: int) -> Schema:
    """Schema of a user's message: {message}; "" ends the conversation."""
    return closed(message=_text(text_limit))


@functools.cache
def result_schema(result_limit: int) -> Schema:
    """Schema of a tool result: a small object of texts, amounts, lists and lists of objects."""
    short = _scalar(max(16, result_limit // 16))
    items = {"anyOf": [short, _open(short, most=3)]}
    listing = {"type": "array", "items": items, "maxItems": 3}
    value = {"anyOf": [*_scalar(max(24, result_limit // 4))["anyOf"], listing]}
    return _open(value, most=5)


def changing_result_schema(
    result_limit: int, ids: Mapping[str, Sequence[str]], changes: int, fields: int
) -> Schema:
    """Schema of a tool result with the changes that the call makes: {result, changes}.

    Args:
      result_limit: Characters of the result, as in `result_schema`.
      ids: Collection -> ids of its records: what can be updated or removed.
      changes: Most changes of one call.
      fields: Most fields that a change sets.
    """
    written = _open(_scalar(_VALUE_LENGTH), most=fields)
    kinds = [
        closed(
            operation={"type": "string", "enum": ["add"]},
            collection={"type": "string", "pattern": _KEY},
            id=_ID,
            fields=written,
        )
    ]
    for collection, present in ids.items():
        if present:
            where = {
                "collection": {"type": "string", "enum": [collection]},
                "id": {"type": "string", "enum": list(present)},
            }
            update = {"type": "string", "enum": ["update"]}
            remove = {"type": "string", "enum": ["remove"]}
            kinds.append(closed(operation=update, **where, fields=written))
            kinds.append(closed(operation=remove, **where))
    listing = {"type": "array", "items": {"anyOf": kinds}, "maxItems": changes}
    return closed(result=result_schema(result_limit), changes=listing)


@functools.cache
def part_schema(lines: int, reasoning_limit: int | None) -> Schema:
    """Schema of the judgement on one criterion: {[reasoning,] line, met}.

    Args:
      lines: Lines of the transcript, the deciding one of which is named.
      reasoning_limit: Characters of the reasons; None: no reasons.
    """
    line = {"type": "integer", "enum": list(range(1, lines + 1))}
    reasons = {} if reasoning_limit is None else {"reasoning": _text(reasoning_limit)}
    return closed(**reasons, line=line, met={"type": "boolean"})


@functools.cache
def verdict_schema(criteria: int, text_limit: int) -> Schema:
    """Schema of a joint verdict: {reasoning, one boolean for each of the first criteria}."""
    flags = {name: {"type": "boolean"} for name in CRITERIA[:criteria]}
    return closed(reasoning=_text(text_limit), **flags)


def matches(value: Any, schema: Schema) -> bool:
    """Whether a decoded answer fits its schema; what is nested too deeply to tell does not."""
    try:
        with raises_recursion_error():
            return bool(_Validator(schema).is_valid(value))
    except RecursionError:
        return False


def _task(call: Schema, calls: int, text_limit: int) -> Schema:
    text = _text(text_limit, least=_LEAST_TEXT)
    persona = _text(text_limit // 2, least=_LEAST_TEXT)
    expected = {"type": "array", "items": call, "minItems": calls, "maxItems": calls}
    # The calls come first: a wish is then written for them, rather than calls found for a wish.
    return closed(persona=persona, expected_calls=expected, intent=text, query=text)


def _text(most: int, least: int = 0) -> Schema:
    return {"type": "string", "minLength": least, "maxLength": most}


def _scalar(text_limit: int) -> Schema:
    return {"anyOf": [_text(text_limit), _AMOUNT, {"type": "boolean"}]}


def _record(fields: int, text_limit: int) -> Schema:
    return {
        **_open(_scalar(text_limit), most=1 + fields),
        "properties": {"id": _ID},
        "required": ["id"],
    }


def closed(**properties: Schema) -> Schema:
    """Schema of an object with just these properties."""
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
