"""Reads a JSON schema into a graph of nodes, in the way in which llguidance reads it.

References are followed, the keywords beside each other are intersected, types and enums become
alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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
# What `_Builder._simple` reads, or llguidance alone.
_CONSTRAINING = {
    *("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "format"),
    *("items", "additionalItems", "prefixItems", "minItems", "maxItems"),
    *("properties", "additionalProperties", "patternProperties", "required"),
    *("minProperties", "maxProperties"),
}
# Drafts without `prefixItems`.
_OLD = ("/2019-09/schema", "draft-07/schema", "draft-06/schema", "draft-04/schema")


def _moves(name: Any) -> bool:
    """Whether a `$id` makes another document of a part, or the same one for llguidance."""
    return isinstance(name, str) and (name == "#" or not name.startswith("#"))


def _fits(fixed: Literal, node: Node) -> bool:
    if isinstance(node, Literal):
        return node.text == fixed.text
    if isinstance(node, Text):
        return isinstance(fixed.value, str) and node.automaton().matches(fixed.value)
    if not isinstance(node, Number) or isinstance(fixed.value, bool | str | None):
        return False
    number = Decimal(fixed.text.decode())
    if (node.integer and number % 1) or (node.step and number % node.step):
        return False
    above = node.least < number or (node.least == number and not node.open_least)
    return above and (number < node.most or (number == node.most and not node.open_most))


class _Builder:
    def __init__(self, document: Any):
        self._document = document
        self._references: dict[str, Union] = {}

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
                for node in self._applied(word, value):
                    result = self._merge(result, node)
            elif word in _CONSTRAINING:
                pending[word] = value
        return self._merge(result, self._simple(pending, schema))

    def _applied(self, word: str, value: Any) -> Iterator[Node]:
        """What an applied keyword demands, all of it."""
        if word == "const":
            yield literal(value)
        elif word == "enum":
            yield Union([literal(item) for item in value])
        elif word == "$ref":
            yield self._reference(value)
        elif word == "allOf":
            yield from map(self.build, value)
        else:
            yield Union([self.build(part) for part in value])

    def _reference(self, name: str) -> Node:
        if name not in self._references:
            node = self._references[name] = Union([], name)
            node.options = [self.build(self._find(name))]
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
        """The keywords of the types: a union over those that are allowed.

        Args:
          words: Those of the schema that stand between two applied ones.
          schema: All of it.
        """
        if not words:
            return ANYTHING
        types = schema.get("type", _TYPES)
        nodes: list[Node] = []
        for kind in (types,) if isinstance(types, str) else types:
            if kind == "null":
                nodes.append(literal(None))
            elif kind == "boolean":
                nodes.append(BOOLEAN)
            elif kind in ("number", "integer"):
                nodes.append(self._number(words, kind == "integer"))
            elif kind == "string":
                nodes.append(self._text(words))
            elif kind == "array":
                nodes.append(self._array(words, schema))
            else:
                nodes.append(self._object(words, schema))
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
        return Text(tuple(patterns), words.get("minLength", 0), words.get("maxLength", math.inf))

    def _array(self, words: dict[str, Any], schema: Mapping[str, Any]) -> Node:
        items, prefix = words.get("items", True), words.get("prefixItems", [])
        if "items" in words and "prefixItems" in schema:
            # What applies to the others needs to know which are listed, also where the list itself
            # stands on the other side of an applied keyword.
            prefix = words.get("prefixItems", [True] * len(schema["prefixItems"]))
        old = str(schema.get("$schema", "")).rstrip("#").endswith(_OLD)
        if isinstance(items, list):
            items, prefix = words.get("additionalItems", True), items
        elif old or "additionalItems" in words:
            prefix = []
        listed = [self.build(item) for item in prefix]
        return Array(listed, self.build(items), words.get("minItems", 0))

    def _object(self, words: dict[str, Any], schema: Mapping[str, Any]) -> Node:
        listed = words.get("properties", {})
        if "additionalProperties" in words and "properties" in schema:
            listed = words.get("properties", dict.fromkeys(schema["properties"], True))
        patterns = {
            pattern: self.build(part)
            for pattern, part in words.get("patternProperties", {}).items()
        }
        properties = {}
        for name, part in listed.items():
            node = self.build(part)
            for pattern, other in patterns.items():
                if string_automaton((pattern,)).matches(name):
                    node = self._merge(node, other)
            properties[name] = node
        return Object(
            properties,
            patterns,
            self.build(words.get("additionalProperties", True)),
            tuple(dict.fromkeys(words.get("required", ()))),
            words.get("minProperties", 0),
        )

    def _merge(self, a: Node | None, b: Node | None) -> Node:
        """What both allow; None allows nothing."""
        if a is None or b is None:
            return NOTHING
        if a is ANYTHING or a is b:
            return b
        if b is ANYTHING:
            return a
        if isinstance(a, Union):
            return self._union(a, lambda option: self._merge(option, b))
        if isinstance(b, Union):
            return self._union(b, lambda option: self._merge(a, option))
        if isinstance(b, Literal):
            a, b = b, a
        if isinstance(a, Literal):
            return a if _fits(a, b) else NOTHING
        if isinstance(a, Number) and isinstance(b, Number):
            return self._merge_numbers(a, b)
        if isinstance(a, Text) and isinstance(b, Text):
            patterns = tuple(dict.fromkeys(a.patterns + b.patterns))
            return Text(patterns, max(a.least, b.least), min(a.most, b.most))
        if isinstance(a, Array) and isinstance(b, Array):
            listed = range(max(len(a.prefix), len(b.prefix)))
            prefix = [self._merge(a.item(i), b.item(i)) for i in listed]
            return Array(prefix, self._merge(a.items, b.items), max(a.least, b.least))
        if isinstance(a, Object) and isinstance(b, Object):
            return self._merge_objects(a, b)
        return NOTHING

    def _union(self, node: Union, merged: Callable[[Node], Node]) -> Node:
        if node.reference is not None and not node.options:
            raise RequestError(
                f"schema: $ref {node.reference!r} has keywords beside it and leads back to "
                "itself; move them into what it refers to"
            )
        options = [o for o in map(merged, node.options) if o is not NOTHING]
        return Union(options) if options else NOTHING

    def _merge_numbers(self, a: Number, b: Number) -> Number:
        # Of two equal bounds the open one is the narrower.
        least, open_least = max((n.least, n.open_least) for n in (a, b))
        most, closed_most = min((n.most, not n.open_most) for n in (a, b))
        if a.step and b.step and a.step != b.step:
            raise RequestError("schema: two multipleOf meet in allOf; give their common multiple")
        integer = a.integer or b.integer
        return Number(integer, least, most, open_least, not closed_most, a.step or b.step)

    def _merge_objects(self, a: Object, b: Object) -> Node:
        names = dict.fromkeys([*a.properties, *b.properties])
        patterns = dict.fromkeys([*a.patterns, *b.patterns])
        return Object(
            {n: self._merge(a.property_node(n), b.property_node(n)) for n in names},
            {
                p: self._merge(a.patterns.get(p, a.others), b.patterns.get(p, b.others))
                for p in patterns
            },
            self._merge(a.others, b.others),
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
