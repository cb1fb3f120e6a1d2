"""What the paged cache holds, and how its cost grows, with a small random model.

    python benchmarks/cache.py [--requests=128] [--output=FILE.json]

First requests of mixed lengths (512 to 8,192 tokens of context) in a cache of a quarter of the room
that a slot of full length for each would take: how many were answered as in a cache without limit,
and how many of the tokens that the pages in use have room for are there. Then time and memory
against the number of requests and the length of their contexts, as ratios to the smallest: of all
of it, in which prompts have attention that grows with the square of their length whatever serves
them, and with so small a model is nearly all of the work; of decoding; and of the pages.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from flax import nnx
from rich.progress import track

from trustee_jax.bench import machine
from trustee_jax.engine import Completion, Engine, EngineConfig, Request
from trustee_jax.models import Transformer, make_mesh
from trustee_jax.weights import open_checkpoint

SHORTEST, LONGEST = 512, 8192
ANSWER = 64


def make_engine(slots: int, max_length: int, cache_tokens: int | None = None) -> Engine:
    """An engine over a random model of two layers."""
    checkpoint = open_checkpoint("random:qwen3")
    model = Transformer(checkpoint.config, rngs=nnx.Rngs(0))
    config = EngineConfig(slots=slots, max_length=max_length, cache_tokens=cache_tokens)
    return Engine(model, make_mesh(1, 1, 1), config, checkpoint.tokenizer())


def make_requests(lengths: np.ndarray, seed: int = 0) -> list[Request]:
    """One for each length, the answer included."""
    rng = np.random.default_rng(seed)
    return [
        Request(rng.integers(0, 256, length - ANSWER), ANSWER, (i,), "simulator")
        for i, length in enumerate(lengths)
    ]


def serve(engine: Engine, requests: list[Request]) -> Iterator[dict[int, Completion]]:
    """Yields what has been completed after each step."""
    for request in requests:
        engine.submit(request)
    while not engine.idle:
        yield dict(engine.step())


def measure_capacity(count: int) -> dict[str, Any]:
    """Mixed lengths, log-uniform, in a quarter of the room."""
    rng = np.random.default_rng(1)
    lengths = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), count)).astype(int)
    requests = make_requests(lengths)
    room = count * LONGEST // 4
    expected = make_engine(count, LONGEST).run(requests)
    engine, done, used, allocated = make_engine(count, LONGEST, room), {}, 0, 0
    for completions in track(serve(engine, requests), "capacity", transient=True):
        done |= completions
        tokens, held = engine.cache_use
        used, allocated = used + tokens, allocated + held
    equal = sum(
        done[ticket].tokens.tolist() == completion.tokens.tolist()
        for ticket, completion in zip(sorted(done), expected, strict=True)
    )
    return {
        "requests": count,
        "context_tokens": int(lengths.sum()),
        "cache_tokens": room,
        "answered_as_without_limit": equal,
        "restarts": engine.stats.restarts,
        "tokens_in_use_of_allocated": used / allocated,
    }


def measure_growth(runs: int) -> list[dict[str, Any]]:
    """Seconds and pages for more requests, and for longer ones."""
    cases = [(8, 512), (32, 512), (128, 512), (8, 1024), (8, 2048), (8, 4096), (8, 8192)]
    rows: list[dict[str, Any]] = []
    for count, length in track(cases, "growth", transient=True):
        engine = make_engine(count, length)
        found = [measure_once(engine, count, length, run) for run in range(runs + 1)][1:]
        row = {name: statistics.median(one[name] for one in found) for name in found[0]}
        rows.append({"requests": count, "context": length, **row})
    first = dict(rows[0])
    for row in rows:
        tokens = row["requests"] * row["context"]
        row["tokens_ratio"] = tokens / (first["requests"] * first["context"])
        for name in ("seconds", "decode_seconds", "allocated_tokens"):
            row[f"{name}_ratio"] = row[name] / first[name]
    return rows


def measure_once(engine: Engine, count: int, length: int, seed: int) -> dict[str, float]:
    """Requests of one length: seconds, those of them without a prompt, and tokens of all pages."""
    engine.reset()
    start = last = time.perf_counter()
    prefilled, allocated, prompts = 0, 0, 0.0
    for _ in serve(engine, make_requests(np.full(count, length), seed)):
        now = time.perf_counter()
        if engine.stats.prefilled_tokens > prefilled:
            prompts += now - last
        prefilled, last = engine.stats.prefilled_tokens, now
        allocated = max(allocated, engine.cache_use[1])
    return {
        "seconds": last - start,
        "decode_seconds": last - start - prompts,
        "allocated_tokens": allocated,
    }


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    report = {
        **machine.describe(),
        "capacity": measure_capacity(arguments.requests),
        "growth": measure_growth(arguments.runs),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
