"""Steps that are played while the step before is learnt from, against steps that wait for it.

    python benchmarks/overlap.py [--config=configs/debug.py] [--steps=5] [--seconds=0]

All runs are in one process, a step of each in turn, and play the same episodes: the difficulty is
fixed, and the learning rate next to nothing. Two wait, without and with the correction that stale
episodes need, which is a forward pass. With `--seconds` every tool is a real one that takes so
long.
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax

from trustee_jax.build import build
from trustee_jax.config import override, parse
from trustee_jax.curriculum import Curriculum
from trustee_jax.environment.tools.python import PythonTool
from trustee_jax.progress import Progress
from trustee_jax.toolsets import load_repository
from trustee_jax.training.loop import Trainer
from trustee_jax.training.system import System

RUNS: Mapping[str, Mapping[str, Any]] = {
    "waits": {},
    "waits, tis_cap": {"learner.tis_cap": 2.0},
    "max_staleness": {"learner.tis_cap": 2.0, "training.max_staleness": 1},
}


def make_trainer(file: str, changes: Mapping[str, Any], seconds: float) -> tuple[Trainer, System]:
    """A run with some options changed, whose tools are simulated, or sleep."""
    config = parse(override(runpy.run_path(file)["get_config"](), changes))
    repository = load_repository(config.tools)
    tool = PythonTool(lambda **_: time.sleep(seconds), 60.0)
    system = build(config, {one.name: tool for one in repository.tools} if seconds else {})
    progress = Progress(config.training.steps, enabled=False)
    curriculum = Curriculum(config.curriculum)
    trainer = Trainer(
        config.training, system, curriculum, repository, progress, lambda: False, config.seed
    )
    return trainer, system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/debug.py")
    parser.add_argument("--steps", type=int, default=5, help="after the first, which compiles")
    parser.add_argument("--seconds", type=float, default=0.0, help="that a tool takes")
    options = parser.parse_args()

    common = {
        "training.steps": options.steps + 2,  # the last of all would play nothing ahead
        "learner.learning_rate": 1e-12,
        "curriculum.rule": "fixed",
    }
    runs = {
        name: make_trainer(options.config, common | changes, options.seconds)
        for name, changes in RUNS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.steps + 1):
        for name, (trainer, system) in runs.items():
            start = time.monotonic()
            trainer.train_step(lambda step, episode: None)
            jax.block_until_ready(system.learner.state)
            seconds[name].append(round(time.monotonic() - start, 2))
    waits = seconds["waits"][1:]
    result = {
        name: {
            "seconds": values[1:],
            "median": statistics.median(values[1:]),
            "times_as_long": round(
                statistics.median(a / b for a, b in zip(values[1:], waits, strict=True)), 3
            ),
        }
        for name, values in seconds.items()
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
