"""Random schemas of what llguidance supports, for walks through their masks."""

import random
from typing import Any

_PATTERNS = (
    *("^[0-9a-f]{8}$", "^(a|b)*c$", "^$|^[0-9]+$", "abc", "^[A-Z]{2,4}-[0-9]{3}$", "a$"),
    *(r"^\d{3}$", r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", "^(?:x[0-9]{3})+$", r"^\w+$", "^.{3,5}$"),
    *("^[ж-я]{2,5}$", "^日本+$", r"^[\w .,]{0,12}$"),
)
_FORMATS = (
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
    "uri",
)
_NAMES = (
    *("a", "b", "id", "name", "long_property_name", "x y", "ключ", 'q"q', "日本", "a\\b"),
    *("\x7fd", "n\nl"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 12345678901234, 1.5, -0.25, 1e-7, "", "a"),
    *("text of some length", "日本語", 'q"uo\\te', "\x01\x7f", "😀"),
)
_LEAVES = ("string", "number", "integer", "boolean", "enum", "const", "pattern", "format", "text")
_NESTED = (
    *("object",) * 6,
    *("array",) * 3,
    *("anyOf", "allOf", "types", "ref", "ref", "map", "tuple", "any", "nothing"),
)


def random_schema(seed: int) -> dict[str, Any]:
    """A schema of an object, with definitions that may contain themselves."""
    rng = random.Random(seed)
    names = rng.sample(_NAMES, rng.randint(1, 3))
    link = {
        "v": {"type": "integer"},
        "next": {"$ref": "#/$defs/Q"},
        "kids": {"type": "array", "items": {"$ref": "#/$defs/P"}},
    }
    return {
        "type": "object",
        "properties": {name: _part(rng, rng.randint(0, 3)) for name in names},
        "required": [name for name in names if rng.random() < 0.6],
        "additionalProperties": False,
        "$defs": {
            "P": _part(rng, 2),
            "Q": {
                "type": "object",
                "properties": link,
                "required": rng.choice([["v"], [], ["v", "kids"]]),
                "additionalProperties": False,
            },
        },
    }


def _part(rng: random.Random, depth: int) -> Any:
    kind = rng.choice(_LEAVES + (_NESTED if depth > 0 else ()))
    if kind in ("string", "boolean"):
        return {"type": kind}
    if kind == "text":
        least = rng.randint(0, 9)
        return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 9)}
    if kind in ("number", "integer"):
        return _number(rng, kind)
    if kind == "enum":
        return {"enum": rng.sample(_VALUES, rng.randint(1, 5))}
    if kind == "const":
        return {"const": rng.choice([*_VALUES, {"a": 1, "b": [1, "x"]}, [1, 2, []]])}
    if kind == "pattern":
        limit = {"maxLength": rng.randint(8, 14)} if rng.random() < 0.3 else {}
        return {"type": "string", "pattern": rng.choice(_PATTERNS), **limit}
    if kind == "format":
        return {"type": "string", "format": rng.choice(_FORMATS)}
    if kind == "array":
        least = rng.randint(0, 3)
        most = {"maxItems": least + rng.randint(0, 3)} if rng.random() < 0.5 else {}
        return {"type": "array", "items": _part(rng, depth - 1), "minItems": least, **most}
    if kind == "tuple":
        prefix = [_part(rng, depth - 1) for _ in range(rng.randint(1, 3))]
        items = rng.choice([False, True, _part(rng, 0)])
        least = rng.randint(0, len(prefix))
        return {"type": "array", "prefixItems": prefix, "items": items, "minItems": least}
    if kind == "map":
        pattern = rng.choice(["^[a-z]{3,6}$", "^k_"])
        return {
            "type": "object",
            "patternProperties": {pattern: _part(rng, depth - 1)},
            "additionalProperties": False,
            "minProperties": rng.randint(0, 1),
        }
    if kind == "anyOf":
        return {"anyOf": [_part(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
    if kind == "allOf":
        first = {"properties": {"a": _part(rng, depth - 1)}, "required": ["a"]}
        second = {"properties": {"b": _part(rng, depth - 1), "id": True}}
        return {"allOf": [{"type": "object", **first}, {"type": "object", **second}]}
    if kind == "types":
        types = ["string", "null", "integer", "boolean", "array", "object"]
        return {"type": rng.sample(types, 2)}
    if kind == "nothing":
        return rng.choice([False, {"enum": []}])
    if kind == "ref":
        return {"$ref": f"#/$defs/{rng.choice('PQ')}"}
    return _object(rng, depth) if kind == "object" else True


def _number(rng: random.Random, kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": kind}
    low: float = rng.choice([0, -5, 1, 10, 10**6, -(10**9), 999, 12345])
    if kind == "number":
        low += rng.choice([0, 0.5, 0.25, 0.001, -0.75])
    if rng.random() < 0.5:
        schema["minimum"] = low
    if rng.random() < 0.5:
        schema["maximum"] = low + rng.choice([1, 7, 100, 10**6])
    if kind == "integer" and rng.random() < 0.3:
        schema["multipleOf"] = rng.choice([2, 5, 7, 10, 97, 100])
    return schema


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(_NAMES, rng.randint(0, 4))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _part(rng, depth - 1) for name in names},
        "required": [name for name in names if rng.random() < 0.5],
    }
    others = rng.random()
    if others < 0.2:
        schema["required"].append("unlisted")
    elif others < 0.6:
        schema["additionalProperties"] = False
    elif others < 0.8:
        schema["additionalProperties"] = _part(rng, depth - 1)
    if rng.random() < 0.15:
        schema["patternProperties"] = {"^p[0-9]{2}$": _part(rng, depth - 1)}
    return schema
