"""Reads a JSON schema into a graph of nodes, in the way in which llguidance reads it.

References are followed, the keywords beside each other are intersected, types and enums become
alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from trustee_jax.engine.schema_formats import PATTERNS
from trustee_jax.engine.schema_nodes import (
    ANYTHING,
    BOOLEAN,
    NOTHING,
    Array,
    Literal,
    Node,
    Number,
    Object,
    Reference,
    Text,
    Union,
    drop_impossible,
    exact,
    literal,
)
from trustee_jax.engine.schema_patterns import string_automaton
from trustee_jax.engine.types import RequestError

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_APPLIED = {"const", "enum", "allOf", "anyOf", "oneOf", "$ref"}
_KEYWORDS = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "array": ("items", "additionalItems", "prefixItems", "minItems", "maxItems"),
    "object": (
        *("properties", "additionalProperties", "patternProperties", "required"),
        *("minProperties", "maxProperties"),
    ),
}
_CONSTRAINING = {word for words in _KEYWORDS.values() for word in words} | {"type"}


def _moves(name: Any) -> bool:
    """Whether a `$id` makes another document of a part, or the same one for llguidance."""
    return isinstance(name, str) and (name == "#" or not name.startswith("#"))


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _bound(a: Number, b: Number, low: bool) -> tuple[Decimal | None, bool]:
    """The narrower of two bounds, and whether it is open."""
    sign = 1 if low else -1
    bounds = [
        (value * sign, is_open)
        for node in (a, b)
        for value, is_open in [
            (node.least, node.open_least) if low else (node.most, node.open_most)
        ]
        if value is not None
    ]
    if not bounds:
        return None, False
    value, is_open = max(bounds)
    return value * sign, is_open


def _fits(fixed: Literal, node: Node) -> bool:
    value = fixed.value
    if isinstance(node, Literal):
        return node.text == fixed.text
    if isinstance(node, Text) and isinstance(value, str):
        return string_automaton(node.patterns, node.least, node.most).matches(value)
    if not isinstance(node, Number) or isinstance(value, bool | str) or value is None:
        return False
    number = Decimal(fixed.text.decode())
    if (node.integer and number % 1) or (node.step and number % node.step):
        return False
    low, high = node.least, node.most
    return (low is None or number > low or (number == low and not node.open_least)) and (
        high is None or number < high or (number == high and not node.open_most)
    )


class _Builder:
    def __init__(self, document: Any):
        self._document = document
        self._references: dict[str, Reference] = {}

    def build(self, schema: Any) -> Node:
        if isinstance(schema, bool):
            return ANYTHING if schema else NOTHING
        if not isinstance(schema, Mapping):
            raise RequestError(f"schema: {schema!r} stands where a schema is expected; write one")
        words = ("$id", "id") if "draft-04" in str(self._document.get("$schema")) else ("$id",)
        if schema is not self._document and any(_moves(schema.get(word)) for word in words):
            raise RequestError("schema: $id within a schema changes what is meant; leave it out")
        result: Node = ANYTHING
        pending: dict[str, Any] = {}
        for word, value in schema.items():
            if word in _APPLIED:
                result = self._merge(result, self._simple(pending, schema))
                pending = {}
                result = self._apply(result, word, value)
            elif word in _CONSTRAINING:
                pending[word] = value
        return self._merge(result, self._simple(pending, schema))

    def _apply(self, result: Node, word: str, value: Any) -> Node:
        if word == "const":
            return self._merge(result, literal(value))
        if word == "enum":
            return self._merge(result, Union([literal(item) for item in value]))
        if word == "$ref":
            return self._merge(result, self._reference(value))
        if word == "allOf":
            for part in value:
                result = self._merge(result, self.build(part))
            return result
        return self._merge(result, Union([self.build(part) for part in value]))

    def _reference(self, name: str) -> Node:
        if name not in self._references:
            reference = self._references[name] = Reference(name)
            reference.target = self.build(self._find(name))
        return self._references[name]

    def _find(self, name: str) -> Any:
        found = self._document
        if name == "#" or name == "#/":
            return found
        if not name.startswith("#/"):
            raise RequestError(f"schema: $ref {name!r}; refer by a path from the root (#/$defs/x)")
        for part in name[2:].split("/"):
            part = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise RequestError(f"schema: $ref {name!r} leads nowhere; define it") from None
        return found

    def _simple(self, words: dict[str, Any], schema: Mapping[str, Any]) -> Node:
        """The keywords of the types: a union over those that are allowed."""
        if not words:
            return ANYTHING
        types = schema.get("type", _TYPES)
        types = (types,) if isinstance(types, str) else types
        nodes: list[Node] = []
        for kind in types:
            base = "number" if kind == "integer" else kind
            mine = {word: words[word] for word in _KEYWORDS.get(base, ()) if word in words}
            if kind == "null":
                nodes.append(literal(None))
            elif kind == "boolean":
                nodes.append(BOOLEAN)
            elif base == "number":
                nodes.append(self._number(mine, kind == "integer"))
            elif kind == "string":
                nodes.append(self._text(mine))
            elif kind == "array":
                # What applies to the others needs to know which are listed, also where the list
                # itself stands on the other side of an applied keyword.
                if "items" in mine and "prefixItems" in schema:
                    mine.setdefault("prefixItems", [True] * len(schema["prefixItems"]))
                nodes.append(self._array(mine, schema))
            else:
                if "additionalProperties" in mine and "properties" in schema:
                    mine.setdefault("properties", dict.fromkeys(schema["properties"], True))
                nodes.append(self._object(mine))
        return nodes[0] if len(nodes) == 1 else Union(nodes)

    def _number(self, words: dict[str, Any], integer: bool) -> Node:
        step = abs(Decimal(repr(words["multipleOf"]))) if "multipleOf" in words else None
        node = Number(integer, step=step)
        for name in ("Minimum", "Maximum"):
            plain, strict = words.get(name.lower()), words.get(f"exclusive{name}")
            if isinstance(strict, bool):
                # The draft-04 form says whether the plain bound is exclusive.
                plain, strict = (None, plain) if strict else (plain, None)
            for value, is_open in ((plain, False), (strict, True)):
                if value is not None:
                    end = "least" if name == "Minimum" else "most"
                    bound: dict[str, Any] = {end: exact(value), f"open_{end}": is_open}
                    node = self._merge_numbers(node, Number(integer, **bound))
        return node

    def _text(self, words: dict[str, Any]) -> Node:
        patterns = [words["pattern"]] if "pattern" in words else []
        if (name := words.get("format")) is not None:
            if name not in PATTERNS:
                raise RequestError(
                    f"schema: format {name!r} cannot be held; leave it out, or give a pattern "
                    f"(formats that are: {', '.join(sorted(PATTERNS))})"
                )
            patterns.append(PATTERNS[name])
        return Text(tuple(patterns), words.get("minLength", 0), words.get("maxLength"))

    def _array(self, words: dict[str, Any], schema: Mapping[str, Any]) -> Node:
        items, prefix = words.get("items", True), words.get("prefixItems", [])
        old = (
            str(schema.get("$schema", ""))
            .rstrip("#")
            .endswith(("/2019-09/schema", "draft-07/schema", "draft-06/schema", "draft-04/schema"))
        )
        if isinstance(items, list):
            items, prefix = words.get("additionalItems", True), items
        elif old or "additionalItems" in words:
            prefix = []
        listed = [self.build(item) for item in prefix]
        return Array(listed, self.build(items), words.get("minItems", 0))

    def _object(self, words: dict[str, Any]) -> Node:
        patterns = {
            pattern: self.build(part)
            for pattern, part in words.get("patternProperties", {}).items()
        }
        properties = {}
        for name, part in words.get("properties", {}).items():
            node = self.build(part)
            for pattern, other in patterns.items():
                if string_automaton((pattern,), 0, None).matches(name):
                    node = self._merge(node, other)
            properties[name] = node
        return Object(
            properties,
            patterns,
            self.build(words.get("additionalProperties", True)),
            tuple(dict.fromkeys(words.get("required", ()))),
            words.get("minProperties", 0),
        )

    def _merge(self, a: Node, b: Node) -> Node:
        """What both allow."""
        if a is ANYTHING or a is b:
            return b
        if b is ANYTHING:
            return a
        for node, other, first in ((a, b, True), (b, a, False)):
            if isinstance(node, Reference):
                if node.target is None:
                    raise RequestError(
                        f"schema: $ref {node.name!r} has keywords beside it and leads back to "
                        "itself; move them into what it refers to"
                    )
                return self._merge(node.target, other) if first else self._merge(other, node.target)
            if isinstance(node, Union):
                pairs = [(option, other) if first else (other, option) for option in node.options]
                options = [self._merge(*pair) for pair in pairs]
                options = [option for option in options if option is not NOTHING]
                return Union(options) if options else NOTHING
        if isinstance(a, Literal) or isinstance(b, Literal):
            value, other = (a, b) if isinstance(a, Literal) else (b, a)
            assert isinstance(value, Literal)
            return value if _fits(value, other) else NOTHING
        if isinstance(a, Number) and isinstance(b, Number):
            return self._merge_numbers(a, b)
        if isinstance(a, Text) and isinstance(b, Text):
            patterns = tuple(dict.fromkeys(a.patterns + b.patterns))
            return Text(patterns, max(a.least, b.least), _least(a.most, b.most))
        if isinstance(a, Array) and isinstance(b, Array):
            length = max(len(a.prefix), len(b.prefix))
            items_of_both = [
                (
                    a.prefix[i] if i < len(a.prefix) else a.items or NOTHING,
                    b.prefix[i] if i < len(b.prefix) else b.items or NOTHING,
                )
                for i in range(length)
            ]
            return Array(
                [self._merge(*pair) for pair in items_of_both],
                self._merge(a.items or NOTHING, b.items or NOTHING),
                max(a.least, b.least),
            )
        if isinstance(a, Object) and isinstance(b, Object):
            return self._merge_objects(a, b)
        return NOTHING

    def _merge_numbers(self, a: Number, b: Number) -> Number:
        least, open_least = _bound(a, b, True)
        most, open_most = _bound(a, b, False)
        if a.step and b.step and a.step != b.step:
            raise RequestError("schema: two multipleOf meet in allOf; give their common multiple")
        integer = a.integer or b.integer
        return Number(integer, least, most, open_least, open_most, a.step or b.step)

    def _merge_objects(self, a: Object, b: Object) -> Node:
        def merged(x: Node | None, y: Node | None) -> Node:
            return self._merge(x or NOTHING, y or NOTHING)

        names = dict.fromkeys([*a.properties, *b.properties])
        properties = {n: merged(a.property_node(n), b.property_node(n)) for n in names}
        patterns = {
            p: merged(a.patterns.get(p, a.others), b.patterns.get(p, b.others))
            for p in dict.fromkeys([*a.patterns, *b.patterns])
        }
        return Object(
            properties,
            patterns,
            merged(a.others, b.others),
            tuple(dict.fromkeys(a.required + b.required)),
            max(a.least, b.least),
            ordered=not (a.properties and b.properties),
        )


def schema_node(schema: Any) -> Node:
    """The graph of a schema.

    Raises:
      RequestError: It cannot be read, or uses what cannot be held; the message names it.
    """
    root = _Builder(schema).build(schema)
    drop_impossible(root)
    return root
