"""Random calls of an operation: near what its document allows, on either side."""

import copy
import random
from typing import Any

from random_documents import NAMES, TEXTS
from reference_schemas import Reference

_VALUES = (*TEXTS[:4], "2026-01-31", 0, 1, 2, 3, -1, 1.5, True, None, [], {}, ["x"], {"a": 1})

_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


class Calls:
    """Makes calls of one operation."""

    def __init__(self, reference: Reference, rng: random.Random):
        self.reference = reference
        self.rng = rng
        self.validators: dict[tuple[int, ...], Any] = {}
        self.tries = 0
        self.named: dict[str, list[Any]] = {}
        for node in reference.nodes():
            for name, child in node.get("properties", {}).items():
                self.named.setdefault(name, []).append(child)
        for (_, name), (schema, _) in reference.parameters.items():
            self.named.setdefault(name, []).append(schema)
        self.kept: list[Any] = []  # an id is that of one schema as long as that is there

    def call(self) -> dict[str, Any]:
        """Returns {"parameters": {(place, name): value}, "body": value}, often a right one."""
        self.tries = 25
        parameters = {
            key: self.right_value([schema], 3)
            for key, (schema, is_required) in self.reference.parameters.items()
            if is_required or self.rng.random() < 0.6
        }
        call: dict[str, Any] = {"parameters": parameters}
        if self.reference.body is not None and self.rng.random() < 0.92:
            call["body"] = self.right_value([self.reference.body], 4)
        for _ in range(self.rng.choice((0, 0, 1, 1, 2))):
            call = self.mutated(call)
        return call

    def right_value(self, schemas: list[Any], depth: int) -> Any:
        """A value of all schemas, if one is found soon."""
        key = tuple(map(id, schemas))
        if key not in self.validators:
            whole = schemas[0] if len(schemas) == 1 else {"allOf": schemas}
            self.validators[key] = self.reference.validator(whole, closed=True)
            self.kept.append(whole)
        value = self.value({"allOf": schemas}, depth)
        while self.tries > 0 and not self.validators[key].is_valid(value):
            self.tries -= 1
            value = self.value({"allOf": schemas}, depth)
        return value

    def value(self, schema: Any, depth: int) -> Any:
        """A value that takes every part of a schema for a hint."""
        rng = self.rng
        parts = self.hints(schema, ())
        if depth < -2 or rng.random() < 0.03:
            return copy.deepcopy(rng.choice(_VALUES))
        words: dict[str, Any] = {}
        fields: dict[str, list[Any]] = {}
        required: list[str] = []
        for part in parts:
            for name, child in part.get("properties", {}).items():
                fields.setdefault(name, []).append(child)
            required += part.get("required", ())
            words |= part
        if any(p.get("nullable") or p.get("x-nullable") for p in parts) and rng.random() < 0.2:
            return None
        enums = [p["enum"] for p in parts if "enum" in p]
        if enums:
            common = [v for v in enums[0] if all(v in other for other in enums)]
            return copy.deepcopy(rng.choice(common or enums[0]))
        if "const" in words:
            return copy.deepcopy(words["const"])
        types = words.get("type")
        types = types if isinstance(types, list) else [types]
        kind = rng.choice(types)
        if fields or kind == "object":
            return self._object(fields, required, words, depth)
        if kind == "array" or "items" in words:
            return self._array(words, depth)
        if kind in ("integer", "number") or {"minimum", "maximum", "multipleOf"} & words.keys():
            return rng.choice((0, 1, 2, 3, 4, 1.5) if kind != "integer" else (0, 1, 2, 3, 4))
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "null":
            return None
        if words.get("format") == "date":
            return "2026-01-31"
        return rng.choice(TEXTS if kind == "string" else _VALUES)

    def _object(
        self, fields: dict[str, list[Any]], required: list[str], words: Any, depth: int
    ) -> dict[str, Any]:
        chosen = [n for n in fields if n in required or (depth > 0 and self.rng.random() < 0.5)]
        result = {name: self.right_value(fields[name], depth - 1) for name in chosen}
        result |= {name: "x" for name in required if name not in fields}
        if not fields and isinstance(words.get("additionalProperties"), dict):
            result["any"] = self.value(words["additionalProperties"], depth - 1)
        return result

    def _array(self, words: dict[str, Any], depth: int) -> list[Any]:
        prefix = words.get("prefixItems", [])
        items = [self.value(part, depth - 1) for part in prefix]
        if depth > 0 and words.get("items") is not False:
            for _ in range(self.rng.choice((0, 1, 1, 2))):
                items.append(self.value(words.get("items", {}), depth - 1))
        return items

    def hints(self, node: Any, seen: tuple[str, ...]) -> list[dict[str, Any]]:
        """The parts of a schema, one alternative of each."""
        if not isinstance(node, dict):
            return []
        found = [node]
        reference = node.get("$ref")
        if reference and seen.count(reference) < 2:
            found += self.hints(self.reference.target(reference), (*seen, reference))
        for part in node.get("allOf", ()):
            found += self.hints(part, seen)
        for word in ("anyOf", "oneOf"):
            if node.get(word):
                found += self.hints(self.rng.choice(node[word]), seen)
        return found

    def mutated(self, call: dict[str, Any]) -> dict[str, Any]:
        """A copy with one place changed."""
        call = copy.deepcopy(call)
        places = list(self._places(call))
        owner, key = self.rng.choice(places) if places else (call["parameters"], None)
        kind = self.rng.random()
        if key is None or (kind < 0.2 and isinstance(owner[key], dict)):
            target = owner[key] if key is not None else call.get("body")
            if isinstance(target, dict):
                target[self.rng.choice((*NAMES, "zzz"))] = self.rng.choice(_VALUES)
        elif kind < 0.4 and isinstance(owner, dict):
            del owner[key]
        elif kind < 0.6 and isinstance(owner[key], int | float):
            owner[key] = owner[key] + self.rng.choice((-1, 0.5, 1, 3))
        else:
            owner[key] = self.other_value(key)
        return call

    def other_value(self, key: Any) -> Any:
        """Any value, or one that some part of what the document says of the place allows."""
        schemas = self.named.get(key[1] if isinstance(key, tuple) else key, [])
        if not schemas or self.rng.random() < 0.3:
            return copy.deepcopy(self.rng.choice(_VALUES))
        part = self.rng.choice(self.hints(self.rng.choice(schemas), ()))
        limits = [v for k, v in part.items() if k in _NUMBERS and not isinstance(v, bool)]
        if limits:
            return self.rng.choice(limits) + self.rng.choice((-1, 0, 1))
        lengths = [v for k, v in part.items() if k in ("minLength", "maxLength")]
        if lengths:
            return "x" * max(0, self.rng.choice(lengths) + self.rng.choice((-1, 0, 1)))
        return self.value(part, 1)

    def _places(self, node: Any) -> Any:
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(pairs):
            if key != "parameters":
                yield node, key
            if isinstance(value, dict | list):
                yield from self._places(value)
