"""The shortest end of a JSON text that is begun, by a schema and a matcher of its bytes.

The graph of the schema says what could come; the matcher, which llguidance made from the same
schema, says what may. So whatever is written is allowed, also where the graph knows less.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator

import llguidance
from llguidance import LLMatcher, LLTokenizer

from trustee_jax.engine.schema_length import Lengths
from trustee_jax.engine.schema_nodes import (
    Array,
    Literal,
    Node,
    Number,
    Object,
    Text,
    expand,
)
from trustee_jax.engine.schema_patterns import quoted, quoted_name, string_automaton

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\]}]+")
# A begun escape: of a character, or of the second half of a pair of surrogates.
_HALF_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{0,3})?\Z|\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_LETTERS = string.ascii_lowercase + string.digits
# What a free name gets at most, to differ from the listed ones.
_NAME_LETTERS = 2
# Of a number; and those of a multiple, which are looked for all together.
_MOST_DIGITS, _STEP_DIGITS = 400, 3


class _Bytes:
    """A vocabulary of the single bytes, as `TokenizerWrapper` takes it."""

    eos_token_id, bos_token_id = 256, None
    special_token_ids = (256,)
    tokens = (*(bytes([i]) for i in range(256)), b"<end>")

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@functools.cache
def byte_tokenizer() -> LLTokenizer:
    """A tokenizer whose tokens are the bytes, to make matchers of bytes with."""
    return LLTokenizer(llguidance.TokenizerWrapper(_Bytes()), slices=[])


@dataclasses.dataclass
class _Frame:
    """An array or object that is open.

    Attributes:
      nodes: What it may be.
      names: Of its properties so far.
      items: Number of its items so far.
      stage: What comes next: "first" or "next" (a part, after a comma, or the end), "part" (after a
        comma), "colon", "value".
    """

    nodes: list[Node]
    is_object: bool
    stage: str = "first"
    names: list[str] = dataclasses.field(default_factory=list)
    items: int = 0

    @property
    def in_name(self) -> bool:
        """Whether a string that begins now is a property's name."""
        return self.is_object and self.stage in ("first", "part")

    def value(self, node: Node) -> Node | None:
        """What the value that comes next may be, if the frame is this of its nodes."""
        if isinstance(node, Object):
            return node.property_node(self.names[-1])
        assert isinstance(node, Array)
        return node.item(self.items)

    def done(self) -> None:
        """A value has been written."""
        self.items += 1
        self.stage = "next"


