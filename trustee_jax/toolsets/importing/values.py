"""Types and values of foreign schemas as JSON schema has them: "dict" is object, "3" may be 3."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trustee_jax.toolsets.patterns import is_fast, is_pattern

JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
# What Swagger, BFCL (Python, Java, JavaScript) and ToolBench documents write instead.
_ALIASES = {
    alias: kind
    for kind, aliases in {
        "string": "str char text file binary date time datetime date-time uuid uri url enum "
        "password",
        "integer": "int int32 int64 long short bigint byte",
        "number": "float double decimal numeric",
        "boolean": "bool",
        "object": "dict map hashmap hashtable",
        "array": "list tuple set arraylist queue stack",
    }.items()
    for alias in aliases.split()
}
_CHECKS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}
NO_PATTERN = "pattern that cannot be compiled left out"
LONG_PATTERN = "pattern of more than 200 characters left out"
SLOW_PATTERN = "pattern that can take too long left out"
SLASHES = "pattern taken out of its slashes"
VALUES = "values of another type than their parameter left out"
BROUGHT = "values brought to the type of their parameter"
NO_CHOICE = "default that is none of the choices left out"
LONG_DEFAULT = "long default left out"
NO_ROOM = "limits that no value meets left out"
_LONGEST_PATTERN = 200
_LONGEST_DEFAULT = 200
_LIMITS = (
    (
        ("integer", "number"),
        ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
    ),
    (("string",), ("minLength", "maxLength")),
    (("array",), ("minItems", "maxItems", "uniqueItems")),
    (("object",), ("minProperties", "maxProperties")),
)
# As JavaScript writes it, with its flags; "/v1/x/" may be a part of a path.
_LITERAL = re.compile(r"/(\^.*|.*\$)/([a-z]*)", re.DOTALL)


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are one, at any depth: 1 and 1.0 are, true and 1 not."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Returns the first of each of the values that are one."""
    found: list[Any] = []
    for value in values:
        if not is_among(value, found):
            found.append(value)
    return found


def is_among(value: Any, values: Sequence[Any]) -> bool:
    """Whether one of the values is this one."""
    return any(equal(value, other) for other in values)


def json_types(value: Any) -> tuple[list[str], bool]:
    """Returns (JSON types that a `type` stands for, whether all of it was understood)."""
    written = value if isinstance(value, list) else [value]
    found: list[str] = []
    for name in written:
        lowered = name.strip().lower() if isinstance(name, str) else ""
        known = lowered if lowered in JSON_TYPES else _ALIASES.get(lowered)
        if known is None:
            return [], value is None or lowered in ("any", "object or array", "mixed")
        if known not in found:
            found.append(known)
    return found, True


def fits(value: Any, types: Iterable[str]) -> bool:
    """Whether a JSON value is of one of the types."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return any(
        isinstance(value, _CHECKS[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in types
    )


def coerced(value: Any, types: list[str]) -> Any:
    """Returns a value as one of the types where its text says it, else None."""
    if not types or fits(value, types):
        return value
    text = ("true" if value else "false") if isinstance(value, bool) else value
    if "string" in types and isinstance(text, str | int | float):
        return str(text)
    if not isinstance(value, str):
        return int(value) if "integer" in types and is_whole(value) else None
    if "boolean" in types and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if "integer" in types and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        return int(value)
    if "number" in types and re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{1,18})?\s*", value):
        return float(value) if "." in value else int(value)
    return None


def as_number(value: Any) -> int | float | None:
    """Returns a number, also one that is written as a text; None for what is none."""
    return None if isinstance(value, bool) else coerced(value, ["integer", "number"])


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole number."""
    return fits(value, ("integer",)) or (isinstance(value, float) and value.is_integer())


def without_slashes(pattern: str) -> str | None:
    """Returns a pattern that may stand in JavaScript's slashes; None where flags change it."""
    literal = _LITERAL.fullmatch(pattern)
    if not literal:
        return pattern
    return None if literal[2] else literal[1]


