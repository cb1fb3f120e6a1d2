"""Simulator answers with SmolLM2: how many parse, and what holding them to a schema costs.

    python benchmarks/constrained_decoding.py [--answers=32] [--runs=5] [--output=FILE.json]

Tool results and verdicts are asked for with the real prompts, once held to their schema and once
free, with the same limits; their prompts are in the cache from the run before. Speed is tokens of
answers per second, whether they were sampled or could not be others; the figure to look at is the
ratio of the two, of runs in turn in the same process.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
from side_by_side import SOURCE, ratios, spread

from trustee_jax.bench import machine
from trustee_jax.build import abstract_frozen, load
from trustee_jax.chat import ChatFormat
from trustee_jax.config import ModelOptions
from trustee_jax.engine import Engine, EngineConfig, Request, Sampling
from trustee_jax.models import make_mesh
from trustee_jax.simulator import CRITERIA, Simulator, SimulatorConfig, schemas
from trustee_jax.simulator.simulator import tool_fields
from trustee_jax.toolsets import load_repository
from trustee_jax.weights import open_checkpoint

LIMIT = 96


def make_prompts(simulator: Simulator, count: int) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Half tool results, half verdicts, of different tools."""
    tools = load_repository("starter").tools
    requests = []
    for i in range(count):
        tool = tools[i * 7 % len(tools)]
        fields = {"tools": tool_fields([tool]), "intent": f"use {tool.name} once"}
        history = ['user: "Please help."', f"assistant calls: {tool.name}({{}})"]
        if i % 2:
            schema = schemas.verdict_schema(3, 120)
            fields |= {
                "persona": "a busy person",
                "query": "Please help.",
                "expected_calls": [tool.name],
                "ended": "user",
                "world": None,
                "mode": "joint",
                "criteria": CRITERIA[:3],
            }
            prompt = simulator.prompts.messages("verifier", fields | {"history": history})
        else:
            schema = schemas.result_schema(200)
            fields |= {"call": f"{tool.name}({{}})", "world": None, "real": ()}
            prompt = simulator.prompts.messages("tool", fields | {"history": history})
        requests.append((simulator.format.prompt(prompt), schema))
    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()

    checkpoint = open_checkpoint(SOURCE)
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    options = ModelOptions(source=SOURCE, dtype="float32")
    model = load(checkpoint, abstract_frozen(checkpoint.config, options), mesh, 0)
    tokenizer = checkpoint.tokenizer()
    # All prompts stay in the cache.
    room = 1024 * (16 + arguments.answers)
    config = EngineConfig(
        slots=16, max_length=1024, cache_tokens=room, prefill_rows=4, prefill_tokens=16
    )
    engine = Engine(model, mesh, config, tokenizer)
    format = ChatFormat(tokenizer)
    simulator = Simulator(format, SimulatorConfig(), 4096)
    prompts = make_prompts(simulator, arguments.answers)

    def requests(held: bool, some: int) -> list[Request]:
        return [
            Request(
                tokens,
                LIMIT,
                (i,),
                "simulator",
                Sampling(0.7),
                stop_ids=format.stop_ids,
                schema=schema if held else None,
            )
            for i, (tokens, schema) in enumerate(prompts[:some])
        ]

    def answer(held: bool) -> dict[str, float]:
        before = dataclasses.replace(engine.stats)
        start = time.perf_counter()
        completions = engine.run(requests(held, arguments.answers))
        seconds = time.perf_counter() - start
        valid = 0
        for completion, (_, schema) in zip(completions, prompts, strict=True):
            with contextlib.suppress(ValueError):
                valid += schemas.matches(json.loads(format.decode(completion.tokens)), schema)
        sampled = engine.stats.sampled_tokens - before.sampled_tokens
        forced = engine.stats.forced_tokens - before.forced_tokens
        return {
            "valid": valid / arguments.answers,
            "sampled_tokens": sampled,
            "forced_tokens": forced,
            "seconds": seconds,
            "tokens_per_second": (sampled + forced) / seconds,
        }

    modes = {"free": False, "held": True}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in modes}
    for run in range(arguments.runs + 1):  # the first one compiles
        for name, held in modes.items():
            result = answer(held)
            print(f"run {run} {name}", json.dumps(result), flush=True)
            if run:
                found[name].append(result)
    report: dict[str, Any] = {
        **machine.describe(),
        "source": SOURCE,
        "answers": arguments.answers,
        "runs": arguments.runs,
    }
    for name, results in found.items():
        report[name] = {key: spread([result[key] for result in results]) for key in results[0]}
    speeds = [[r["tokens_per_second"] for r in found[name]] for name in ("held", "free")]
    report["held/free"] = ratios(*speeds)
    print("tokens/s held / free:", json.dumps(report["held/free"]))
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
