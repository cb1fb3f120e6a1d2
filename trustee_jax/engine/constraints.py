"""Answers held to a JSON schema while they are decoded, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import llguidance.hf
import llguidance.numpy
import numpy as np
from llguidance import LLMatcher

from trustee_jax.engine.types import Request, RequestError

if TYPE_CHECKING:
    import transformers


# Tokens that close what an answer may have open besides the schema's required parts.
_NESTING = 16
# Tokens by which a chosen value may exceed its usual spelling: "f", "a", "l", "s", "e" for "false".
_SPELLING = 4
# Schemas that name an episode's records are used a few times each.
_KEPT_SCHEMAS = 512


def _minimal_instance(schema: Mapping[str, Any]) -> Any:
    """A short value of the schema with its longest fixed strings: what an answer needs at least."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return max(schema["enum"], key=lambda value: len(json.dumps(value)))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return max(
                (_minimal_instance(s) for s in schema[union]), key=lambda v: len(json.dumps(v))
            )
    kind = schema.get("type", "string")
    if kind == "object":
        properties = schema.get("properties", {})
        instance = {
            name: _minimal_instance(properties.get(name, {})) for name in schema.get("required", ())
        }
        free = max(0, schema.get("minProperties", 0) - len(instance))
        return instance | {f"x{i}": "" for i in range(free)}
    if kind == "array":
        return [_minimal_instance(schema.get("items", {}))] * schema.get("minItems", 0)
    if kind == "string":
        return "x" * schema.get("minLength", 0)
    return {"boolean": False, "null": None}.get(kind, 0)


def _begun_instance(schema: Mapping[str, Any]) -> str:
    """JSON that a part which may be left out still needs at most, once it has been begun."""
    texts = [""]
    for union in ("anyOf", "oneOf"):
        texts += [_begun_instance(inner) for inner in schema.get(union, ())]
    required = schema.get("required", ())
    optional = {name: s for name, s in schema.get("properties", {}).items() if name not in required}
    for inner in (*optional.values(), *schema.get("patternProperties", {}).values()):
        texts.append(_compact(_minimal_instance(inner)) + _begun_instance(inner))
    texts += [_begun_instance(schema.get("properties", {}).get(name, {})) for name in required]
    if items := schema.get("items"):
        texts.append(_compact(_minimal_instance(items)) + _begun_instance(items))
    return max(texts, key=len)


def _choices(schema: Mapping[str, Any]) -> int:
    """Values of a shortest instance that are chosen, not forced: booleans and one of several."""
    if "enum" in schema:
        return int(len(schema["enum"]) > 1)
    if union := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        return 1 + max(map(_choices, union))
    if schema.get("type") == "array":
        return int(schema.get("minItems", 0)) * _choices(schema.get("items", {}))
    properties = schema.get("properties", {})
    inner = sum(_choices(properties.get(name, {})) for name in schema.get("required", ()))
    return inner + (schema.get("type") == "boolean")


def _compact(instance: Any) -> str:
    return json.dumps(instance, separators=(",", ":"))


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
        self.quote = self._bitmask(lambda text: text == b'"')
        self.closers = self._bitmask(lambda text: bool(text) and set(text) <= set(b"}]"))
        self.starters = self._bitmask(lambda text: text in (b'"', b":", b",", b"0"))
        self._matchers: dict[str, LLMatcher] = {}

    def _bitmask(self, accept: Any) -> np.ndarray:
        flags = np.zeros(-(-self.vocab_size // 32) * 32, np.uint8)
        flags[: self.vocab_size] = [accept(text) for text in self.token_bytes]
        return np.packbits(flags, bitorder="little").view(np.int32)

    def compile(self, request: Request) -> Constraint:
        """The constraint of one request.

        Raises:
          RequestError: The schema is not supported, or `max_new_tokens` cannot hold its shortest
            instance.
        """
        assert request.schema is not None
        text = json.dumps(request.schema)
        matcher = self._matchers.pop(text, None)
        if matcher is None:
            grammar = LLMatcher.grammar_from_json_schema(
                text, defaults={"whitespace_flexible": False}
            )
            matcher = LLMatcher(self._tokenizer, grammar)
            if matcher.is_error():
                raise RequestError(
                    f"schema: {matcher.get_error()}; use features that llguidance supports"
                )
        self._matchers[text] = matcher  # the youngest is last
        if len(self._matchers) > _KEPT_SCHEMAS:
            del self._matchers[next(iter(self._matchers))]
        instance = _compact(_minimal_instance(request.schema))
        # No part is begun that could not be ended within the limit.
        parts = instance + _begun_instance(request.schema)
        shortest = len(self._tokenizer.tokenize_str(parts)) + _NESTING
        shortest += _SPELLING * _choices(request.schema)
        thinking = request.think_budget + 1 if request.think_end_id is not None else 0
        if request.max_new_tokens <= shortest + thinking:
            raise RequestError(
                f"max_new_tokens={request.max_new_tokens} may not hold the shortest answer of the "
                f"schema ({shortest} tokens) after {thinking} of thinking; raise it or shorten "
                "the schema"
            )
        return Constraint(self, matcher.deep_copy(), request, shortest)


class Constraint:
    """The state of one answer: which tokens may come next.

    The answer is always complete JSON: when the tokens left are just enough for the shortest
    ending, open strings, arrays and objects are closed (optional parts are dropped, required ones
    get empty values).
    """

    def __init__(
        self, compiler: ConstraintCompiler, matcher: LLMatcher, request: Request, reserve: int
    ):
        """Made by `ConstraintCompiler.compile`."""
        self._compiler = compiler
        self._matcher = matcher
        self._reserve = reserve
        self._left = request.max_new_tokens
        self._think_end = request.think_end_id
        self._think_left = request.think_budget
        self._in_string = self._escaped = False

    def fill(self, bits: np.ndarray) -> None:
        """Writes the mask of the next token.

        Args:
          bits: int32[ceil(V / 32)], overwritten.
        """
        if self._think_end is not None:
            if self._think_left > 0:
                bits[:] = -1
            else:
                self._only(bits, self._think_end)
            return
        llguidance.numpy.fill_next_token_bitmask(self._matcher, bits[None], 0)
        if self._left <= self._reserve and not self._escaped:
            if forced := self._matcher.compute_ff_tokens():
                # The name of a required part, in the tokens that the reserve counted.
                self._only(bits, forced[0])
                return
            compiler = self._compiler
            endings = (
                (compiler.quote,) if self._in_string else (compiler.closers, compiler.starters)
            )
            for ending in endings:
                if np.any(bits & ending):
                    bits &= ending
                    break

    @staticmethod
    def _only(bits: np.ndarray, token: int) -> None:
        bits[:] = 0
        bits.view(np.uint32)[token // 32] = 1 << token % 32

    def accept(self, token: int) -> bool:
        """Takes the token that was drawn; returns whether the answer is complete.

        Raises:
          RuntimeError: The token was not allowed, which is a bug of the engine.
        """
        self._left -= 1
        if self._think_end is not None:
            self._think_left -= 1
            if token == self._think_end:
                self._think_end = None
            return False
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"token {token} breaks the schema: {self._matcher.get_error()}")
        for byte in self._compiler.token_bytes[token]:
            if self._escaped:
                self._escaped = False
            elif byte == ord("\\"):
                self._escaped = True
            elif byte == ord('"'):
                self._in_string = not self._in_string
        return self._matcher.is_accepting()
