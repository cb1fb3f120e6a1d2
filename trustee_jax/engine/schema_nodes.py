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
    most: int | None = None


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
    most: int | None = None
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
        return Array([literal(item) for item in value], None, len(value), len(value))
    properties = {name: literal(item) for name, item in value.items()}
    return Object(properties, {}, None, tuple(properties))


BOOLEAN = Union([literal(True), literal(False)])
_ANY_OBJECT = Object({}, {}, ANYTHING)
ANYTHING.options += [
    *(literal(None), BOOLEAN, Number(False), Text(), Array([], ANYTHING), _ANY_OBJECT)
]


def impossible(node: Node) -> bool:
    """Whether no value is allowed."""
    return isinstance(node, Union) and all(map(impossible, node.options))


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
