"""Decoding and prefill with SmolLM2-135M: ours against transformers and Tunix, on this machine.

    python benchmarks/peers.py [--runs=5] [--batches=1,8,32] [--tunix-python=VENV/bin/python]
        [--output=FILE.json]

All of them load the same float32 weights, get the same prompts and draw the same number of tokens,
greedily, with a KV cache and no early stop. Each has a process of its own, as Tunix needs an
environment of its own (`pip install google-tunix`; without --tunix-python it is left out). They
take turns: a run of each, then the next run of each, while the others wait. What compiles has been
compiled in a run before. Nobody has seen a prompt before: our cache is emptied between runs.

Prefill is from a call to its first tokens; decoding is what comes after them, in tokens/s. Tunix
hands out nothing before the end, so its decoding is a call's time less that of a call for one
token. Its Llama takes 1e6 for the base of the rotary frequencies, whatever the model says: its
answers differ, its work does not.

Our engine is also measured with room for 256 and for 1,024 new tokens in each of the most rows.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np
from side_by_side import (
    SOURCE,
    Worker,
    alternate,
    prompts,
    ratios,
    serve,
    spread,
    tunix_llama,
    write_weights,
)

PROMPT, NEW_TOKENS, PREFILL = 64, 64, 256
ROOMS = (256, 1024)


class Model:
    """A side by its `measure`: tokens to the seconds of the first, and tokens/s of the others."""

    def run(
        self, rows: int, length: int, new_tokens: int, room: int, seed: int
    ) -> dict[str, float]:
        seconds, speed = self.measure(prompts(rows, length, seed), new_tokens, room)
        return {"seconds": seconds, "speed": speed}

    def measure(self, tokens: np.ndarray, new_tokens: int, room: int) -> tuple[float, float]:
        raise NotImplementedError


class Ours(Model):
    packages = ("trustee-jax", "jax", "jaxlib")

    def __init__(self, folder: str):
        from trustee_jax.build import abstract_frozen, load
        from trustee_jax.config import ModelOptions
        from trustee_jax.models import make_mesh
        from trustee_jax.weights import open_checkpoint

        checkpoint = open_checkpoint(folder)
        self.mesh = make_mesh(1, 1, 1)
        options = ModelOptions(source=folder, dtype="float32", scan_layers=False)
        abstract = abstract_frozen(checkpoint.config, options)
        self.model = load(checkpoint, abstract, self.mesh, 0)
        self.tokenizer = checkpoint.tokenizer()
        self.shape: tuple[int, int] | None = None

    def prepare(self, rows: int, room: int) -> None:
        """An engine of so many rows, each with room for so many tokens."""
        from trustee_jax.engine import Engine, EngineConfig

        if self.shape != (rows, room):
            config = EngineConfig(slots=rows, max_length=room, prefill_rows=4)
            self.engine: Any = None  # Its cache goes first.
            self.engine = Engine(self.model, self.mesh, config, self.tokenizer)
            self.shape = (rows, room)

    def measure(self, tokens: np.ndarray, new_tokens: int, room: int) -> tuple[float, float]:
        from trustee_jax.engine import Request, Sampling

        rows, length = tokens.shape
        self.prepare(rows, length + room)
        engine = self.engine
        engine.reset()
        limit = room if new_tokens > 1 else 1
        start = time.perf_counter()
        for i, row in enumerate(tokens):
            engine.submit(Request(row, limit, (i,), "simulator", Sampling(0.0)))
        marks = []
        while not engine.idle and engine.stats.sampled_tokens < rows * new_tokens:
            engine.step()
            marks.append((time.perf_counter(), engine.stats.sampled_tokens))
        engine.cancel()
        marks = [mark for mark in marks if mark[1] >= rows]
        (first, before), (last, after) = marks[0], marks[-1]
        speed = (after - before) / (last - first) if last > first else 0.0
        return first - start, speed


class Transformers(Model):
    packages = ("transformers", "torch")

    def __init__(self, folder: str):
        import torch
        import transformers

        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.pad_token_id = 0

    def measure(self, tokens: np.ndarray, new_tokens: int, room: int) -> tuple[float, float]:
        marks: list[float] = []

        def mark(ids: Any, scores: Any, **_: Any) -> Any:
            marks.append(time.perf_counter())
            return self.torch.zeros(len(ids), dtype=self.torch.bool)

        ids = self.torch.from_numpy(tokens.astype(np.int64))
        start = time.perf_counter()
        with self.torch.inference_mode():
            out = self.model.generate(
                ids,
                attention_mask=self.torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=new_tokens,
                use_cache=True,
                stopping_criteria=[mark],
            )
        assert out.shape == (len(tokens), tokens.shape[1] + new_tokens)
        decoded = len(tokens) * (len(marks) - 1)
        return marks[0] - start, decoded / (marks[-1] - marks[0]) if decoded else 0.0


class Ids:
    """A tokenizer of what are ids already."""

    def encode(self, ids: np.ndarray) -> list[int]:
        return ids.tolist()

    def decode(self, ids: Any) -> str:
        return ""

    def bos_id(self) -> int:
        return 0  # none

    def eos_id(self) -> int:
        return 0

    def pad_id(self) -> int:
        return 0


class Tunix(Model):
    packages = ("google-tunix", "jax", "jaxlib")

    def __init__(self, folder: str):
        self.model, self.mesh = tunix_llama(folder)
        self.samplers: dict[int, Any] = {}

    def _seconds(self, tokens: np.ndarray, new_tokens: int, room: int) -> float:
        import jax
        from tunix.generate import sampler

        length = tokens.shape[1]
        size = length + room
        if size not in self.samplers:
            config = sampler.CacheConfig(
                cache_size=size,
                num_layers=self.model.config.num_layers,
                num_kv_heads=self.model.config.num_kv_heads,
                head_dim=self.model.config.head_dim,
            )
            self.samplers[size] = sampler.Sampler(self.model, Ids(), config)
        start = time.perf_counter()
        with jax.set_mesh(self.mesh):
            out = self.samplers[size](
                list(tokens),
                max_generation_steps=new_tokens,
                max_prompt_length=length,
                eos_tokens=[-1],
                temperature=0.0,
                seed=0,
            )
        seconds = time.perf_counter() - start
        assert all(len(row) == new_tokens for row in out.tokens), [len(row) for row in out.tokens]
        return seconds

    def measure(self, tokens: np.ndarray, new_tokens: int, room: int) -> tuple[float, float]:
        first = self._seconds(tokens, 1, room)
        if new_tokens == 1:
            return first, 0.0
        more = self._seconds(tokens, new_tokens, room)
        return first, len(tokens) * (new_tokens - 1) / (more - first)


SIDES = {"ours": Ours, "transformers": Transformers, "tunix": Tunix}


def compare(sides: dict[str, Worker], runs: int, rows: int) -> dict[str, Any]:
    """Tokens/s of all sides at one batch size, and ours over theirs."""
    cases: dict[str, Any] = {}
    for name, length, new_tokens in (("decode", PROMPT, NEW_TOKENS), ("prefill", PREFILL, 1)):
        room = max(new_tokens, ROOMS[0] - length)
        found = alternate(sides, runs, rows=rows, length=length, new_tokens=new_tokens, room=room)
        speeds = {
            side: [r["speed"] if name == "decode" else rows * length / r["seconds"] for r in one]
            for side, one in found.items()
        }
        ours = speeds["ours"]
        cases[name] = {side: spread(values) for side, values in speeds.items()} | {
            f"ours/{side}": ratios(ours, values)
            for side, values in speeds.items()
            if side != "ours"
        }
        print(f"batch {rows} {name}", json.dumps(cases[name]), flush=True)
    return cases


def rooms(ours: Worker, runs: int, rows: int) -> dict[str, Any]:
    """Our decoding with room for few and for many new tokens, in turn."""
    small, large = ({"room": room} for room in ROOMS)
    speeds: dict[str, list[float]] = {"room_256": [], "room_1024": []}
    for run in range(runs + 1):
        for name, room in zip(speeds, (small, large), strict=True):
            for attempt in range(2):  # Another room is another engine: the first run compiles.
                call = {"rows": rows, "length": PROMPT, "new_tokens": NEW_TOKENS, **room}
                result = ours(**call, seed=run)
                if run and attempt:
                    speeds[name].append(result["speed"])
    found: dict[str, Any] = {name: spread(values) for name, values in speeds.items()}
    found["room_1024/room_256"] = ratios(speeds["room_1024"], speeds["room_256"])
    print(f"batch {rows} rooms", json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--tunix-python")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(SIDES[arguments.worker], arguments.folder)
        return
    batches = [int(rows) for rows in arguments.batches.split(",")]
    pythons = {"ours": sys.executable, "transformers": sys.executable}
    if arguments.tunix_python:
        pythons["tunix"] = arguments.tunix_python

    from trustee_jax.bench import machine

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "weights"
        write_weights(folder)
        sides = {
            name: Worker(python, __file__, f"--worker={name}", f"--folder={folder}")
            for name, python in pythons.items()
        }
        report = {
            **machine.describe(),
            "source": SOURCE,
            "runs": arguments.runs,
            "sides": {name: worker.versions for name, worker in sides.items()},
            "prompt_tokens": {"decode": PROMPT, "prefill": PREFILL},
            "new_tokens": {"decode": NEW_TOKENS, "prefill": 1},
            "tokens_per_second": {
                f"batch_{rows}": compare(sides, arguments.runs, rows) for rows in batches
            },
            "rooms": {"rows": max(batches)} | rooms(sides["ours"], arguments.runs, max(batches)),
        }
        for worker in sides.values():
            worker.close()
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
