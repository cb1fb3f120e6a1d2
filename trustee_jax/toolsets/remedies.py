"""Words for what is wrong with a tool: the mistakes that people make, each with its remedy."""

import difflib
import json
from collections.abc import Iterable
from typing import Any

from jsonschema.exceptions import ValidationError

MENDS = "`trustee tools import` mends it"
_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
# What languages and older formats call them.
_ALIASES = {
    "str": "string",
    "text": "string",
    "char": "string",
    "date": "string",
    "datetime": "string",
    "enum": "string",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "decimal": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "map": "object",
    "none": "null",
    "any": "string",
}
_FIELD_ALIASES = {
    "inputschema": "parameters",
    "input_schema": "parameters",
    "arguments": "parameters",
    "args": "parameters",
    "params": "parameters",
    "schema": "parameters",
    "title": "name",
    "summary": "description",
    "desc": "description",
    "doc": "description",
}


# Keywords that a schema of an object may have without saying that it is one.
OF_OBJECTS = frozenset(
    (
        *("$schema", "$id", "$comment", "title", "description", "$defs", "definitions", "$ref"),
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas"),
        *("dependencies", "unevaluatedProperties", "examples", "default", "strict"),
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    )
)


def unknown_field(field: str, known: Iterable[str]) -> str:
    """What to do with a field that a tool does not have."""
    if field in ("required", "properties"):
        return "stands beside parameters; move it into parameters"
    close = difflib.get_close_matches(field, known, n=1, cutoff=0.75)
    meant = _FIELD_ALIASES.get(field.lower()) or (close[0] if close else None)
    remedy = f'rename it to "{meant}"' if meant else "remove it"
    return f"unknown field; {remedy} (known: {', '.join(known)}, and category)"


def not_an_object(schema: Any) -> str:
    """What is wrong with parameters that are no schema of an object."""
    rule = 'must be a JSON schema with "type": "object" at the top'
    if not isinstance(schema, dict):
        return f'{rule}, not {_kind(schema)}; write {{"type": "object", "properties": {{...}}}}'
    if "type" in schema and not isinstance(schema["type"], dict):
        return f'{rule}, not {_json(schema["type"])}; write "type": "object"'
    if schema.keys() <= OF_OBJECTS:
        return f'{rule}; add "type": "object" ({MENDS})'
    return (
        f'{rule}; wrap it so: {{"type": "object", "properties": {{{_json(next(iter(schema)))}: ...'
    )


def undefined_name(name: str, defined: Iterable[str]) -> str:
    """What to do with a required name that no property has."""
    close = difflib.get_close_matches(name, defined, n=1)
    remedy = f"write {close[0]!r}, or define it" if close else "define or drop it"
    return f"{name!r} is not among the properties; {remedy}"


def bad_schema(error: ValidationError) -> str:
    """What is wrong with a schema where it breaks the rules of JSON Schema.

    Args:
      error: Of the meta-schema, with the most telling cause.
    """
    path, value = list(error.absolute_path), error.instance
    last = path[-1] if path else None
    keyword = last if isinstance(last, str) else path[-2] if len(path) > 1 else None
    named = len(path) > 1 and path[-2] == "properties"  # `last` is a parameter, not a keyword
    if not named and keyword == "type":
        return _bad_type(value)
    if error.validator == "type" and set(error.validator_value) == {"object", "boolean"}:
        return _no_schema(value)
    if not named and last == "required" and error.validator == "type":
        owner = _json(path[-2]) if len(path) > 1 else '"name"'
        if isinstance(value, bool):
            beside = f'drop it here, and beside "properties" write "required": [{owner}]'
            return f"{_json(value)} is no list of names; {beside if value else 'drop it'}"
        return f"{_json(value)} is no list of names; write {_json(_listed(value))}"
    if not named and last == "enum" and error.validator == "type":
        return f"{_json(value)} is no list of values; write {_json(_listed(value))}"
    if keyword in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
        limit = keyword.removeprefix("exclusive").lower()
        what = f'write the limit itself, and drop "{limit}"' if value else "drop it"
        return f"{_json(value)} is of an older draft; {what} ({MENDS})"
    if error.validator == "type" and _number(value) is not None:
        return f"{_json(value)} is text; write {_number(value)} without quotes"
    if error.validator == "type":
        wanted = error.validator_value
        kinds = wanted if isinstance(wanted, str) else " or ".join(wanted)
        return f"{_json(value)} is not of type {kinds}; correct or drop it"
    if error.validator == "format" and last == "pattern":
        return f"{_json(value)} is no regular expression; correct or drop it"
    return f"{shortened(error.message)}; correct it"


def _bad_type(value: Any) -> str:
    if isinstance(value, list):
        values = [v for v in value if v not in _TYPES]
        value = values[0] if values else value
    meant = value.strip().lower() if isinstance(value, str) else ""
    meant = meant if meant in _TYPES else _ALIASES.get(meant, "")
    if not meant:
        close = difflib.get_close_matches(str(value), _TYPES, n=1)
        meant = close[0] if close else ""
    remedy = f"write {_json(meant)}" if meant else f"write one of {', '.join(_TYPES)}"
    return f"{shortened(repr(value))} is no JSON Schema type; {remedy}"


def _no_schema(value: Any) -> str:
    if isinstance(value, str):
        meant = value if value in _TYPES else _ALIASES.get(value.lower())
        example = {"type": meant} if meant else {"type": "string", "description": value}
        return f"{_json(value)} is no schema; write {_json(example)}"
    if isinstance(value, list) and value:
        remedy = f"give one schema for all items, or use prefixItems ({MENDS})"
        return f"a list is no schema; {remedy}"
    return f'{_json(value)} is no schema; write one, e.g. {{"type": "string"}}'


def _listed(value: Any) -> list[Any]:
    """A value as the list that was probably meant."""
    if isinstance(value, str):
        return [part.strip() for part in value.replace("|", ",").split(",")]
    return list(value) if isinstance(value, dict) else [value]


def _number(value: Any) -> int | float | None:
    try:
        number = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return number if isinstance(number, int | float) else None


def _kind(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null"}.get(type(value), _json(value))


def _json(value: Any) -> str:
    return shortened(json.dumps(value, ensure_ascii=False, default=repr))


def shortened(text: str, limit: int = 120) -> str:
    """A text of at most so many characters, cut with "..." at its end."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
