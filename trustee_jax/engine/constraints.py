"""Answers held to a JSON schema while they are decoded, by llguidance."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import llguidance.hf
import llguidance.numpy
import numpy as np
from llguidance import LLExecutor, LLMatcher

from trustee_jax.engine.completion import Completion, byte_tokenizer
from trustee_jax.engine.schema_length import Lengths
from trustee_jax.engine.schema_nodes import Node, Object, Text
from trustee_jax.engine.schema_patterns import quoted, string_automaton
from trustee_jax.engine.schema_reading import schema_node
from trustee_jax.engine.types import NoRoomError, Request, RequestError

if TYPE_CHECKING:
    import transformers


# Schemas that name an episode's records are used a few times each.
_KEPT_SCHEMAS = 512
# Such schemas have most of their names, values and patterns in common.
_KEPT_PARTS = 4096
# Tokens that are tried one by one when little room is left. Of more, those of a single byte are; of
# more such, none but the shortest end is allowed.
_MOST_TRIED = 12


@functools.cache
def _executor() -> LLExecutor:
    return LLExecutor()


def _grammar(schema: str) -> str:
    return LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})


def _check_patterns(nodes: Iterable[Node]) -> None:
    for node in nodes:
        if isinstance(node, Text) and node.patterns:
            _check_text(node.patterns, node.least, node.most)
        elif isinstance(node, Object):
            for pattern in node.patterns:
                _check_text((pattern,))


@functools.lru_cache(_KEPT_PARTS)
def _check_text(patterns: tuple[str, ...], least: int = 0, most: float = math.inf) -> None:
    """Refuses patterns whose shortest match here is none to llguidance."""
    limits = {"minLength": least} | ({} if most == math.inf else {"maxLength": most})
    parts = [{"pattern": pattern} for pattern in patterns]
    schema = {"type": "string", "allOf": parts, **limits}
    shortest = string_automaton(patterns, least, most).rest("")
    matcher = LLMatcher(byte_tokenizer(), _grammar(json.dumps(schema)))
    matcher.consume_tokens(list(b'"' + quoted(shortest or "") + b'"'))
    if not matcher.is_accepting():
        named = " and ".join(map(repr, patterns))
        raise RequestError(f"schema: pattern {named} is read in two ways; simplify it")


@dataclasses.dataclass(eq=False)
class _Compiled:
    """A schema, for tokens and for bytes, and the run that every answer begins with.

    `proven` if an answer to it has been found.
    """

    matcher: LLMatcher
    of_bytes: LLMatcher
    root: Node
    lengths: Lengths
    opening: tuple[list[int], bool]
    proven: bool = False


class ConstraintCompiler:
    """Compiles schemas for one tokenizer; the compiled schemas used last are kept."""

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerFast, vocab_size: int):
        """Reads the vocabulary (about a second for 150,000 tokens).

        Args:
          tokenizer: Of the model.
          vocab_size: Width of the model's logits, at least the tokenizer's.
        """
        self.vocab_size = vocab_size
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocab_size)
        self.token_bytes = [self._tokenizer.decode_bytes([i]) for i in range(vocab_size)]
        texts = list(enumerate(self.token_bytes))
        self.quote = self._bitmask([i for i, text in texts if text == b'"'])
        self.closers = self._bitmask([i for i, text in texts if text and not text.strip(b"}]")])
        self.starters = self._bitmask([i for i, text in texts if text in (b'"', b":", b",", b"0")])
        self.single = self._bitmask([i for i, text in texts if len(text) == 1])
        special = self._tokenizer.is_special_token
        self._texts = {text: i for i, text in enumerate(self.token_bytes) if not special(i)}
        self._longest = max(map(len, self._texts))
        self.opened = [text.count(b"[") + text.count(b"{") for text in self.token_bytes]
        self.most_opened = max(self.opened)
        self._most_tokens = functools.lru_cache(_KEPT_PARTS)(self._count_most_tokens)
        self.tokens = functools.lru_cache(_KEPT_PARTS)(self._fewest_tokens)
        self._compiled: dict[str, _Compiled] = {}

    def _bitmask(self, tokens: list[int]) -> np.ndarray:
        flags = np.zeros(-(-self.vocab_size // 32) * 32, np.uint8)
        flags[tokens] = 1
        return np.packbits(flags, bitorder="little").view(np.int32)

    def compile(self, request: Request) -> Constraint:
        """The constraint of one request's answer, to be told its budget by `Constraint.begin`.

        Raises:
          RequestError: The schema is not supported, no answer to it can be promised to end, or
            `max_new_tokens` may not hold its shortest one after the thoughts.
        """
        assert request.schema is not None
        try:
            text = json.dumps(request.schema)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(f"schema: {error}; it must be JSON") from None
        compiled = self._compiled.pop(text, None) or self._compile(text)
        self._compiled[text] = compiled  # the youngest is last
        if len(self._compiled) > _KEPT_SCHEMAS:
            del self._compiled[next(iter(self._compiled))]
        shortest = compiled.lengths.reserve + compiled.lengths.nesting
        thinking = request.think_budget + 1 if request.think_end_id is not None else 0
        if request.max_new_tokens < shortest + thinking:
            raise NoRoomError(
                f"max_new_tokens={request.max_new_tokens} may not hold the shortest answer of the "
                f"schema ({shortest} tokens) after {thinking} of thinking; raise it or shorten "
                "the schema"
            )
        self._prove(compiled)
        return Constraint(self, compiled)

    def _compile(self, text: str) -> _Compiled:
        schema = json.loads(text)
        if not isinstance(schema, dict):
            raise RequestError(f"schema: {text[:40]} is none; write an object")
        if "x-guidance" in schema:
            raise RequestError("schema: x-guidance changes how answers are written; leave it out")
        try:
            matcher, of_bytes = (
                LLMatcher(tokenizer, _grammar(text))
                for tokenizer in (self._tokenizer, byte_tokenizer())
            )
        except ValueError as error:
            fix = "it must be JSON, nested less than a hundred deep"
            raise RequestError(f"schema: {error}; {fix}") from None
        if matcher.is_error():
            reason = " ".join(matcher.get_error().split())
            raise RequestError(f"schema: {reason}; use features that llguidance supports")
        try:
            root = schema_node(schema)
            lengths = Lengths(root, self._most_tokens)
            _check_patterns(lengths.nodes)
        except RequestError:
            raise
        except RecursionError:
            raise RequestError("schema: nested too deeply; make it flatter") from None
        except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            # llguidance passes over what it has no use for, whatever it is.
            raise RequestError(f"schema: {error}; write it as JSON Schema defines it") from None
        return _Compiled(matcher, of_bytes, root, lengths, self.run(matcher.deep_copy()))

    def _prove(self, compiled: _Compiled) -> None:
        if not compiled.proven:
            matcher = compiled.of_bytes.deep_copy()
            end = Completion(compiled.root, compiled.lengths, b"", matcher).complete()
            tokens = None if end is None else self.tokens(end)
            if not tokens or not compiled.matcher.deep_copy().consume_tokens(tokens):
                raise RequestError("schema: no shortest answer to it is known; simplify it")
            compiled.proven = True

    def run(self, matcher: LLMatcher) -> tuple[list[int], bool]:
        """The tokens that come next whatever the model says; and whether they complete the answer.

        Args:
          matcher: Of tokens; consumed further, so a copy of what is kept.
        """
        run: list[int] = []
        while not matcher.is_accepting():
            more = matcher.compute_ff_tokens() or self._whole(matcher)
            if not more:
                return run, False
            matcher.consume_tokens(more)
            run += more
        return run, True

    def _whole(self, matcher: LLMatcher) -> list[int]:
        """The token of all the text that must come, if none goes beyond it.

        llguidance leaves the last token before a choice open, whether or not one does.
        """
        text = matcher.compute_ff_bytes()
        if not text:
            return []
        allowed = _tokens(np.frombuffer(matcher.compute_bitmask(), np.int32))
        longest = max(allowed, key=lambda token: len(self.token_bytes[token]))
        return [longest] if self.token_bytes[longest] == text else []

    def _count_most_tokens(self, text: bytes) -> int:
        """Tokens of whichever end of a text takes most, and of its usual spelling."""
        counts = [count for count, _ in self._best(text)[:-1]]
        return max(*counts, len(self._tokenizer.tokenize_bytes(text)))

    def _best(self, text: bytes) -> list[tuple[int, int]]:
        """For each byte: (fewest tokens from it on, length of the first of them)."""
        best = [(0, 0)] * (len(text) + 1)
        for start in reversed(range(len(text))):
            longest = min(self._longest, len(text) - start)
            # Of equals the longest.
            ways = (
                (1 + best[start + length][0], length)
                for length in range(longest, 0, -1)
                if text[start : start + length] in self._texts
            )
            best[start] = min(ways, key=lambda way: way[0], default=(1 + len(text) ** 2, 0))
        return best

    def _fewest_tokens(self, text: bytes) -> list[int] | None:
        """The text in the fewest tokens; None if the vocabulary lacks a byte of it."""
        best, tokens, start = self._best(text), [], 0
        while start < len(text):
            length = best[start][1]
            if not length:
                return None
            tokens.append(self._texts[text[start : start + length]])
            start += length
        return tokens


class Constraint:
    """The state of one answer: which tokens must or may come next.

    The answer is always complete JSON. While more tokens are left than any end could take, all
    that the schema allows may come. From then on an end that fits is kept at hand, and only tokens
    after which there is one are allowed: what is open is closed, optional parts are dropped,
    required ones get short values. Thoughts before the answer are not its business.
    """

    def __init__(self, compiler: ConstraintCompiler, compiled: _Compiled):
        """Made by `ConstraintCompiler.compile`."""
        self._compiler = compiler
        self._compiled = compiled
        self._matcher = compiled.matcher.deep_copy()
        self._text = bytearray()
        self._left = 0
        # What the first `_read` bytes of the text leave open.
        self._read = self._depth = 0
        self._in_string = self._escaped = False
        # When room is short: a matcher of bytes that has consumed so many, and the ends that are
        # known: of the answer, and from each token that may come next.
        self._of_bytes: LLMatcher | None = None
        self._consumed = 0
        self._end: list[int] | None = None
        self._ends: dict[int, list[int]] = {}

    def begin(self, left: int) -> None:
        """Sets how many tokens the answer may take; to be called once, before all else.

        Args:
          left: At least what `ConstraintCompiler.compile` asks for without thoughts.
        """
        self._left = left

    def forced(self) -> tuple[list[int], bool]:
        """The tokens that come next whatever the model says, in their usual spelling.

        They follow from what has been accepted and are allowed one after the other. No more are
        given than leave room for an end, unless they are one.

        Returns:
          The run, for `accept`, empty where there is a choice or little room; and whether it
          completes the answer.
        """
        if self._text:
            tokens, complete = self._compiler.run(self._matcher.deep_copy())
        else:
            tokens, complete = self._compiled.opening
        opened = sum(self._compiler.opened[token] for token in tokens)
        ends = complete and len(tokens) <= self._left
        room = self._left - (0 if ends else self._reserve(opened))
        return tokens[: max(0, room)], ends

    def accept(self, tokens: list[int]) -> bool:
        """Takes tokens that were drawn or forced; returns whether the answer is complete.

        Args:
          tokens: One that was drawn, or the first ones of a forced run.

        Raises:
          RuntimeError: A token was not allowed, which is a bug of the engine.
        """
        if not self._matcher.consume_tokens(tokens):
            raise RuntimeError(f"tokens {tokens} break the schema: {self._matcher.get_error()}")
        self._left -= len(tokens)
        end = self._ends.get(tokens[0], [])
        self._end = end[len(tokens) :] if end[: len(tokens)] == tokens else None
        self._ends = {}
        for token in tokens:
            self._text += self._compiler.token_bytes[token]
        return self._matcher.is_accepting()

    def _narrow(self, bits: np.ndarray) -> None:
        """Keeps, of a mask that the schema allows, what leaves room for an end."""
        # Any token may come if what it leads to could still be ended.
        if self._left <= self._reserve(self._compiler.most_opened):
            self._fill_ending(bits)

    def _reserve(self, opened: int) -> int:
        """Tokens that end the answer after any text that opens so many arrays and objects."""
        lengths = self._compiled.lengths
        if not lengths.nesting:
            return lengths.reserve
        self._scan()
        return lengths.reserve + lengths.nesting * (self._depth + opened)

    def _scan(self) -> None:
        """Reads what has been accepted since the last call."""
        for byte in self._text[self._read :]:
            if self._escaped:
                self._escaped = False
            elif byte == ord("\\"):
                self._escaped = True
            elif byte == ord('"'):
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += (byte in b"[{") - (byte in b"]}")
        self._read = len(self._text)

    def _fill_ending(self, bits: np.ndarray) -> None:
        """Keeps those tokens of the mask after which an end is known that fits."""
        self._scan()
        end = self._end or self._find_end(b"")
        if end:
            self._ends[end[0]] = end
        if (forced := self._matcher.compute_ff_tokens()) and self._fits(forced[0]):
            # The name of a required part, in its usual tokens.
            _only(bits, [forced[0]])
            return
        compiler = self._compiler
        endings = (compiler.quote,) if self._in_string else (compiler.closers, compiler.starters)
        for ending in () if self._escaped else endings:
            if np.any(bits & ending):
                bits &= ending
                break
        tried = bits if _count(bits) <= _MOST_TRIED else bits & compiler.single
        few = _count(tried) <= _MOST_TRIED
        fitting = [token for token in _tokens(tried) if self._fits(token)] if few else []
        if fitting := fitting or list(self._ends):
            _only(bits, fitting)

    def _fits(self, token: int) -> bool:
        """Whether an end is known after this token that is within what is left."""
        if token not in self._ends:
            end = self._find_end(self._compiler.token_bytes[token])
            if end is None or len(end) >= self._left:
                return False
            self._ends[token] = [token, *end]
        return True

    def _find_end(self, more: bytes) -> list[int] | None:
        if self._of_bytes is None:
            self._of_bytes = self._compiled.of_bytes.deep_copy()
        self._of_bytes.consume_tokens(list(self._text[self._consumed :]))
        self._consumed = len(self._text)
        matcher = self._of_bytes.deep_copy()
        matcher.consume_tokens(list(more))
        root, lengths = self._compiled.root, self._compiled.lengths
        end = Completion(root, lengths, bytes(self._text) + more, matcher).complete()
        return None if end is None else self._compiler.tokens(end)


def _count(bits: np.ndarray) -> int:
    return int(np.bitwise_count(bits.view(np.uint32)).sum())


def _tokens(bits: np.ndarray) -> list[int]:
    """The tokens of a mask that has few."""
    words = np.flatnonzero(bits)
    flags = np.unpackbits(bits[words].view(np.uint8), bitorder="little").reshape(-1, 32)
    rows, places = np.nonzero(flags)
    return (words[rows] * 32 + places).tolist()


def _only(bits: np.ndarray, tokens: list[int]) -> None:
    bits[:] = 0
    for token in tokens:
        bits.view(np.uint32)[token // 32] |= np.uint32(1 << token % 32)


def fill_masks(constraints: Sequence[Constraint], bits: np.ndarray) -> None:
    """Writes the masks of the next tokens of several answers, on several threads.

    Where room is short what the schema allows is narrowed down one by one.

    Args:
      constraints: Any number, 0 included.
      bits: int32[len(constraints), ceil(V / 32)], contiguous, overwritten.
    """
    if not constraints:
        return
    matchers = [(constraint._matcher, row) for row, constraint in enumerate(constraints)]
    llguidance.numpy.fill_next_token_bitmask_par(_executor(), matchers, bits)
    for constraint, row in zip(constraints, bits, strict=True):
        constraint._narrow(row)
