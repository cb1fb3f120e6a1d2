"""What a value may be: the nodes of the graph that a JSON schema is read into.

`schema_reading` builds it; what is left of all keywords are kinds of nodes that one can write a
shortest value of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from trustee_jax.engine.schema_patterns import quoted, string_automaton
from trustee_jax.engine.types import RequestError


class Node:
    """What a value may be."""


@dataclasses.dataclass(eq=False)
class Literal(Node):
    """One value, null, true or false among them; `text` is its JSON."""

    value: Any
    text: bytes


@dataclasses.dataclass(eq=False)
class Number(Node):
    """A number in [least, most], perhaps without these, a multiple of `step`."""

    integer: bool
    least: Decimal | None = None
    most: Decimal | None = None
    open_least: bool = False
    open_most: bool = False
    step: Decimal | None = None


@dataclasses.dataclass(eq=False)
class Text(Node):
    """A string with all of the patterns and a length in [least, most]."""

    patterns: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None


@dataclasses.dataclass(eq=False)
class Array(Node):
    """`prefix`, then any number of `items` (None: none)."""

    prefix: list[Node]
    items: Node | None
    least: int = 0


@dataclasses.dataclass(eq=False)
class Object(Node):
    """Listed properties in their order, then free ones by pattern, then any others.

    Attributes:
      ordered: Whether the order is known; merged properties have none that can be relied upon.
    """

    properties: dict[str, Node]
    patterns: dict[str, Node]
    others: Node | None
    required: tuple[str, ...] = ()
    least: int = 0
    ordered: bool = True

    def property_node(self, name: str) -> Node | None:
        """What a property of that name may be; None: it may not be there."""
        if name in self.properties:
            return self.properties[name]
        for pattern, node in self.patterns.items():
            if string_automaton((pattern,), 0, None).matches(name):
                return node
        return self.others


@dataclasses.dataclass(eq=False)
class Union(Node):
    """One of several; none: no value is allowed."""

    options: list[Node]


@dataclasses.dataclass(eq=False)
class Reference(Node):
    """The node of a `$ref`, which may contain itself."""

    name: str
    target: Node | None = None


NOTHING = Union([])
ANYTHING = Union([])


def exact(value: Any) -> Decimal:
    """A number of a schema, which llguidance reads as a double.

    Raises:
      RequestError: It is not one.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RequestError(f"schema: {value!r} stands where a number is expected; write one")
    if abs(value) >= 2**63 or value != float(value):
        raise RequestError(f"schema: {value} cannot be held to the last digit; take fewer digits")
    return Decimal(int(value)) if value == int(value) else Decimal(repr(value))


def literal(value: Any) -> Node:
    """The node of one JSON value, with the JSON that llguidance writes it in."""
    if isinstance(value, str):
        return Literal(value, b'"' + quoted(value) + b'"')
    if value is None or isinstance(value, bool):
        return Literal(value, {None: b"null", True: b"true", False: b"false"}[value])
    if isinstance(value, int | float):
        return Literal(value, format(exact(value), "f").encode())
    if isinstance(value, list):
        return Array([literal(item) for item in value], None, len(value))
    properties = {name: literal(item) for name, item in value.items()}
    return Object(properties, {}, None, tuple(properties))


BOOLEAN = Union([literal(True), literal(False)])
_ANY_OBJECT = Object({}, {}, ANYTHING)
ANYTHING.options += [
    *(literal(None), BOOLEAN, Number(False), Text(), Array([], ANYTHING), _ANY_OBJECT)
]


def parts_of(node: Node) -> list[Node]:
    """The nodes of which a node is made."""
    if isinstance(node, Union):
        return node.options
    if isinstance(node, Reference):
        assert node.target is not None
        return [node.target]
    if isinstance(node, Array):
        return [*node.prefix, *([node.items] if node.items else [])]
    if isinstance(node, Object):
        free = [*node.patterns.values(), *([node.others] if node.others else [])]
        missing = [node.property_node(n) for n in node.required if n not in node.properties]
        return [*node.properties.values(), *free, *(part for part in missing if part)]
    return []


def reachable(root: Node) -> list[Node]:
    """All nodes of a graph, each once."""
    found = {id(root): root}
    todo = [root]
    while todo:
        new = {id(part): part for part in parts_of(todo.pop()) if id(part) not in found}
        found |= new
        todo += new.values()
    return list(found.values())


def drop_impossible(root: Node) -> None:
    """Takes the parts that allow no value out of a graph, as llguidance does.

    What only contains itself without end stays.

    Raises:
      RequestError: Nothing is left.
    """
    nodes = reachable(root)
    gone: set[int] = set()
    while found := {id(n) for n in nodes if id(n) not in gone and _allows_none(n, gone)}:
        gone |= found
    if id(root) in gone:
        raise RequestError("schema: Unsatisfiable; allow a value")
    for node in nodes:
        if isinstance(node, Union):
            node.options = [option for option in node.options if id(option) not in gone]
        elif isinstance(node, Array):
            count = len(node.prefix)
            whole = [i for i, item in enumerate(node.prefix) if id(item) in gone]
            if whole or id(node.items) in gone:
                node.prefix, node.items = node.prefix[: min(whole, default=count)], None
        elif isinstance(node, Object):
            node.properties = {n: v for n, v in node.properties.items() if id(v) not in gone}
            node.patterns = {p: v for p, v in node.patterns.items() if id(v) not in gone}
            node.others = None if id(node.others) in gone else node.others


def _allows_none(node: Node, gone: set[int]) -> bool:
    """Whether no value is allowed, for all that is known of the parts."""
    if isinstance(node, Text):
        if node.most is not None and node.least > node.most:
            return True
        patterns = node.patterns
        return bool(patterns) and string_automaton(patterns, node.least, node.most).empty
    if isinstance(node, Union | Reference):
        return all(id(part) in gone for part in parts_of(node))
    needed: list[Node | None] = []
    if isinstance(node, Array):
        needed += node.prefix[: node.least]
        needed += [node.items] if node.least > len(node.prefix) else []
    elif isinstance(node, Object):
        needed += map(node.property_node, node.required)
        if node.least > len(node.required):
            listed = [value for n, value in node.properties.items() if n not in node.required]
            optional = [*listed, *node.patterns.values(), node.others]
            needed.append(next((part for part in optional if part and id(part) not in gone), None))
    return any(part is None or id(part) in gone for part in needed)


def expand(nodes: Iterable[Node]) -> list[Node]:
    """The nodes without unions and references, each once."""
    seen: dict[int, Node] = {}
    todo = list(nodes)[::-1]
    visited: set[int] = set()
    while todo:
        node = todo.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, Union):
            todo += node.options[::-1]
        elif isinstance(node, Reference):
            assert node.target is not None
            todo.append(node.target)
        else:
            seen[id(node)] = node
    return list(seen.values())
