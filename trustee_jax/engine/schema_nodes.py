"""What a value may be: the nodes of the graph that a JSON schema is read into.

`schema_reading` builds it; what is left of all keywords are kinds of nodes that one can write a
shortest value of.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from trustee_jax.engine.schema_patterns import StringAutomaton, quoted, string_automaton
from trustee_jax.engine.types import RequestError

INFINITY = Decimal("Infinity")


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
    least: Decimal = -INFINITY
    most: Decimal = INFINITY
    open_least: bool = False
    open_most: bool = False
    step: Decimal | None = None


@dataclasses.dataclass(eq=False)
class Text(Node):
    """A string with all of the patterns and a length in [least, most]."""

    patterns: tuple[str, ...] = ()
    least: int = 0
    most: float = math.inf

    def automaton(self) -> StringAutomaton:
        """Of its strings."""
        return string_automaton(self.patterns, self.least, self.most)


@dataclasses.dataclass(eq=False)
class Array(Node):
    """`prefix`, then any number of `items` (None: none)."""

    prefix: list[Node]
    items: Node | None
    least: int = 0

    def item(self, index: int) -> Node | None:
        """What the item there may be; None: there is none."""
        return self.prefix[index] if index < len(self.prefix) else self.items


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
            if string_automaton((pattern,)).matches(name):
                return node
        return self.others


@dataclasses.dataclass(eq=False)
class Union(Node):
    """One of several; none: no value is allowed.

    Attributes:
      reference: The `$ref` whose target is the one option, which may contain this node.
    """

    options: list[Node]
    reference: str | None = None


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
        return Literal(value, json.dumps(value).encode())
    if isinstance(value, int | float):
        return Literal(value, format(exact(value), "f").encode())
    if isinstance(value, list):
        return Array([literal(item) for item in value], None, len(value))
    properties = {name: literal(item) for name, item in value.items()}
    return Object(properties, {}, None, tuple(properties))


BOOLEAN = Union([literal(True), literal(False)])
ANYTHING.options += [
    *(literal(None), BOOLEAN, Number(False), Text()),
    *(Array([], ANYTHING), Object({}, {}, ANYTHING)),
]


def parts_of(node: Node) -> list[Node]:
    """The nodes of which a node is made."""
    if isinstance(node, Union):
        return node.options
    if isinstance(node, Array):
        return [*node.prefix, *([node.items] if node.items else [])]
    if isinstance(node, Object):
        free = [*node.patterns.values(), *([node.others] if node.others else [])]
        missing = [node.property_node(n) for n in node.required if n not in node.properties]
        return [*node.properties.values(), *free, *(part for part in missing if part)]
    return []


def reachable(roots: Iterable[Node], through: type[Node] = Node) -> list[Node]:
    """The roots and their parts, each once; only nodes of the type `through` are gone into."""
    found: dict[int, Node] = {}
    todo = list(roots)[::-1]
    while todo:
        node = todo.pop()
        if id(node) not in found:
            found[id(node)] = node
            todo += parts_of(node)[::-1] if isinstance(node, through) else ()
    return list(found.values())


def expand(nodes: Iterable[Node]) -> list[Node]:
    """The nodes without unions, each once."""
    return [node for node in reachable(nodes, Union) if not isinstance(node, Union)]


def drop_impossible(root: Node) -> None:
    """Takes the parts that allow no value out of a graph, as llguidance does.

    What only contains itself without end stays.

    Raises:
      RequestError: Nothing is left.
    """
    nodes = reachable([root])
    gone: set[int] = set()
    while found := {id(n) for n in nodes if id(n) not in gone and _allows_none(n, gone)}:
        gone |= found
    if id(root) in gone:
        raise RequestError("schema: Unsatisfiable; allow a value")
    for node in nodes:
        if isinstance(node, Union):
            node.options = [option for option in node.options if id(option) not in gone]
        elif isinstance(node, Array):
            ends = [i for i, item in enumerate(parts_of(node)) if id(item) in gone]
            if ends:
                node.prefix, node.items = node.prefix[: ends[0]], None
        elif isinstance(node, Object):
            node.properties = {n: v for n, v in node.properties.items() if id(v) not in gone}
            node.patterns = {p: v for p, v in node.patterns.items() if id(v) not in gone}
            node.others = None if id(node.others) in gone else node.others


def _allows_none(node: Node, gone: set[int]) -> bool:
    """Whether no value is allowed, for all that is known of the parts."""
    if isinstance(node, Text):
        return node.least > node.most or bool(node.patterns and node.automaton().empty)
    if isinstance(node, Union):
        return all(id(part) in gone for part in parts_of(node))
    needed: list[Node | None] = []
    if isinstance(node, Array):
        needed += map(node.item, range(min(node.least, len(node.prefix) + 1)))
    elif isinstance(node, Object):
        needed += map(node.property_node, node.required)
        if node.least > len(node.required):
            listed = [value for n, value in node.properties.items() if n not in node.required]
            optional = [*listed, *node.patterns.values(), node.others]
            needed.append(next((part for part in optional if part and id(part) not in gone), None))
    return any(part is None or id(part) in gone for part in needed)
