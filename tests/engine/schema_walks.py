"""Walks through the masks of constrained answers, with tastes that make an end hard."""

import json
from collections.abc import Iterator

import numpy as np

from trustee_jax.engine import Request, RequestError
from trustee_jax.engine.constraints import ConstraintCompiler, fill_masks

_BRACKETS, _ENDS, _DIGITS = b"[{", b'}]"', b"0123456789"


def request(schema, tokens=160):
    return Request(np.arange(7), tokens, (0,), "simulator", schema=schema)


def smallest(compiler: ConstraintCompiler, schema) -> int:
    """The smallest limit of tokens that is not refused."""
    low, high = 0, 4096
    compiler.compile(request(schema, high))
    while high - low > 1:
        middle = (low + high) // 2
        try:
            compiler.compile(request(schema, middle))
        except RequestError:
            low = middle
        else:
            high = middle
    return high


def tastes(compiler: ConstraintCompiler) -> dict[str, np.ndarray]:
    """Logits of samplers, by name: each likes what keeps an answer from ending."""

    def count(characters: bytes) -> np.ndarray:
        return np.array([sum(b in characters for b in t) for t in compiler.token_bytes], float)

    length = np.array([len(text) for text in compiler.token_bytes], float)
    letters = np.array([text.isalpha() for text in compiler.token_bytes], float)
    high = np.array([sum(b > 127 for b in text) for text in compiler.token_bytes], float)
    brackets, ends = count(_BRACKETS), count(_ENDS)
    return {
        "indifferent": 0 * length,
        "brackets": 50 * brackets - 3 * ends,
        "no ends": -60 * ends,
        "digits": 20 * count(_DIGITS) - 20 * ends,
        "long tokens": 8 * length - 50 * ends,
        "letters": 20 * letters - 30 * ends,
        "optional parts": 30 * count(b",") + 20 * brackets - 10 * ends,
        "escapes and cut characters": 40 * count(b"\\") + 40 * high - 30 * ends,
        "signs": 30 * count(b"-.eE+:@/%") - 30 * ends,
    }


def walk(compiler, schema, limit, taste, rng, forced=False) -> bytes | None:
    """One answer, with forced runs or drawn token by token; None if the limit cut it off."""
    constraint = compiler.compile(request(schema, limit))
    constraint.begin(limit)
    bits = np.zeros(-(-compiler.vocab_size // 32), np.int32)
    text, count = b"", 0
    while count < limit:
        run = constraint.forced()[0] if forced else []
        if run:
            check_run(compiler, constraint._matcher.deep_copy(), run)
            run = run[: rng.integers(1, len(run) + 1)]
        else:
            fill_masks([constraint], bits[None])
            allowed = set_bits(bits)
            liked = taste[allowed] + rng.gumbel(size=len(allowed), scale=3)
            run = [int(allowed[np.argmax(liked)])]
        text += b"".join(compiler.token_bytes[token] for token in run)
        count += len(run)
        if constraint.accept(run):
            return text if count <= limit else None
    return None


def set_bits(bits: np.ndarray) -> np.ndarray:
    """The tokens of a mask."""
    return np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))


def check_run(compiler, matcher, run) -> None:
    """Each token of a forced run is allowed, and nothing but the run's text may come.

    What is left of a run when some of it has been accepted is forced in the same tokens.
    """
    rest = b"".join(compiler.token_bytes[token] for token in run)
    for i, token in enumerate(run):
        assert compiler.run(matcher.deep_copy())[0][: len(run) - i] == run[i:]
        assert not matcher.is_accepting()
        allowed = set_bits(np.frombuffer(matcher.compute_bitmask(), np.int32)).tolist()
        assert token in allowed
        for other in (compiler.token_bytes[other] for other in allowed):
            assert other[: len(rest)] == rest[: len(other)], (other, rest)
        assert matcher.consume_token(token)
        rest = rest[len(compiler.token_bytes[token]) :]


def check(compiler, schema, validator, rng, answers=4) -> Iterator[str]:
    """What goes wrong in walks of all tastes in the least room and in a little more."""
    limit = smallest(compiler, schema)
    for name, taste in tastes(compiler).items():
        for answer in range(answers):
            room = 0 if answer % 2 == 0 else int(rng.integers(1, 60))
            text = walk(compiler, schema, limit + room, taste, rng, rng.random() < 0.5)
            if text is None:
                yield f"{name}, {limit} + {room} tokens: cut off"
            elif not validator.is_valid(json.loads(text)):
                yield f"{name}, {limit} + {room} tokens: invalid {text!r}"
