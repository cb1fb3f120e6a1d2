"""Strings that a schema restricts by patterns: from any point, the shortest way to a match.

A pattern becomes a nondeterministic finite automaton (Thompson 1968) over code points. Several
patterns and limits of length are held together by the product of their automata, which is
explored once; Dijkstra's algorithm from the accepting states gives the shortest rest of each.
"""

from __future__ import annotations

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
# The code points that are tried for the shortest character, of several the first: usual ones, and
# those from which on JSON has one that is as short.
_USUAL, _SHORTER_FROM = tuple(b"0ax-A .:@1"), (0, 32, 35, 93, 0x80, 0xE000)


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


# As llguidance reads them: \d and \w in ASCII, \s in Unicode.
_CATEGORIES: dict[Any, Ranges] = {
    ops.CATEGORY_DIGIT: ((48, 57),),
    ops.CATEGORY_WORD: ((48, 57), (65, 90), (95, 95), (97, 122)),
    ops.CATEGORY_SPACE: (
        *((9, 13), (32, 32), (133, 133), (160, 160), (5760, 5760), (8192, 8202)),
        *((8232, 8233), (8239, 8239), (8287, 8287), (12288, 12288)),
    ),
}
for _kind in ("DIGIT", "WORD", "SPACE"):
    _ranges = _CATEGORIES[getattr(ops, f"CATEGORY_{_kind}")]
    _CATEGORIES[getattr(ops, f"CATEGORY_NOT_{_kind}")] = _negate(_ranges)


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
    starts = sorted(max(low, code) for low, _ in ranges for code in _SHORTER_FROM)
    usable = (code for code in (*_USUAL, *starts) if _contains(ranges, code))
    characters = (chr(code) for code in usable if not 0xD800 <= code <= 0xDFFF)
    return min(((len(quoted(c)), c) for c in characters), key=lambda x: x[0], default=None)


def _characters(op: Any, argument: Any) -> Ranges:
    """What one character of a pattern may be."""
    if op is ops.ANY:
        op, argument = ops.NOT_LITERAL, 10
    if op in (ops.LITERAL, ops.NOT_LITERAL):
        negation = [(ops.NEGATE, None)] if op is ops.NOT_LITERAL else []
        op, argument = ops.IN, [*negation, (ops.LITERAL, argument)]
    if op is not ops.IN:
        raise RequestError(
            f"it has {str(op).lower()}, whose shortest match is not known; use classes, groups, "
            "alternatives and repetitions"
        )
    negate = argument[0][0] is ops.NEGATE
    listed: list[tuple[int, int]] = []
    for kind, value in argument[negate:]:
        single = {ops.LITERAL: (value, value), ops.RANGE: value}.get(kind)
        listed += [single] if single else _CATEGORIES[value]
    ranges = _negate(_union(listed)) if negate else _union(listed)
    # Where a class has all control characters, llguidance lets all of their escapes through, and
    # with them those of the quote and the backslash.
    if _both(ranges, ((0, 31),)) in (((0, 31),), ((0, 9), (11, 31))) and not (
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
    """The automaton of one pattern, searched for anywhere in the text unless it is anchored.

    Attributes:
      starts: What is reached before the first character.
    """

    def __init__(self, pattern: str):
        # For each state: (characters, next state); (assertion or None, next state without any).
        self._steps: list[list[tuple[Ranges, int]]] = []
        self._jumps: list[list[tuple[Any, int]]] = []
        start, self._end, body = self._new(), self._new(), self._new()
        self._steps[start].append((_ALL, start))
        self._jumps[start].append((None, body))
        parsed = parser.parse(_SYNTAX.sub(_python_text, pattern))
        if parsed.state.flags != re.UNICODE:
            raise RequestError("it sets flags; write them out")
        self._jumps[self._add(parsed, body)].append((None, self._end))
        self._steps[self._end].append((_ALL, self._end))
        self.starts = self._closure((start, False, False))
        self._next: dict[_Point, list[tuple[Ranges, frozenset[_Point]]]] = {}

    def _new(self) -> int:
        if len(self._steps) > _MAX_STATES:
            raise RequestError("its repetitions are too many; make them fewer")
        self._steps.append([])
        self._jumps.append([])
        return len(self._steps) - 1

    def _add(self, items: Any, begin: int) -> int:
        """Adds a parsed sequence after the state `begin`; returns the state after it."""
        for op, argument in items:
            begin = self._add_one(op, argument, begin)
        return begin

    def _add_one(self, op: Any, argument: Any, begin: int) -> int:
        if op is ops.SUBPATTERN:
            if argument[1] or argument[2]:
                raise RequestError("it sets flags; write them out")
            return self._add(argument[3], begin)
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            least, most, repeated = argument
            return self._repeat(least, most, repeated, begin)
        end = self._new()
        if op is ops.BRANCH:
            for items in argument[1]:
                self._jumps[self._add(items, begin)].append((None, end))
        elif op is ops.AT and argument in (ops.AT_BEGINNING, ops.AT_END):
            self._jumps[begin].append((argument, end))
        else:
            self._steps[begin].append((_characters(op, argument), end))
        return end

    def _repeat(self, least: int, most: Any, items: Any, begin: int) -> int:
        for _ in range(least):
            begin = self._add(items, begin)
        end = self._new()
        if most is ops.MAXREPEAT:
            loop = self._new()
            self._jumps[begin].append((None, loop))
            self._jumps[self._add(items, loop)].append((None, loop))
            begin = loop
        else:
            for _ in range(most - least):
                self._jumps[begin].append((None, end))
                begin = self._add(items, begin)
        self._jumps[begin].append((None, end))
        return end

    def _closure(self, point: _Point) -> frozenset[_Point]:
        """What is reached without a character; only points that matter: they step or accept."""
        seen, todo = {point}, [point]
        while todo:
            state, begun, ended = todo.pop()
            for assertion, following in self._jumps[state]:
                if assertion is ops.AT_BEGINNING and begun:
                    continue
                reached = (following, begun, ended or assertion is ops.AT_END)
                if reached not in seen:
                    seen.add(reached)
                    todo.append(reached)
        return frozenset(p for p in seen if self.accepts(p) or (self._steps[p[0]] and not p[2]))

    def accepts(self, point: _Point) -> bool:
        return point[0] == self._end

    def following(self, point: _Point) -> list[tuple[Ranges, frozenset[_Point]]]:
        if point not in self._next:
            steps = [] if point[2] else self._steps[point[0]]
            self._next[point] = [(r, self._closure((s, True, False))) for r, s in steps]
        return self._next[point]


class StringAutomaton:
    """All of some patterns, and limits of length.

    Attributes:
      empty: Whether no string matches.
      longest_rest: Bytes in JSON that at most complete a string that is begun; the closing quote
        is not counted.
    """

    def __init__(self, patterns: tuple[str, ...], least: int, most: float):
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
        if length > self._most:
            return []
        if self._most == math.inf:  # all lengths from the least on are alike
            length = min(length, self._least)
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
        ended = (state for state in states if state in self._rest)
        best = min(ended, key=lambda state: self._rest[state][0], default=None)
        if best is None:
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
def string_automaton(
    patterns: tuple[str, ...], least: int = 0, most: float = math.inf
) -> StringAutomaton:
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
