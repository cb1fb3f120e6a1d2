"""Arguments of a call against the schema of its tool, with the messages a real API would give."""

import copy
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from trustee_jax.tools.schema import closed_objects
from trustee_jax.tools.tool import Tool

# The formats that jsonschema checks without further packages, and below the usual rest of them.
_FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))
_MATCHED_TEXT = 1000
_EXPECTED = {
    "date": "a date (YYYY-MM-DD)",
    "date-time": "a date and time (YYYY-MM-DDThh:mm:ss)",
    "time": "a time (hh:mm or hh:mm:ss)",
    "email": "an email address",
    "uri": "a URL with its scheme",
}
_TYPES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}
_LIMITS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be greater than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} character(s)",
    "maxLength": "must have at most {} character(s)",
    "pattern": "must match the pattern {}",
    "minItems": "must have at least {} item(s)",
    "maxItems": "must have at most {} item(s)",
}


def check_arguments(tool: Tool, arguments: dict[str, Any]) -> list[str]:
    """Checks the arguments of a call.

    Besides what the schema demands, an object whose schema lists its properties takes no others
    (unless the schema says so itself), and the formats date, date-time, time, email, uri, uuid,
    ipv4 and ipv6 are enforced; a date-time without an offset is a local time and accepted. A
    `pattern` is enforced on texts of up to 1,000 characters, unless it repeats a repetition or a
    choice, which some texts match in exponential time only.

    Args:
      tool: a tool of a loaded repository.
      arguments: the decoded JSON object of the call, whatever a model wrote.

    Returns:
      One message per problem in the order of the schema, e.g. "missing required parameter
      'city'"; empty if the call is right.
    """
    try:
        json.dumps(arguments, allow_nan=False)  # Python's parser lets through what JSON forbids
        errors = list(_validator(tool).iter_errors(arguments))
    except (ValueError, OverflowError, RecursionError):
        return ["arguments hold a number out of range, or are nested too deeply"]
    messages = [message for error in errors for message in _messages(error)]
    return list(dict.fromkeys(messages))


@functools.lru_cache(maxsize=4096)
def _validator(tool: Tool) -> Draft202012Validator:
    schema = copy.deepcopy(tool.parameters)
    for _, node in list(closed_objects(schema)):
        node["additionalProperties"] = False
    return _Validator(schema, format_checker=_FORMATS)


# What a policy writes must not hold up a run: two keywords whose usual check can take for ever.


def _pattern(
    validator: Draft202012Validator, pattern: str, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """The keyword `pattern`, of texts and patterns for which Python's matcher has a short way."""
    if not isinstance(value, str) or len(value) > _MATCHED_TEXT or not _matches_fast(pattern):
        return
    if not re.search(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


@functools.lru_cache(maxsize=4096)
def _matches_fast(pattern: str) -> bool:
    """Whether no repetition holds another one, or a choice: no text then takes exponential time."""
    return not _branches_in_repeat(re._parser.parse(pattern), False)  # type: ignore[attr-defined]


def _branches_in_repeat(node: Any, repeated: bool) -> bool:
    if isinstance(node, tuple) and len(node) == 2 and str(node[0]).endswith("REPEAT"):
        _, (least, most, inner) = node
        if repeated and least != most:
            return True
        return _branches_in_repeat(inner, repeated or most > 1)
    if isinstance(node, tuple) and len(node) == 2 and str(node[0]) == "BRANCH" and repeated:
        return True
    is_parsed = hasattr(node, "data")
    children = node.data if is_parsed else node if isinstance(node, tuple | list) else ()
    return any(_branches_in_repeat(child, repeated) for child in children)


def _unique_items(
    validator: Draft202012Validator, unique: bool, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """The keyword `uniqueItems`, in linear time."""
    if unique and isinstance(value, list):
        texts = {json.dumps(_plain(item), sort_keys=True) for item in value}
        if len(texts) < len(value):
            yield ValidationError("items are repeated")


def _plain(value: Any) -> Any:
    # 1 and 1.0 are one number in JSON Schema.
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Validator = extend(Draft202012Validator, {"pattern": _pattern, "uniqueItems": _unique_items})


def _messages(error: ValidationError) -> list[str]:
    keyword, limit, value = str(error.validator), error.validator_value, error.instance
    path = _dotted(error.absolute_path)
    if keyword == "required":
        # The library reports one error per absent name, without the name as a field.
        absent = (name for name in limit if error.message.startswith(repr(name)))
        return [f"missing required parameter {_join(path, name)!r}" for name in absent]
    if keyword == "additionalProperties" and limit is False and isinstance(error.schema, Mapping):
        known = error.schema.get("properties", {})
        return [f"unknown parameter {_join(path, n)!r}" for n in value if n not in known]
    if keyword in ("anyOf", "oneOf") and error.context:
        cause = best_match([error])
        if cause is not None and cause is not error:
            return _messages(cause)
    subject = f"parameter {path!r}" if path else "arguments"
    if keyword == "type":
        types = [limit] if isinstance(limit, str) else limit
        return [f"{subject} must be {' or '.join(_TYPES[t] for t in types)}, got {_show(value)}"]
    if keyword == "enum":
        return [f"{subject} must be one of {', '.join(map(_show, limit))}; got {_show(value)}"]
    if keyword == "const":
        return [f"{subject} must be {_show(limit)}, got {_show(value)}"]
    if keyword == "format":
        return [f"{subject} must be {_EXPECTED.get(limit, f'a valid {limit}')}, got {_show(value)}"]
    if keyword == "uniqueItems":
        return [f"{subject} must not repeat items"]
    if keyword in _LIMITS:
        return [f"{subject} {_LIMITS[keyword].format(_show(limit))}, got {_show(value)}"]
    return [f"{subject} is not valid: {_cut(error.message)}"]


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else _join(text, part)
    return text


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _show(value: Any) -> str:
    return _cut(repr(value)) if not isinstance(value, bool) else str(value).lower()


def _cut(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or ("T" in value and bool(datetime.fromisoformat(value)))


@_FORMATS.checks("time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or (":" in value and time.fromisoformat(value) is not None)


@_FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or (" " not in value and bool(urlsplit(value).scheme))
