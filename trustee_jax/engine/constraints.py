"""Answers held to a JSON schema while they are decoded, by llguidance."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import llguidance.hf
import llguidance.numpy
import numpy as np
from llguidance import LLMatcher

from trustee_jax.engine.completion import Completion, byte_tokenizer
from trustee_jax.engine.schema_length import Lengths
from trustee_jax.engine.schema_nodes import Node, Object, Text
from trustee_jax.engine.schema_patterns import quoted, string_automaton
from trustee_jax.engine.schema_reading import schema_node
from trustee_jax.engine.types import Request, RequestError

if TYPE_CHECKING:
    import transformers


# Schemas that name an episode's records are used a few times each.
_KEPT_SCHEMAS = 512
# Such schemas have most of their names, values and patterns in common.
_KEPT_PARTS = 4096
# Tokens that are tried one by one when little room is left. Of more, those of a single byte are; of
# more such, none but the shortest end is allowed.
_MOST_TRIED = 12


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
    """A schema, for tokens and for bytes; `proven` if an answer to it has been found."""

    matcher: LLMatcher
    of_bytes: LLMatcher
    root: Node
    lengths: Lengths
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
        self.lengths = np.array([len(text) for text in self.token_bytes])
        self.quote = self._bitmask(lambda text: text == b'"')
        self.closers = self._bitmask(lambda text: bool(text) and set(text) <= set(b"}]"))
        self.starters = self._bitmask(lambda text: text in (b'"', b":", b",", b"0"))
        special = self._tokenizer.is_special_token
        self._texts = {text: i for i, text in enumerate(self.token_bytes) if not special(i)}
        self._longest = max(map(len, self._texts))
        self.most_opened = max(t.count(b"[") + t.count(b"{") for t in self._texts)
        self._most_tokens = functools.lru_cache(_KEPT_PARTS)(self._count_most_tokens)
        self._compiled: dict[str, _Compiled] = {}

    def _bitmask(self, accept: Any) -> np.ndarray:
        flags = np.zeros(-(-self.vocab_size // 32) * 32, np.uint8)
        flags[: self.vocab_size] = [accept(text) for text in self.token_bytes]
        return np.packbits(flags, bitorder="little").view(np.int32)

    def compile(self, request: Request) -> Constraint:
        """The constraint of one request.

        Raises:
          RequestError: The schema is not supported, no answer to it can be promised to end, or
            `max_new_tokens` may not hold its shortest one.
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
            raise RequestError(
                f"max_new_tokens={request.max_new_tokens} may not hold the shortest answer of the "
                f"schema ({shortest} tokens) after {thinking} of thinking; raise it or shorten "
                "the schema"
            )
        self._prove(compiled)
        return Constraint(self, compiled, request)

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
        return _Compiled(matcher, of_bytes, root, lengths)

    def _prove(self, compiled: _Compiled) -> None:
        if not compiled.proven:
            matcher = compiled.of_bytes.deep_copy()
            end = Completion(compiled.root, compiled.lengths, b"", matcher).complete()
            tokens = None if end is None else self.tokens(end)
            if not tokens or not compiled.matcher.deep_copy().consume_tokens(tokens):
                raise RequestError("schema: no shortest answer to it is known; simplify it")
            compiled.proven = True

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

    def tokens(self, text: bytes) -> list[int] | None:
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
    """The state of one answer: which tokens may come next.

    The answer is always complete JSON. While more tokens are left than any end could take, all
    that the schema allows may come. From then on an end that fits is kept at hand, and only tokens
    after which there is one are allowed: what is open is closed, optional parts are dropped,
    required ones get short values.
    """

    def __init__(self, compiler: ConstraintCompiler, compiled: _Compiled, request: Request):
        """Made by `ConstraintCompiler.compile`."""
        self._compiler = compiler
        self._compiled = compiled
        self._matcher = compiled.matcher.deep_copy()
        self._text = bytearray()
        self._left = request.max_new_tokens
        self._in_string = self._escaped = False
        self._depth = 0
        # When room is short: a token that may come -> the end of the answer from it on.
        self._ends: dict[int, list[int]] = {}
        self._end: list[int] | None = None

    def begin(self, left: int) -> None:
        """Says how many tokens the answer may take."""
        self._left = left

    def forced(self) -> tuple[list[int], bool]:
        """Tokens that must come next."""
        return [], False

    def fill(self, bits: np.ndarray) -> None:
        """Writes the mask of the next token.

        Args:
          bits: int32[ceil(V / 32)], overwritten.
        """
        llguidance.numpy.fill_next_token_bitmask(self._matcher, bits[None], 0)
        lengths = self._compiled.lengths
        # Any token may come if what it leads to could still be ended.
        depth = self._depth + self._compiler.most_opened if lengths.nesting else 0
        if self._left > lengths.reserve + lengths.nesting * depth:
            self._ends.clear()
            self._end = None
        else:
            self._fill_ending(bits)

    def _fill_ending(self, bits: np.ndarray) -> None:
        """Keeps those tokens of the mask after which an end is known that fits."""
        self._ends = {}
        end = self._end or self._find_end(b"")
        if end:
            self._ends[end[0]] = end
        if (forced := self._matcher.compute_ff_tokens()) and self._fits(forced[0]):
            # The name of a required part, in its usual tokens.
            self._only(bits, [forced[0]])
            return
        compiler = self._compiler
        endings = (compiler.quote,) if self._in_string else (compiler.closers, compiler.starters)
        for ending in () if self._escaped else endings:
            if np.any(bits & ending):
                bits &= ending
                break
        allowed = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
        if len(allowed) > _MOST_TRIED:
            allowed = allowed[compiler.lengths[allowed] == 1]
        tried = allowed if len(allowed) <= _MOST_TRIED else ()
        fitting = [int(token) for token in tried if self._fits(int(token))]
        if fitting := fitting or list(self._ends):
            self._only(bits, fitting)

    def _fits(self, token: int) -> bool:
        """Whether an end is known after this token that is within what is left."""
        if token not in self._ends:
            end = self._find_end(self._compiler.token_bytes[token])
            if end is None or len(end) >= self._left:
                return False
            self._ends[token] = [token, *end]
        return True

    def _find_end(self, more: bytes) -> list[int] | None:
        text = bytes(self._text) + more
        matcher = self._compiled.of_bytes.deep_copy()
        matcher.consume_tokens(list(text))
        root, lengths = self._compiled.root, self._compiled.lengths
        end = Completion(root, lengths, text, matcher).complete()
        return None if end is None else self._compiler.tokens(end)

    @staticmethod
    def _only(bits: np.ndarray, tokens: list[int]) -> None:
        bits[:] = 0
        for token in tokens:
            bits.view(np.uint32)[token // 32] |= np.uint32(1 << token % 32)

    def accept(self, token: int) -> bool:
        """Takes the token that was drawn; returns whether the answer is complete.

        Raises:
          RuntimeError: The token was not allowed, which is a bug of the engine.
        """
        self._left -= 1
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"token {token} breaks the schema: {self._matcher.get_error()}")
        self._end = self._ends[token][1:] if token in self._ends else None
        text = self._compiler.token_bytes[token]
        self._text += text
        for byte in text:
            if self._escaped:
                self._escaped = False
            elif byte == ord("\\"):
                self._escaped = True
            elif byte == ord('"'):
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += (byte in b"[{") - (byte in b"]}")
        return self._matcher.is_accepting()


def fill_masks(constraints, bits):
    for i,c in enumerate(constraints): c.fill(bits[i])
