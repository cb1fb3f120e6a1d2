"""How many tokens an answer to a schema still needs at most, wherever in it one is.

The bound follows what `completion` writes: strings and arrays end as soon as they may, objects
get what is still required, each value its shortest form. Of several alternatives the dearest is
counted, so that the choice stays the model's, unless one contains itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal

from trustee_jax.engine.schema_nodes import (
    Array,
    Literal,
    Node,
    Number,
    Object,
    Text,
    Union,
    parts_of,
)
from trustee_jax.engine.schema_patterns import quoted, string_automaton
from trustee_jax.engine.types import RequestError

# Bytes that complete a character whose escape or UTF-8 sequence is begun: the "u0000" of an escape
# and, in a name of a free property, the second half of a surrogate pair.
_CHARACTER, _NAME_CHARACTER = 5, 11
# Of a free name: a few letters that tell it from the listed ones, '"' and ":".
_NAME_END = 4
# Digits by which any multiple of a step is reached. A larger one takes too long to look for.
_MAX_STEP = 1000
# Of arrays and objects, one within another, that a shortest value may have.
_MOST_HEIGHT = 64


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _number_rest(node: Number) -> int:
    """Digits, sign and point that complete a number which is begun."""
    low, high = node.least, node.most
    bounds = [bound for bound in (low, high) if bound.is_finite()]
    digits, decimals = 1, 0
    if node.step:
        decimals = _decimals(node.step)
        step = int(node.step.scaleb(decimals))
        if step > _MAX_STEP:
            raise RequestError(f"schema: multipleOf {node.step}; at most {_MAX_STEP} can be held")
        digits += len(str(step)) if set(node.step.as_tuple().digits) != {1} else decimals
    # From each prefix of a number a shorter one is reached if zero and a unit lie within.
    below = low <= -1 or (low == 0 and not node.open_least)
    if below and (high >= 1 or (high == 0 and not node.open_most)):
        return digits + 1
    digits += max((len(str(abs(int(bound)))) for bound in bounds), default=0) + 1
    return digits + (0 if node.integer else max(decimals, *map(_decimals, bounds)) + 2)


class Lengths:
    """Bounds for the nodes of one schema.

    Attributes:
      nodes: All of the graph, parts before what they are part of.
      reserve: Tokens that complete the answer from any point, apart from `nesting`.
      nesting: What each array and object that is open adds; 0 if the schema does not contain
        itself.
    """

    def __init__(self, root: Node, tokens: Callable[[bytes], int]):
        """Goes through the graph.

        Args:
          root: Of the schema.
          tokens: For a fixed text, the most tokens that an end of it takes.

        Raises:
          RequestError: A part can never be completed, or no bound is known.
        """
        self._tokens = tokens
        self.nodes: list[Node] = []
        self._components: list[list[Node]] = []
        self._cyclic: dict[int, int] = {}
        self._visit(root, {}, {})
        self._need: dict[int, float] = {}
        self._measure()
        self._check_height()
        self._rest: dict[int, float] = {}
        self.nesting = 0
        # Components come in the order in which one leads to another, the last ones first.
        for component in self._components:
            leaving = max(map(self._leaving, component))
            self._rest |= dict.fromkeys(map(id, component), leaving)
            containers = [node for node in component if isinstance(node, Array | Object)]
            self.nesting = max(self.nesting, *(int(self.closing(c)) for c in containers), 0)
        if math.isinf(self._rest_of(root)):
            raise RequestError("schema: no bound of its answers is known; simplify it")
        self.reserve = int(self._rest_of(root))

    def need(self, node: Node | None) -> float:
        """Tokens of the value that `completion` writes there; the dearest of alternatives.

        Without end where there can be no value, or none that ends.
        """
        return self._need.get(id(node), math.inf)

    def _visit(self, node: Node, index: dict[int, int], path: dict[int, Node]) -> int:
        """Finds all nodes, and which contain themselves (Tarjan 1972).

        Args:
          node: That is new.
          index: Of each node that was found.
          path: Nodes whose component is not known yet.

        Returns:
          The lowest index in `path` that it leads back to.
        """
        index[id(node)] = low = len(index)
        path[id(node)] = node
        parts = parts_of(node)
        for part in parts:
            if id(part) not in index:
                low = min(low, self._visit(part, index, path))
            elif id(part) in path:
                low = min(low, index[id(part)])
        self.nodes.append(node)
        if low == index[id(node)]:
            component = [path.popitem()[1]]
            while component[-1] is not node:
                component.append(path.popitem()[1])
            if len(component) > 1 or node in parts:
                self._cyclic |= dict.fromkeys(map(id, component), len(self._components))
                self._components.append(component)
        return low

    # Whole values.

    def _measure(self) -> None:
        changed = True
        while changed:
            changed = False
            for node in self.nodes:
                new = self._whole(node)
                if new < self.need(node):
                    self._need[id(node)] = new
                    changed = True
        for node in self.nodes:
            if isinstance(node, Object) and node.least > len(node.required) + 1:
                raise RequestError(
                    f"schema: minProperties {node.least} counts names that may be repeated, so it "
                    "cannot be held; require the properties by name"
                )
            if math.isinf(self.need(node)):
                raise RequestError(
                    "schema: a part requires itself without end; make it optional, or nullable"
                )

    def _check_height(self) -> None:
        """A shortest value is written part within part; each part needs less than the whole."""
        heights: dict[int, int] = {}
        for node in sorted(self.nodes, key=self.need):
            inner = (heights.get(id(part), 0) for part in parts_of(node))
            heights[id(node)] = isinstance(node, Array | Object) + max(inner, default=0)
        if max(heights.values()) > _MOST_HEIGHT:
            raise RequestError(f"schema: nested more than {_MOST_HEIGHT} deep; make it flatter")

    def _whole(self, node: Node) -> float:
        if isinstance(node, Literal):
            return self._tokens(node.text)
        if isinstance(node, Number):
            return _number_rest(node)
        if isinstance(node, Text):
            return 1 + self._text(node)
        if isinstance(node, Union):
            needs = [self.need(option) for option in node.options]
            pick = min if id(node) in self._cyclic else max
            return pick(needs, default=math.inf)
        return 1 + self.closing(node)

    def _text(self, node: Text) -> float:
        if not node.patterns:
            return self._tokens(b"x" * node.least + b'"')
        return node.automaton().longest_rest + 1

    # The rest of a value.

    def closing(self, node: Node) -> float:
        """Tokens that complete an array or object after its bracket, the other one included."""
        if isinstance(node, Array):
            return 1 + self._items(node, 0)
        assert isinstance(node, Object)
        required = [self.property_need(node, name) for name in node.required]
        if node.least > len(node.required):
            # One of the optional ones.
            required.append(min((p for p, _ in self._optional(node)), default=math.inf))
        return 1 + sum(required)

    def _items(self, node: Array, start: int) -> float:
        """Tokens of the items that must come from an index on."""
        total = sum(1 + self.need(item) for item in node.prefix[start : node.least])
        free = node.least - max(start, len(node.prefix))
        return total + (free * (1 + self.need(node.items)) if free > 0 else 0)

    def property_need(self, node: Object, name: str) -> float:
        """Tokens of a listed property with its name."""
        return self._tokens(b',"' + quoted(name) + b'":') + self.need(node.property_node(name))

    def _optional(self, node: Object) -> Iterator[tuple[float, Node]]:
        """(tokens with the name, value) of all properties that may be left out."""
        for name, value in node.properties.items():
            if name not in node.required:
                yield self.property_need(node, name), value
        yield from self._free(node)

    def _free(self, node: Object) -> Iterator[tuple[float, Node]]:
        """The same of those that are not listed."""
        for pattern, value in node.patterns.items():
            longest = string_automaton((pattern,)).longest_rest
            yield 2 + _CHARACTER + longest + _NAME_END + self.need(value), value
        if node.others is not None:
            yield 2 + _NAME_CHARACTER + _NAME_END + self.need(node.others), node.others

    def _leaving(self, node: Node) -> float:
        """The rest within a node that contains itself, what is open around it apart."""
        component = self._cyclic[id(node)]
        parts = [part for part in parts_of(node) if self._cyclic.get(id(part)) != component]
        rests = [self._rest_of(part) for part in parts]
        if isinstance(node, Array | Object):
            rests += map(self.need, parts_of(node))
        if isinstance(node, Object):
            rests += [need for need, _ in self._optional(node)]
        return 1 + max(rests, default=0.0)

    def _rest_of(self, node: Node) -> float:
        if id(node) not in self._rest:
            self._rest[id(node)] = max(self.need(node), self._rest_inside(node))
        return self._rest[id(node)]

    def _rest_inside(self, node: Node) -> float:
        if isinstance(node, Text):
            return _CHARACTER + self._text(node)
        if isinstance(node, Union):
            return max(map(self._rest_of, parts_of(node)), default=0.0)
        if isinstance(node, Array):
            # Within an item, those after it are still to come.
            items = enumerate(parts_of(node), 1)
            rests = [self._rest_of(item) + self._items(node, after) for after, item in items]
            return 2 + max(rests, default=0.0)
        if isinstance(node, Object):
            return self._rest_of_object(node)
        return self.need(node)

    def _rest_of_object(self, node: Object) -> float:
        # Free properties come last.
        rests = [max(need, self._rest_of(value)) for need, value in self._free(node)]
        to_come = sum(self.property_need(node, name) for name in node.required)
        for name in dict.fromkeys([*node.properties, *node.required]):
            need, value = self.property_need(node, name), node.property_node(name)
            assert value is not None
            later = to_come - (need if name in node.required else 0)
            to_come = later if node.ordered else to_come
            rests.append(max(need, self._rest_of(value)) + later)
        if node.least > len(node.required):
            rests.append(self.closing(node))
        return 2 + max(rests, default=0.0)
