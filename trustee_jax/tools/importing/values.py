"""Types and values of foreign schemas as JSON schema has them: "dict" is object, "3" may be 3."""

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")
# What Swagger, BFCL (Python, Java, JavaScript) and ToolBench documents write instead.
_ALIASES = {
    "str": "string",
    "char": "string",
    "text": "string",
    "file": "string",
    "binary": "string",
    "date": "string",
    "time": "string",
    "datetime": "string",
    "date-time": "string",
    "uuid": "string",
    "uri": "string",
    "url": "string",
    "enum": "string",
    "password": "string",
    "int": "integer",
    "int32": "integer",
    "int64": "integer",
    "long": "integer",
    "short": "integer",
    "bigint": "integer",
    "byte": "integer",
    "float": "number",
    "double": "number",
    "decimal": "number",
    "numeric": "number",
    "bool": "boolean",
    "dict": "object",
    "map": "object",
    "hashmap": "object",
    "hashtable": "object",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "arraylist": "array",
    "queue": "array",
    "stack": "array",
}
_CHECKS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
_LARGEST = 2**53  # bounds beyond it only restate the width of a number
_LONGEST_PATTERN = 200
# A repeated group that ends in a repetition: matching can take exponential time.
_EXPLOSIVE = re.compile(r"[+*}]\)[+*{]")


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
        return int(value) if "integer" in types and _is_whole(value) else None
    if "boolean" in types and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if "integer" in types and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        return int(value)
    if "number" in types and re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{1,18})?\s*", value):
        return float(value) if "." in value else int(value)
    return None


def bounds(node: Mapping[str, Any], types: list[str]) -> dict[str, Any]:
    """Returns the limits of a schema that are usable, in the spelling of Draft 2020-12.

    Left out are limits of the wrong type, pairs that no value meets, patterns that Python's `re`
    cannot compile or could take exponential time for, and fractional `multipleOf` (19.99 is no
    multiple of 0.01 in binary floating point).
    """
    result: dict[str, Any] = {}
    if {"integer", "number"} & set(types):
        for name, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            limit, flag = _bound(node.get(name)), node.get(exclusive)
            if limit is not None:
                result[exclusive if flag is True else name] = limit
            if (strict := _bound(flag)) is not None:
                result[exclusive] = strict
        step: Any = node.get("multipleOf")
        if _is_whole(step) and step > 0:
            result["multipleOf"] = int(step)
    for kind, least, most in (
        ("string", "minLength", "maxLength"),
        ("array", "minItems", "maxItems"),
    ):
        for name in (least, most) if kind in types else ():
            if _is_whole(node.get(name)) and 0 <= node[name] <= _LARGEST:
                result[name] = int(node[name])
    low = max((result[n] for n in ("minimum", "exclusiveMinimum") if n in result), default=None)
    high = min((result[n] for n in ("maximum", "exclusiveMaximum") if n in result), default=None)
    strict = "exclusiveMinimum" in result or "exclusiveMaximum" in result
    if low is not None and high is not None and (low > high or (strict and high - low <= 1)):
        for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
            result.pop(name, None)
    for least, most in (("minLength", "maxLength"), ("minItems", "maxItems")):
        if result.get(least, 0) > result.get(most, _LARGEST):
            del result[least], result[most]
    if "string" in types and (pattern := _pattern(node.get("pattern"))):
        result["pattern"] = pattern
    if "array" in types and node.get("uniqueItems") is True:
        result["uniqueItems"] = True
    return result


def _bound(value: Any) -> int | float | None:
    number = coerced(value, ["integer", "number"]) if not isinstance(value, bool) else None
    return number if number is not None and abs(number) < _LARGEST else None


def _is_whole(value: Any) -> bool:
    return fits(value, ("integer",)) or (isinstance(value, float) and value.is_integer())


def _pattern(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > _LONGEST_PATTERN:
        return ""
    if len(value) > 2 and value[0] == value[-1] == "/":  # as JavaScript writes it
        value = value[1:-1]
    if _EXPLOSIVE.search(value):
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # "[[a]": another set in a later Python
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError, FutureWarning):
            return ""
    return value
