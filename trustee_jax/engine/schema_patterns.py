"""Strings that a schema restricts by patterns: from any point, the shortest way to a match.

A pattern becomes a nondeterministic finite automaton (Thompson 1968) over code points. Several
patterns and limits of length are held together by the product of their automata, which is
explored once; Dijkstra's algorithm from the accepting states gives the shortest rest of each.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import json
import math
import re
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from trustee_jax.engine.types import RequestError

# Inclusive ranges of code points, ascending.
Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_ALL: Ranges = ((0, _LAST),)
# As llguidance reads them: \d and \w in ASCII, \s in Unicode.
_CATEGORIES: dict[Any, Ranges] = {
    ops.CATEGORY_DIGIT: ((48, 57),),
    ops.CATEGORY_WORD: ((48, 57), (65, 90), (95, 95), (97, 122)),
    ops.CATEGORY_SPACE: (
        *((9, 13), (32, 32), (133, 133), (160, 160), (5760, 5760), (8192, 8202)),
        *((8232, 8233), (8239, 8239), (8287, 8287), (12288, 12288)),
    ),
}
_NEGATED = {
    ops.CATEGORY_NOT_DIGIT: ops.CATEGORY_DIGIT,
    ops.CATEGORY_NOT_WORD: ops.CATEGORY_WORD,
    ops.CATEGORY_NOT_SPACE: ops.CATEGORY_SPACE,
}
# Of a product; beyond it, exploring takes more than about a second.
_MAX_STATES = 20_000
# An escape, a class, what opens a named group, a brace that opens no repetition as Python sees it.
_SYNTAX = re.compile(
    r"""\\.
    | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
    | (?P<name>\(\?<(?![=!]))
    | (?P<brace>\{(?![0-9]+(?:,[0-9]*)?\}))""",
    re.VERBOSE | re.DOTALL,
)
_SET_OPERATION = re.compile(r"\[|&&|--|~~")
_SHORTEST_FIRST = "0ax-A .:@1"


def _union(ranges: list[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _negate(ranges: Ranges) -> Ranges:
    edges = [-1, *(edge for low, high in ranges for edge in (low, high)), _LAST + 1]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((low + 1, high - 1) for low, high in pairs if low + 1 <= high - 1)


def _both(a: Ranges, b: Ranges) -> Ranges:
    if a is _ALL:
        return b
    if b is _ALL:
        return a
    overlaps = ((max(x[0], y[0]), min(x[1], y[1])) for x in a for y in b)
    return tuple((low, high) for low, high in overlaps if low <= high)


def _contains(ranges: Ranges, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)


def quoted_name(text: str) -> bytes:
    """The text as it stands in a property's name, without the quotes around it."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def quoted(text: str) -> bytes:
    """The text as it stands in a string, where llguidance escapes the last control character."""
    return quoted_name(text).replace(b"\x7f", b"\\u007f")


@functools.cache
def _cheapest(ranges: Ranges) -> tuple[int, str] | None:
    """(bytes in JSON, character) of the character that takes the fewest."""
    for usual in _SHORTEST_FIRST:
        if _contains(ranges, ord(usual)):
            return 1, usual
    best: tuple[int, str] | None = None
    for low, high in ranges:
        starts = (low, max(low, 32), max(low, 35), max(low, 93), max(low, 0x80), max(low, 0xE000))
        for code in starts:
            if code <= high and not 0xD800 <= code <= 0xDFFF:
                found = len(quoted(chr(code))), chr(code)
                best = min(best or found, found)
    return best


@dataclasses.dataclass
class _Nfa:
    """States are numbered; 0 is the start, 1 the end of the pattern proper.

    Attributes:
      steps: For each state, (characters, next state).
      jumps: For each state, (assertion or None, next state) without a character.
    """

    steps: list[list[tuple[Ranges, int]]]
    jumps: list[list[tuple[Any, int]]]

    def new(self) -> int:
        """Adds a state."""
        if len(self.steps) > _MAX_STATES:
            raise RequestError("its repetitions are too many; make them fewer")
        self.steps.append([])
        self.jumps.append([])
        return len(self.steps) - 1

    def add(self, items: Any, begin: int) -> int:
        """Adds a parsed sequence after the state `begin`; returns the state after it."""
        for op, argument in items:
            begin = self._add_one(op, argument, begin)
        return begin

    def _add_one(self, op: Any, argument: Any, begin: int) -> int:
        if op is ops.SUBPATTERN:
            if argument[1] or argument[2]:
                raise RequestError("it sets flags; write them out")
            return self.add(argument[3], begin)
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            least, most, repeated = argument
            return self._repeat(least, most, repeated, begin)
        end = self.new()
        if op is ops.BRANCH:
            for items in argument[1]:
                self.jumps[self.add(items, begin)].append((None, end))
        elif op is ops.AT and argument in (ops.AT_BEGINNING, ops.AT_END):
            self.jumps[begin].append((argument, end))
        else:
            self.steps[begin].append((_characters(op, argument), end))
        return end

    def _repeat(self, least: int, most: Any, items: Any, begin: int) -> int:
        for _ in range(least):
            begin = self.add(items, begin)
        end = self.new()
        if most is ops.MAXREPEAT:
            loop = self.new()
            self.jumps[begin].append((None, loop))
            self.jumps[self.add(items, loop)].append((None, loop))
            self.jumps[loop].append((None, end))
            return end
        for _ in range(most - least):
            self.jumps[begin].append((None, end))
            begin = self.add(items, begin)
        self.jumps[begin].append((None, end))
        return end


def _characters(op: Any, argument: Any) -> Ranges:
    if op is ops.LITERAL:
        return ((argument, argument),)
    if op is ops.ANY:
        return _negate(((10, 10),))
    if op is ops.NOT_LITERAL:
        return _held(_negate(((argument, argument),)))
    if op is ops.IN:
        negate = argument[0][0] is ops.NEGATE
        ranges: list[tuple[int, int]] = []
        for kind, value in argument[negate:]:
            if kind is ops.LITERAL:
                ranges.append((value, value))
            elif kind is ops.RANGE:
                ranges.append(value)
            elif value in _NEGATED:
                ranges += _negate(_CATEGORIES[_NEGATED[value]])
            else:
                ranges += _CATEGORIES[value]
        return _held(_negate(_union(ranges)) if negate else _union(ranges))
    raise RequestError(
        f"it has {str(op).lower()}, whose shortest match is not known; use classes, groups, "
        "alternatives and repetitions"
    )


def _held(ranges: Ranges) -> Ranges:
    """Refuses what llguidance does not hold.

    Where a class has all control characters it lets all of their escapes through, and with them
    those of the quote and the backslash.
    """
    control = _both(ranges, ((0, 31),))
    if control in (((0, 31),), ((0, 9), (11, 31))) and not (
        _contains(ranges, ord('"')) and _contains(ranges, ord("\\"))
    ):
        raise RequestError(
            'a class excludes \\ or ", which cannot be held; list the characters that are allowed'
        )
    return ranges


def _python_text(found: re.Match[str]) -> str:
    """One match of `_SYNTAX` as Python writes it; refuses what Rust's `regex` reads otherwise."""
    if found["set"] and _SET_OPERATION.search(re.sub(r"\\.", "x", found[0][1:], flags=re.DOTALL)):
        raise RequestError(
            "a class holds another one, or &&, -- or ~~; list its characters, or \\["
        )
    if found["brace"]:
        raise RequestError("a brace opens no repetition; write \\{")
    # "||" is no operation, but Python warns of one.
    return "(?P<" if found["name"] else found[0].replace("||", r"|\|")


# A state of one pattern: (state, whether text has begun, whether it must have ended).
_Point = tuple[int, bool, bool]


class _Pattern:
    """The automaton of one pattern, searched for anywhere in the text unless it is anchored."""

    def __init__(self, pattern: str):
        self._nfa = _Nfa([], [])
        start, self._end = self._nfa.new(), self._nfa.new()
        body = self._nfa.new()
        self._nfa.steps[start].append((_ALL, start))
        self._nfa.jumps[start].append((None, body))
        parsed = parser.parse(_SYNTAX.sub(_python_text, pattern))
        if parsed.state.flags != re.UNICODE:
            raise RequestError("it sets flags; write them out")
        last = self._nfa.add(parsed, body)
        self._nfa.jumps[last].append((None, self._end))
        self._nfa.steps[self._end].append((_ALL, self._end))
        self.starts = self._closure((start, False, False))
        self._next: dict[_Point, list[tuple[Ranges, frozenset[_Point]]]] = {}

    def _closure(self, point: _Point) -> frozenset[_Point]:
        """What is reached without a character; only points that matter: they step or accept."""
        seen, todo = {point}, [point]
        while todo:
            state, begun, ended = todo.pop()
            for assertion, following in self._nfa.jumps[state]:
                if assertion is ops.AT_BEGINNING and begun:
                    continue
                reached = (following, begun, ended or assertion is ops.AT_END)
                if reached not in seen:
                    seen.add(reached)
                    todo.append(reached)
        return frozenset(p for p in seen if self.accepts(p) or (self._nfa.steps[p[0]] and not p[2]))

    def accepts(self, point: _Point) -> bool:
        return point[0] == self._end

    def following(self, point: _Point) -> list[tuple[Ranges, frozenset[_Point]]]:
        if point not in self._next:
            steps = [] if point[2] else self._nfa.steps[point[0]]
            self._next[point] = [(r, self._closure((s, True, False))) for r, s in steps]
        return self._next[point]


class StringAutomaton:
    """All of some patterns, and limits of length.

    Attributes:
      empty: Whether no string matches.
      longest_rest: Bytes in JSON that at most complete a string that is begun; the closing quote
        is not counted.
    """

    def __init__(self, patterns: tuple[str, ...], least: int, most: int | None):
        """Explores the product; see `string_automaton`."""
        self._patterns = [_Pattern(pattern) for pattern in patterns]
        self._least, self._most = least, most
        self._following: dict[Any, list[tuple[Ranges, Any]]] = {}
        self._starts = self._product(tuple(p.starts for p in self._patterns), 0)
        self._explore()
        self._measure()
        self.empty = not any(state in self._rest for state in self._starts)
        self.longest_rest = max((cost for cost, _, _ in self._rest.values()), default=0)

    def _product(self, sets: tuple[frozenset[_Point], ...], length: int) -> list[Any]:
        """The product's states of one reached set per pattern."""
        if self._most is None:
            length = min(length, self._least)
        elif length > self._most:
            return []
        states: list[tuple[_Point, ...]] = [()]
        for points in sets:
            states = [(*state, point) for state in states for point in points]
        return [(*state, length) for state in states]

    def _explore(self) -> None:
        todo = list(self._starts)
        seen = set(todo)
        while todo:
            state = todo.pop()
            if len(seen) > _MAX_STATES:
                raise RequestError("it allows too much to look for the shortest match; simplify it")
            steps: list[tuple[Ranges, tuple[frozenset[_Point], ...]]] = [(_ALL, ())]
            for pattern, point in zip(self._patterns, state[:-1], strict=True):
                steps = [
                    (both, (*reached, points))
                    for ranges, reached in steps
                    for more, points in pattern.following(point)
                    if (both := _both(ranges, more))
                ]
            following = []
            for ranges, reached in steps:
                for new in self._product(reached, state[-1] + 1):
                    following.append((ranges, new))
                    if new not in seen:
                        seen.add(new)
                        todo.append(new)
            self._following[state] = following

    def _accepts(self, state: Any) -> bool:
        points = zip(self._patterns, state[:-1], strict=True)
        return state[-1] >= self._least and all(p.accepts(point) for p, point in points)

    def _measure(self) -> None:
        """Of each state that can lead to a match: (bytes of the shortest rest, character, next)."""
        before: dict[Any, list[tuple[int, str, Any]]] = {}
        for state, following in self._following.items():
            for ranges, new in following:
                if cheapest := _cheapest(ranges):
                    before.setdefault(new, []).append((*cheapest, state))
        self._rest: dict[Any, tuple[int, str, Any]] = {}
        ties = 0
        queue = [(0, i, "", s, None) for i, s in enumerate(self._following) if self._accepts(s)]
        heapq.heapify(queue)
        while queue:
            cost, _, character, state, new = heapq.heappop(queue)
            if state in self._rest:
                continue
            self._rest[state] = cost, character, new
            for more, earlier_character, earlier in before.get(state, ()):
                ties -= 1
                heapq.heappush(queue, (cost + more, ties, earlier_character, earlier, state))

    def rest(self, begun: str) -> str | None:
        """The shortest text that makes a match of the begun string; None: there is none."""
        states = set(self._starts)
        for character in begun:
            code = ord(character)
            states = {
                new
                for state in states
                for ranges, new in self._following[state]
                if _contains(ranges, code) and new in self._rest
            }
        best = min(states, key=lambda s: self._rest.get(s, (math.inf,))[0], default=None)
        if best not in self._rest:
            return None
        text = ""
        while (step := self._rest[best])[2] is not None:
            text += step[1]
            best = step[2]
        return text

    def matches(self, text: str) -> bool:
        """Whether the whole text is one of the strings."""
        return self.rest(text) == ""


@functools.lru_cache(maxsize=4096)
def string_automaton(patterns: tuple[str, ...], least: int, most: int | None) -> StringAutomaton:
    """The automaton of the strings that have all `patterns` and a length in [least, most].

    Raises:
      RequestError: One uses what has no known shortest match (look-around, references), or it
        would take too long to find.
    """
    try:
        return StringAutomaton(patterns, least, most)
    except (RequestError, parser.error, OverflowError) as error:
        named = " and ".join(map(repr, patterns))
        fix = "" if isinstance(error, RequestError) else "; write it as Python's re takes it"
        raise RequestError(f"schema: pattern {named}: {error}{fix}") from None
