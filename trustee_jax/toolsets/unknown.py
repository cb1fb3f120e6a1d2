"""Arguments that no schema of a tool lists.

An object takes the properties that its schemas list, and no others. Its schemas are all that hold
for it: those reached through `$ref` and `allOf`, the alternatives of `anyOf` and `oneOf` that it
fits, what follows from `if` and `dependentSchemas`. So much is `unevaluatedProperties: false` of
JSON Schema at every object, with three differences: an object none of whose schemas has
`properties` is free, so is one that fits such an alternative, and `additionalProperties` opens an
object also where it stands beside a part that lists properties.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trustee_jax.toolsets.schema import Path

# A schema, and whether it may say what an object holds: one that only tests it may not.
_Part = tuple[Any, bool]


class UnknownFields:
    """Finds them, looking at every value once."""

    def __init__(
        self, resolve: Callable[[str], Any], is_valid: Callable[[Mapping[str, Any], Any], bool]
    ):
        """Takes what follows a reference, and what holds a value against a schema."""
        self._resolve = resolve
        self._is_valid = is_valid

    def of(self, schema: Any, value: Any) -> Iterator[Path]:
        """Yields the path of every property of a value, at any depth, that is not listed."""
        return self._within([(schema, True)], value, ())

    def _within(self, schemas: Sequence[_Part], value: Any, path: Path) -> Iterator[Path]:
        if not isinstance(value, dict | list):
            return
        parts: list[_Part] = []
        seen: dict[tuple[int, bool], bool] = {}
        lists = [self._expand(part, value, parts, seen) for part in schemas]
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._within(
                    list(self._of_item(parts, index, item)), item, (*path, index)
                )
            return
        is_closed = any(lists) and not any(map(_opens, parts))
        for name, child in value.items():
            known = any(is_listed(schema, name) for schema, _ in parts)
            if is_closed and not known:
                yield (*path, name)
            else:
                of_name = list(_of_property(parts, name, known))
                yield from self._within(of_name, child, (*path, name))

    def _expand(
        self, part: _Part, value: Any, parts: list[_Part], seen: dict[tuple[int, bool], bool]
    ) -> bool:
        """Adds a schema and all that hold with it; returns whether they list properties."""
        schema, tells = part
        key = (id(schema), tells)
        if not isinstance(schema, dict) or key in seen:
            return seen.get(key, False)
        seen[key] = False
        parts.append(part)

        def expand(other: Any, may_tell: bool = tells) -> bool:
            return self._expand((other, may_tell), value, parts, seen)

        lists = "properties" in schema or False in (
            schema.get("additionalProperties"),
            schema.get("unevaluatedProperties"),
        )
        if "$ref" in schema:
            lists |= expand(self._resolve(schema["$ref"]))
        for other in schema.get("allOf", ()):
            lists |= expand(other)
        for keyword in ("anyOf", "oneOf"):
            fitting = self._fitting(schema.get(keyword, ()), value)
            lists |= bool(fitting) and all([expand(other) for other in fitting])
        if "if" in schema:
            holds = self._holds(schema["if"], value)
            if holds:
                expand(schema["if"], False)
            lists |= expand(schema.get("then" if holds else "else"))
        for name, other in schema.get("dependentSchemas", {}).items():
            if isinstance(value, dict) and name in value:
                lists |= expand(other)
        seen[key] = lists and tells
        return seen[key]

    def _fitting(self, alternatives: Sequence[Any], value: Any) -> list[Any]:
        """The alternatives that a value fits, or else those that it may have been meant for."""
        fitting = [other for other in alternatives if self._holds(other, value)]
        kind = "object" if isinstance(value, dict) else "array"
        return fitting or [other for other in alternatives if _may_be(other, kind)]

    def _of_item(self, parts: Sequence[_Part], index: int, item: Any) -> Iterator[_Part]:
        for schema, tells in parts:
            first = schema.get("prefixItems", ())
            if index < len(first):
                yield first[index], tells
            elif "items" in schema:
                yield schema["items"], tells
            elif "unevaluatedItems" in schema:
                yield schema["unevaluatedItems"], tells
            if "contains" in schema and self._holds(schema["contains"], item):
                yield schema["contains"], False

    def _holds(self, schema: Any, value: Any) -> bool:
        return schema if isinstance(schema, bool) else self._is_valid(schema, value)


def _of_property(parts: Sequence[_Part], name: str, known: bool) -> Iterator[_Part]:
    for schema, tells in parts:
        if name in schema.get("properties", {}):
            yield schema["properties"][name], tells
        for pattern, other in schema.get("patternProperties", {}).items():
            if re.search(pattern, name):
                yield other, tells
        if "additionalProperties" in schema and not is_listed(schema, name):
            yield schema["additionalProperties"], tells
        elif "unevaluatedProperties" in schema and not known:
            yield schema["unevaluatedProperties"], tells


def is_listed(schema: Mapping[str, Any], name: str) -> bool:
    """Whether a schema has a property of this name, or a pattern that it matches."""
    patterns = schema.get("patternProperties", {})
    return name in schema.get("properties", {}) or any(re.search(p, name) for p in patterns)


def _opens(part: _Part) -> bool:
    schema, _ = part
    keywords = ("additionalProperties", "unevaluatedProperties")
    return any(schema.get(keyword, False) is not False for keyword in keywords)


def _may_be(schema: Any, kind: str) -> bool:
    types = schema.get("type", kind) if isinstance(schema, dict) else ()
    return kind == types or kind in types