def usable_pattern(value: Any) -> tuple[str, str]:
    """Returns (a pattern that calls can be held to, why it was changed or left out).

    The first is "" where it is left out, the second where it stays as it is.
    """
    if not isinstance(value, str):
        return "", NO_PATTERN
    if not value:
        return "", ""  # every text matches it
    written, value = value, without_slashes(value)
    reason = SLASHES if value != written else ""
    if value is None:
        return "", NO_PATTERN
    if len(value) > _LONGEST_PATTERN:
        return "", LONG_PATTERN
    if not is_pattern(value):
        return "", NO_PATTERN
    return (value, reason) if is_fast(value) else ("", SLOW_PATTERN)


def values_of(
    listed: list[Any] | None, default: list[Any], types: list[str] | None
) -> tuple[dict[str, Any], dict[str, None]]:
    """Returns ("enum" and "default" as far as they are usable, what was changed or left out).

    Args:
      listed: The choices, if there are any.
      default: A list of one, or of none.
      types: That they are to have; None: any.
    """
    out: dict[str, Any] = {}
    reasons: dict[str, None] = {}
    choices: list[Any] = []
    for value in listed or ():
        usable = _usable(value, types, reasons)
        if usable and not is_among(usable[0], choices):
            choices += usable
    if choices:
        out["enum"] = choices
    for value in default:
        usable = _usable(value, types, reasons)
        if usable and choices and not is_among(usable[0], choices):
            reasons[NO_CHOICE] = None
        elif usable and len(repr(usable[0])) > _LONGEST_DEFAULT:
            reasons[LONG_DEFAULT] = None
        elif usable:
            out["default"] = usable[0]
    return out, reasons


def _usable(value: Any, types: list[str] | None, reasons: dict[str, None]) -> list[Any]:
    """A list of a value as one of the types, or of none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        if value is None and (types is None or "null" in types):
            return [None]
        usable = str(value) if value is not None and "string" in (types or ()) else None
    else:
        usable = coerced(value, types or [])
    if usable is None:
        reasons[VALUES] = None
        return []
    if not equal(usable, value):
        reasons[BROUGHT] = None
    return [usable]


def limits_of(
    limits: Mapping[str, Any], types: list[str] | None
) -> tuple[dict[str, Any], dict[str, None]]:
    """Returns (the limits that concern one of the types, what was left out).

    Args:
      limits: By keyword, in the spelling of Draft 2020-12.
      types: None: any.
    """
    out = {
        word: limits[word]
        for kinds, words in _LIMITS
        if types is None or set(kinds) & set(types)
        for word in words
        if word in limits
    }
    reasons: dict[str, None] = {}
    whole = types is not None and "integer" in types and "number" not in types
    if _no_number(out, whole):
        reasons[NO_ROOM] = None
        for word in _LIMITS[0][1][:4]:
            out.pop(word, None)
    for _, (least, most, *_rest) in _LIMITS[1:]:
        if out.get(least, 0) > out.get(most, math.inf):
            reasons[NO_ROOM] = None
            del out[least], out[most]
    return out, reasons


def _no_number(limits: Mapping[str, Any], whole: bool) -> bool:
    """Whether no number is within the limits."""
    low = max(limits.get("minimum", -math.inf), limits.get("exclusiveMinimum", -math.inf))
    high = min(limits.get("maximum", math.inf), limits.get("exclusiveMaximum", math.inf))
    open_low = low == limits.get("exclusiveMinimum")
    open_high = high == limits.get("exclusiveMaximum")
    if whole and math.isfinite(low) and math.isfinite(high):
        first = math.floor(low) + 1 if open_low else math.ceil(low)
        last = math.ceil(high) - 1 if open_high else math.floor(high)
        return first > last
    return low > high or (low == high and (open_low or open_high))
