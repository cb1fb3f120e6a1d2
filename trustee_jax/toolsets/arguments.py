"""Arguments of a call against the schema of its tool, with the messages a real API would give."""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime, time
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from trustee_jax.errors import raises_recursion_error
from trustee_jax.toolsets.patterns import MATCHED_TEXT, is_fast, matches
from trustee_jax.toolsets.remedies import shortened
from trustee_jax.toolsets.schema import resolver_of
from trustee_jax.toolsets.tool import Tool
from trustee_jax.toolsets.unknown import UnknownFields, is_listed

# The formats that jsonschema checks without further packages, and below the usual rest of them.
_FORMATS = FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))
# Of the call that is being checked: (reference, identity of a value) -> its first error.
_CHECKED: ContextVar[dict[tuple[str, int], ValidationError | None]] = ContextVar("checked")
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

    Besides what the schema demands, an object at any depth whose schemas list properties takes no
    others (unless one of them says so itself), and the formats date, date-time, time, email, uri,
    uuid, ipv4 and ipv6 are enforced; a date-time without an offset is a local time and accepted. A
    `pattern` is enforced on texts of up to 1,000 characters, unless it has what RE2 has not (say,
    look-arounds) and some text would take long. Names of more than 1,000 characters are refused.

    Args:
      tool: A tool of a loaded repository.
      arguments: The decoded JSON object of the call, whatever a model wrote.

    Returns:
      One message per problem in the order of the schema, unknown parameters last, e.g. "missing
      required parameter 'city'"; empty if the call is right.
    """
    validator, unknown = _checks(tool)
    token = _CHECKED.set({})
    try:
        json.dumps(arguments, allow_nan=False)  # Python's parser lets through what JSON forbids
        if any(len(name) > MATCHED_TEXT for name in _names(arguments)):
            return [f"arguments hold a name of more than {MATCHED_TEXT:,} characters"]
        with raises_recursion_error():
            errors = list(validator.iter_errors(arguments))
            paths = list(unknown.of(tool.parameters, arguments))
    except (ValueError, OverflowError, RecursionError):
        return ["arguments hold a number out of range, or are nested too deeply"]
    finally:
        _CHECKED.reset(token)
    messages = [message for error in errors for message in _messages(error)]
    messages += [f"unknown parameter {_dotted(path)!r}" for path in paths]
    return list(dict.fromkeys(messages))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _names(child)


@functools.lru_cache(maxsize=4096)
def _checks(tool: Tool) -> tuple[Draft202012Validator, UnknownFields]:
    validator = _Validator(tool.parameters, format_checker=_FORMATS)
    resolver = resolver_of(tool.parameters)
    unknown = UnknownFields(
        functools.cache(lambda reference: resolver.lookup(reference).contents),
        lambda part, value: validator.evolve(schema=part).is_valid(value),
    )
    return validator, unknown


# What a policy writes must not hold up a run: three keywords whose usual check can take for ever.


def _reference(
    validator: Draft202012Validator, reference: str, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """The keyword `$ref`, each value once: alternatives that lead to themselves would multiply."""
    checked = _CHECKED.get()
    key = (reference, id(value))
    if key not in checked:
        checked[key] = None  # what leads to itself at once demands nothing more
        errors = list(Draft202012Validator.VALIDATORS["$ref"](validator, reference, value, schema))
        checked[key] = _alone(errors[0]) if errors else None
        yield from errors
    elif (error := checked[key]) is not None:
        yield _alone(error)


def _alone(error: ValidationError) -> ValidationError:
    """A copy without what led to it."""
    fields = ("validator", "validator_value", "instance", "schema", "path", "schema_path")
    return ValidationError(error.message, **{name: getattr(error, name) for name in fields})


def _pattern(
    validator: Draft202012Validator, pattern: str, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """The keyword `pattern`, of texts and patterns for which there is a short way."""
    if isinstance(value, str) and is_fast(pattern) and not matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


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


_Validator = extend(
    Draft202012Validator,
    {"$ref": _reference, "pattern": _pattern, "uniqueItems": _unique_items},
)


def _messages(error: ValidationError) -> list[str]:
    keyword, limit, value = str(error.validator), error.validator_value, error.instance
    path = _dotted(error.absolute_path)
    if keyword == "required":
        return [f"missing required parameter {_absent(error)}"]
    if keyword == "additionalProperties" and limit is False and isinstance(error.schema, Mapping):
        unknown = [name for name in value if not is_listed(error.schema, name)]
        return [f"unknown parameter {_join(path, name)!r}" for name in unknown]
    if keyword == "unevaluatedProperties" and limit is False:
        unknown = [name for name in value if repr(name) in error.message]
        return [f"unknown parameter {_join(path, name)!r}" for name in unknown]
    if keyword == "dependentRequired":
        needing = [(n, k) for k, names in limit.items() for n in names if k in value]
        return [
            f"missing required parameter {_join(path, name)!r}, which {_join(path, owner)!r} needs"
            for name, owner in needing
            if name not in value
        ]
    if keyword in ("anyOf", "oneOf") and error.context:
        groups = _by_alternative(error)
        if all(cause.validator == "required" for causes in groups for cause in causes):
            absent = " or ".join(" and ".join(map(_absent, causes)) for causes in groups)
            return [f"missing required parameter {absent}"]
        causes = _likeliest(groups) or [best_match([error])]
        if causes != [error]:
            return [message for cause in causes if cause for message in _messages(cause)]
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
    return [f"{subject} {'is' if path else 'are'} not valid: {shortened(error.message, 80)}"]


def _absent(error: ValidationError) -> str:
    """The name of the required parameter that is missing."""
    path = _dotted(error.absolute_path)
    # The library reports one error per absent name, without the name as a field.
    names = (name for name in error.validator_value if error.message.startswith(repr(name)))
    return repr(_join(path, next(names)))


def _by_alternative(error: ValidationError) -> list[list[ValidationError]]:
    groups: dict[Any, list[ValidationError]] = {}
    for cause in error.context or ():
        groups.setdefault(cause.relative_schema_path[0], []).append(cause)
    return list(groups.values())


def _likeliest(groups: list[list[ValidationError]]) -> list[ValidationError]:
    """The errors of the only alternative that is of the right kind, if there is one."""
    right = [causes for causes in groups if not any(map(_is_of_other_kind, causes))]
    return right[0] if len(right) == 1 else []


def _is_of_other_kind(error: ValidationError) -> bool:
    """Whether a type, or the value that names an alternative, is another one."""
    return error.validator == "const" or (error.validator == "type" and not error.relative_path)


def _dotted(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else _join(text, part)
    return text


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _show(value: Any) -> str:
    return shortened(repr(value), 80) if not isinstance(value, bool) else str(value).lower()


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or ("T" in value and bool(datetime.fromisoformat(value)))


@_FORMATS.checks("time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or (":" in value and time.fromisoformat(value) is not None)


@_FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or (" " not in value and bool(urlsplit(value).scheme))
