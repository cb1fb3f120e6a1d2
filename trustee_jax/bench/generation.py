"""Decoding and prefill of the engine, through nothing but what it offers to everyone."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence

import numpy as np

from trustee_jax import streams
from trustee_jax.bench.subject import Subject
from trustee_jax.bench.timing import Case, Figures, NotMeasurableError
from trustee_jax.engine import Engine, Request, Sampling
from trustee_jax.errors import ConfigError
from trustee_jax.streams import Purpose

_ROWS = (1, 8, 32, 128, 512)
_DISPATCHES = 6  # of which at least the first and the last are not timed


def decode_cases(subject: Subject) -> Iterator[Case]:
    """Rows x context lengths x temperatures 1 and 0."""
    config = subject.engine.config
    steps = _DISPATCHES * config.decode_steps
    for rows in _row_counts(config.slots):
        for context in _lengths(config.max_length, steps):
            for temperature in (1.0, 0.0):
                parameters = {"rows": rows, "context": context, "temperature": temperature}
                requests = _requests(subject, rows, context, steps, Sampling(temperature))
                run = functools.partial(_decode, subject, requests)
                yield Case("decode", parameters, run)


def prefill_cases(subject: Subject) -> Iterator[Case]:
    """Rows x prompt lengths."""
    config = subject.engine.config
    for rows in dict.fromkeys((1, config.slots)):
        for length in _lengths(config.max_length, 1):
            requests = _requests(subject, rows, length, 1, Sampling(0.0))
            run = functools.partial(_prefill, subject, requests)
            yield Case("prefill", {"rows": rows, "prompt": length}, run)


def _row_counts(slots: int) -> list[int]:
    return [rows for rows in _ROWS if rows < slots] + [slots]


def _lengths(max_length: int, new_tokens: int) -> list[int]:
    """A short one and a long one, with room for so many new tokens."""
    longest = max_length - new_tokens
    if longest < 2:
        fix = f"with a prompt, {new_tokens} new tokens are measured; give at least {new_tokens + 2}"
        raise ConfigError("engine.max_length", max_length, fix)
    return sorted({min(128, max(1, longest // 8)), max(1, longest // 2)})


def _requests(
    subject: Subject, rows: int, length: int, new_tokens: int, sampling: Sampling
) -> list[Request]:
    """Random prompts that share no prefix, and answers that do not stop early."""

    def tokens(row: int) -> np.ndarray:
        rng = streams.generator(Purpose.BENCHMARK, subject.seed, length, row)
        return rng.integers(0, subject.costs.model.vocab_size, length, np.int32)

    return [
        Request(tokens(row), new_tokens, (Purpose.BENCHMARK, row), "policy", sampling)
        for row in range(rows)
    ]


def _submit(engine: Engine, requests: Sequence[Request]) -> None:
    for request in requests:
        engine.submit(request)


def _decode(subject: Subject, requests: Sequence[Request]) -> Figures:
    """Times steps while all rows decode; their prompts are in the cache from the run before.

    The clock runs from the first tokens that are back after the last prompt to the last ones before
    rows end: a round in which they do is not like the others.
    """
    engine, rows = subject.engine, len(requests)
    before = engine.stats.sampled_tokens
    marks = []
    _submit(engine, requests)
    while not engine.idle:
        engine.step()
        stats = engine.stats
        marks.append((time.perf_counter(), stats.prefilled_tokens, stats.sampled_tokens - before))
    _, prefilled, total = marks[-1]
    timed = [mark for mark in marks if mark[1] == prefilled and rows <= mark[2] < total]
    if len(timed) < 2 or timed[0][2] > total / 2:
        raise NotMeasurableError("the cache does not hold so many tokens at a time")
    (start, _, first), (end, _, last) = timed[0], timed[-1]
    tokens, seconds = last - first, end - start
    # Tokens drawn are evenly spread over the rows.
    context = len(requests[0].tokens) + (first + last) / 2 / rows
    costs, step = subject.costs, seconds * rows / tokens
    flops, read = costs.decode_flops(rows, context), costs.decode_bytes(rows, context)
    limit = subject.roofline.seconds(flops, read)
    return {
        "tokens_per_second": tokens / seconds,
        "ms_per_step": 1e3 * step,
        "limit_ms_per_step": 1e3 * limit,
        "of_limit": limit / step,
        "bytes_per_step": read,
        "flops_per_step": flops,
    }


def _prefill(subject: Subject, requests: Sequence[Request]) -> Figures:
    """Times prompts up to the first token of the last of them, from an empty cache."""
    engine, costs = subject.engine, subject.costs
    engine.reset()
    start = time.perf_counter()
    engine.run(requests)
    seconds = time.perf_counter() - start
    rows, length = len(requests), len(requests[0].tokens)
    flops = costs.forward_flops(rows * length, rows * length * (length + 1) / 2, rows)
    return {
        "seconds": seconds,
        "tokens_per_second": rows * length / seconds,
        "utilisation": subject.roofline.utilisation(flops, seconds),
        "flops": flops,
    }
