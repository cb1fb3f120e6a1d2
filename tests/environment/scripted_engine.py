"""An engine whose answers a function makes up, with the checks of the real one."""

import functools
import json
from collections.abc import Callable

import llguidance
import llguidance.numpy
import numpy as np

from trustee_jax.chat import ChatFormat
from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.streams import Purpose

Answer = str | tuple[str, str] | Exception
VERDICT = {"reasoning", "met"}


def role_of(request: Request) -> str:
    """Which role a request belongs to, told from its schema alone."""
    if request.schema is None:
        return "policy"
    properties = request.schema.get("properties", {})
    for role, names in (("task", {"query"}), ("user", {"message"}), ("verifier", VERDICT)):
        if names & set(properties):
            return role
    values = [*request.schema.get("patternProperties", {}).values()]
    return "world" if any(value.get("type") == "array" for value in values) else "tool"


def reported_logits(format: ChatFormat, request: Request, ids: np.ndarray) -> np.ndarray:
    """Logits that prefer the true or false that the answer ends with, by 2: 0.88 against 0.12."""
    logits = np.zeros((len(ids), len(request.report_logits_of)), np.float32)
    said = format.decode(ids).rstrip("}").endswith("true")
    for i, token in enumerate(request.report_logits_of):
        logits[:, i] = 2.0 * ("true".startswith(format.decode([token])) == said)
    return logits


class ScriptedEngine:
    """Answers with `script(role, request, prompt)`: a text, (text, finish), or an error to raise.

    Completes the youngest `width` requests first, so that nothing can lean on their order.
    """

    def __init__(
        self,
        format: ChatFormat,
        script: Callable[[str, Request, str], Answer],
        max_length: int = 30_000,
        width: int = 3,
    ):
        self.format, self.script = format, script
        self.max_length, self.width = max_length, width
        self.requests: list[Request] = []
        self.keys: set[tuple[int, ...]] = set()
        self.pending: list[tuple[int, Completion]] = []
        self.steps = 0
        self.cancelled = False

    @property
    def idle(self) -> bool:
        return not self.pending

    def cancel(self) -> None:
        self.pending.clear()
        self.cancelled = True

    def text(self, request: Request) -> str:
        """The prompt, control tokens included."""
        return self.format.tokenizer.decode(request.tokens)

    def submit(self, request: Request) -> int:
        assert request.tokens.dtype == np.int32
        assert request.max_new_tokens >= 1
        assert request.key not in self.keys, "two requests share a key"
        Purpose(request.key[0])  # or it could share it with anything
        self.keys.add(request.key)
        if len(request.tokens) + request.max_new_tokens > self.max_length:
            raise RequestError("too long")
        if request.schema is not None:
            assert_compiles(json.dumps(request.schema))
        answer = self.script(role_of(request), request, self.text(request))
        if isinstance(answer, Exception):
            raise answer
        self.requests.append(request)
        text, finish = answer if isinstance(answer, tuple) else (answer, "stop")
        ids = self.format.encode(text)
        if finish == "stop" and request.schema is None:
            ids = np.append(ids, np.int32(request.stop_ids[0]))
        logprobs = np.full(len(ids), -0.5, np.float32)
        logits = reported_logits(self.format, request, ids)
        completion = Completion(ids, logprobs, finish, logits)
        self.pending.append((len(self.requests), completion))
        return len(self.requests)

    def step(self) -> list[tuple[int, Completion]]:
        self.steps += 1
        done, self.pending = self.pending[-self.width :], self.pending[: -self.width]
        return done[::-1]


@functools.cache
def assert_compiles(schema: str) -> None:
    """Fails unless llguidance supports every keyword of the schema."""
    assert grammar(schema) is not None


def grammar(schema: str) -> str:
    compiled = llguidance.LLMatcher.grammar_from_json_schema(
        schema, defaults={"whitespace_flexible": False}
    )
    is_error, messages = llguidance.LLMatcher.validate_grammar_with_warnings(compiled)
    assert not is_error, messages
    assert not messages, messages
    return compiled


def walk(tokenizer, schema, rng, most: int) -> bytes:
    """Draws allowed tokens blindly until the answer is complete: the worst writer there is."""
    matcher = llguidance.LLMatcher(tokenizer, grammar(json.dumps(schema)))
    bits = llguidance.numpy.allocate_token_bitmask(1, tokenizer.vocab_size)
    tokens = []
    while not matcher.is_accepting():
        llguidance.numpy.fill_next_token_bitmask(matcher, bits, 0)
        flags = np.unpackbits(bits[0].view(np.uint8), bitorder="little")[: tokenizer.vocab_size]
        token = int(rng.choice(np.flatnonzero(flags)))
        assert matcher.consume_token(token)
        tokens.append(token)
        assert len(tokens) <= most
    return tokenizer.decode_bytes(tokens)