class Completion:
    """Completes one text."""

    def __init__(self, root: Node, lengths: Lengths, text: bytes, matcher: LLMatcher):
        """Reads what there is.

        Args:
          root: Of the schema's graph.
          lengths: Of the same graph.
          text: Begun JSON that the matcher has consumed.
          matcher: Of bytes; consumed further, so a copy of what is kept.
        """
        self._root, self._lengths, self._matcher = root, lengths, matcher
        self._frames: list[_Frame] = []
        self._end = b""
        self._leaf = self._read(text)

    def complete(self) -> bytes | None:
        """The bytes that complete the text; None if none are found."""
        begun = b""
        if not self._frames and self._leaf is None:
            if not self._matcher.is_accepting() and not self._write_value([self._root]):
                return None
        elif self._leaf is not None and self._frames and self._frames[-1].in_name:
            begun = self._leaf
        elif self._leaf is not None and not self._finish_value(self._leaf):
            return None
        while self._frames:
            if not self._close(self._frames.pop(), begun):
                return None
            begun = b""
            if self._frames:
                self._frames[-1].done()
        return self._end if self._matcher.is_accepting() else None

    # Reading.

    def _read(self, text: bytes) -> bytes | None:
        """Fills the frames; returns the string or scalar that is begun and may not have ended."""
        position = 0
        while position < len(text):
            byte = text[position : position + 1]
            frame = self._frames[-1] if self._frames else None
            if byte in b",:":
                assert frame is not None
                frame.stage = "value" if byte == b":" else "part"
            elif byte in b"{[":
                kind = Object if byte == b"{" else Array
                nodes: list[Node] = [node for node in self._values() if isinstance(node, kind)]
                self._frames.append(_Frame(nodes, kind is Object))
            elif byte in b"}]":
                self._frames.pop()
                if self._frames:
                    self._frames[-1].done()
            else:
                found = (_STRING if byte == b'"' else _SCALAR).match(text, position)
                if found is None or (byte != b'"' and found.end() == len(text)):
                    return text[position:]
                if frame and frame.in_name:
                    frame.names.append(json.loads(found.group()))
                    frame.stage = "colon"
                elif frame:
                    frame.done()
                position = found.end() - 1
            position += 1
        return None

    def _values(self) -> list[Node]:
        """What the value that comes next may be."""
        if not self._frames:
            return expand([self._root])
        frame = self._frames[-1]
        values = (frame.value(node) for node in frame.nodes)
        return expand(value for value in values if value is not None)

    # Writing. What returns False may have written a part.

    def _allowed(self, text: bytes) -> bool:
        return self._matcher.validate_tokens(list(text)) == len(text)

    def _write(self, text: bytes) -> bool:
        """Adds the text if it is allowed."""
        if not self._allowed(text):
            return False
        self._matcher.consume_tokens(list(text))
        self._end += text
        return True

    def _first(self, ways: Iterable[Callable[[], bool]]) -> bool:
        """Goes the first of the ways that can be gone."""
        for way in ways:
            matcher, end = self._matcher.deep_copy(), self._end
            if way():
                return True
            self._matcher, self._end = matcher, end
        return False

    def _close(self, frame: _Frame, begun: bytes = b"") -> bool:
        """Ends an array or object; `begun` is a name that is not whole."""
        if len(frame.nodes) != 1:
            return self._first(
                functools.partial(
                    self._close,
                    dataclasses.replace(frame, nodes=[node], names=[*frame.names]),
                    begun,
                )
                for node in sorted(frame.nodes, key=self._lengths.closing)
            )
        [node] = frame.nodes
        while True:
            if frame.stage in ("first", "next") and not begun:
                if self._write(b"}" if frame.is_object else b"]"):
                    return True
                if frame.stage == "next" and not self._write(b","):
                    return False
                frame.stage = "part"
            if isinstance(node, Object) and frame.in_name:
                if not self._write_name(node, frame, begun):
                    return False
                begun = b""
            if frame.stage == "colon" and not self._write(b":"):
                return False
            value = frame.value(node)
            if value is None or not self._write_value([value]):
                return False
            frame.done()

    def _write_name(self, node: Object, frame: _Frame, begun: bytes) -> bool:
        """Adds a property's name, or the rest of one, and the colon."""
        begun += self._finish_character(begun)
        text = json.loads(begun + b'"') if begun else ""
        written = len(quoted_name(text)) if begun else -1
        for name in self._names(node, frame.names, text):
            if self._write((b'"' + quoted_name(name))[written + 1 :] + b'":'):
                frame.names.append(name)
                frame.stage = "value"
                return True
        return False

    def _names(self, node: Object, present: list[str], begun: str) -> Iterator[str]:
        """Names that the next property may have, the required ones first."""
        left = [n for n in node.required if n not in present and n.startswith(begun)]
        yield from left
        listed = [n for n in node.properties if n not in present and n.startswith(begun)]
        yield from sorted(listed, key=lambda name: self._lengths.property_need(node, name))
        for pattern in sorted(node.patterns, key=lambda p: self._lengths.need(node.patterns[p])):
            rest = string_automaton((pattern,)).rest(begun)
            if rest is not None:
                yield begun + rest
        for count in range(_NAME_LETTERS + 1) if node.others is not None else ():
            yield from (begun + "".join(more) for more in itertools.product(_LETTERS, repeat=count))

    def _write_value(self, nodes: list[Node]) -> bool:
        options = sorted(expand(nodes), key=self._lengths.need)
        return self._first(functools.partial(self._write_node, option) for option in options)

    def _write_node(self, node: Node) -> bool:
        if isinstance(node, Literal):
            return self._write_ended(node.text)
        if isinstance(node, Number):
            return self._write_number([node])
        if isinstance(node, Text):
            return self._write(b'"') and self._write_string([node], b'"')
        is_object = isinstance(node, Object)
        opened = self._write(b"{" if is_object else b"[")
        return opened and self._close(_Frame([node], is_object))

    def _finish_value(self, leaf: bytes) -> bool:
        """Completes the string or scalar that is begun."""
        values = self._values()
        if leaf.startswith(b'"'):
            written = self._write_string(values, leaf)
        else:
            texts = [value.text for value in values if isinstance(value, Literal)]
            fitting = sorted((text for text in texts if text.startswith(leaf)), key=len)
            numbers = [value for value in values if isinstance(value, Number)]
            written = any(self._write_ended(text[len(leaf) :]) for text in fitting) or (
                bool(numbers) and self._write_number(numbers)
            )
        if written and self._frames:
            self._frames[-1].done()
        return written

    def _write_ended(self, text: bytes) -> bool:
        """Adds the rest of a scalar if the scalar is whole with it."""
        if any(self._allowed(text + end) for end in (b",", b"}", b"]")):
            return self._write(text)
        if not self._allowed(text):
            return False
        matcher = self._matcher.deep_copy()
        matcher.consume_tokens(list(text))
        return matcher.is_accepting() and self._write(text)

    def _write_number(self, nodes: list[Number]) -> bool:
        """Adds digits, as few as are needed."""
        near_digits = _STEP_DIGITS if any(node.step for node in nodes) else 1
        for _ in range(_MOST_DIGITS):
            near = [b""]
            for count in range(near_digits + 1):
                if count:
                    longer = (text + bytes([digit]) for text in near for digit in b"0519234678")
                    near = [text for text in longer if self._allowed(text)]
                if any(map(self._write_ended, near)):
                    return True
            # Nothing so near: one further, upwards if there is a choice.
            if not any(self._write(bytes([byte])) for byte in b"98765432.10-"):
                return False
        return False

    def _write_string(self, values: list[Node], leaf: bytes) -> bool:
        leaf += self._finish_character(leaf)
        begun = json.loads(leaf + b'"')
        return any(self._write(end) for end in sorted(set(_string_ends(values, begun)), key=len))

    def _finish_character(self, leaf: bytes) -> bytes:
        """Adds the rest of an escape or of a UTF-8 sequence."""
        before = len(self._end)
        while _is_cut(leaf + self._end[before:]):
            # Any way leads to a whole character; the short escapes are tried first.
            ways = itertools.chain(b'"\\nrtbfud', range(256))
            if not any(self._write(bytes([byte])) for byte in ways):
                break
        return self._end[before:]


def _is_cut(leaf: bytes) -> bool:
    # Pairs of backslashes are whole.
    if _HALF_ESCAPE.search(leaf.replace(b"\\\\", b"")):
        return True
    try:
        leaf.decode()
    except UnicodeDecodeError:
        return True
    return False


def _string_ends(values: Iterable[Node], begun: str) -> Iterator[bytes]:
    for value in values:
        if isinstance(value, Literal) and isinstance(value.value, str):
            if value.value.startswith(begun):
                yield quoted(value.value[len(begun) :]) + b'"'
        elif isinstance(value, Text) and not value.patterns:
            yield b"x" * max(0, value.least - len(begun)) + b'"'
        elif isinstance(value, Text):
            rest = value.automaton().rest(begun)
            if rest is not None:
                yield quoted(rest) + b'"'
