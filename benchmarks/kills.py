"""Kills a run at random moments until nobody could doubt that it goes on as if nothing had been.

    python benchmarks/kills.py [--kills=50] [--output=kills.json] [--config.training.steps=6 ...]

A debug run is started, killed (SIGKILL) at a moment drawn uniformly from the time that an
undisturbed one takes, from its start-up to its last checkpoint, and started again by the same
command, until it ends; then the next one, until so many kills have hit. After each kill the logs
must be a beginning of those of the undisturbed run, with all that the newest checkpoint counts on;
at the end of a run logs, parameters and optimizer state must be the same, bit for bit, clocks
excepted. Meanwhile a reader polls the logs, and must never see a broken line. The exit status is 0
if all of this holds.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

import jax
from compare_runs import checkpoints, compare_checkpoints, metrics

ROOT = pathlib.Path(__file__).parents[1]
LOGS = ("episodes.jsonl", "metrics.jsonl")


class Reader:
    """Reads the logs of a workdir over and over, as somebody who watches the run would.

    Attributes:
      polls: how often a file was read.
      cut: how often it ended within a line, which is no harm.
      broken: lines that were complete and no JSON object, or of a step before the one above.
    """

    def __init__(self) -> None:
        self.polls = self.cut = 0
        self.broken: list[str] = []

    @contextlib.contextmanager
    def watching(self, workdir: pathlib.Path) -> Iterator[None]:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.01):
                for name in LOGS:
                    with contextlib.suppress(FileNotFoundError):
                        self._read((workdir / name).read_bytes())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _read(self, data: bytes) -> None:
        self.polls += 1
        *lines, rest = data.split(b"\n")
        self.cut += bool(rest)
        last = 0
        for line in lines:
            try:
                step = json.loads(line)["step"]
            except (ValueError, TypeError, KeyError):
                step = -1
            if step < last:
                self.broken.append(line[:100].decode("utf-8", "replace"))
            last = step


class Command:
    """`trustee train` with a config, in processes of its own, with a cache of compiled programs."""

    def __init__(self, root: pathlib.Path, options: Sequence[str]) -> None:
        start = "import sys; from trustee_jax.commands.main import main; sys.exit(main())"
        config = f"--config={ROOT / 'configs' / 'debug.py'}"
        self._words = [sys.executable, "-c", start, "train", config, *options]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
            "JAX_COMPILATION_CACHE_DIR": str(root / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def run(self, workdir: pathlib.Path, kill_after: float | None = None) -> bool:
        """Runs to the end, or kills it then; returns whether it was killed."""
        with subprocess.Popen(
            [*self._words, f"--workdir={workdir}"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=kill_after)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"the run ended with {process.returncode}:\n{output}")
        return process.returncode != 0


def episode_keys(data: bytes) -> list[tuple[int, ...]]:
    return [tuple(json.loads(line)["key"]) for line in data.splitlines()]


class Judge:
    """Compares with the undisturbed run.

    Attributes:
      faults: what was found to be wrong.
      counts: lines that were lost or doubled, and half lines that stayed.
    """

    def __init__(self, reference: pathlib.Path) -> None:
        self._reference = reference
        self._episodes = (reference / "episodes.jsonl").read_bytes()
        self._metrics = metrics(reference)
        self.faults: list[str] = []
        self.counts = {"lost": 0, "doubled": 0, "half_written": 0}

    def after_kill(self, workdir: pathlib.Path) -> None:
        """What a killed run has written is a beginning, and holds what its checkpoint needs."""
        step = max(checkpoints(workdir), default=0)
        episodes = workdir / "episodes.jsonl"
        data = episodes.read_bytes() if episodes.exists() else b""
        if not self._episodes.startswith(data):
            self.faults.append(f"after a kill, {len(data)} bytes of episodes differ")
        needed = [line for line in self._episodes.splitlines() if json.loads(line)["step"] <= step]
        missing = len(needed) - data.count(b"\n")
        if missing > 0:
            self.counts["lost"] += missing
            self.faults.append(f"{missing} episodes up to the checkpoint of step {step} are gone")
        lines = metrics(workdir) if (workdir / "metrics.jsonl").exists() else []
        if len(lines) < step:
            self.counts["lost"] += step - len(lines)
            self.faults.append(f"{len(lines)} lines of metrics at the checkpoint of step {step}")
        if lines != self._metrics[: len(lines)]:
            self.faults.append("after a kill, metrics differ")

    def at_end(self, workdir: pathlib.Path) -> None:
        """A run that has ended is the undisturbed one."""
        data = (workdir / "episodes.jsonl").read_bytes()
        for name in LOGS:
            self.counts["half_written"] += not (workdir / name).read_bytes().endswith(b"\n")
        keys, expected = collections.Counter(episode_keys(data)), episode_keys(self._episodes)
        self.counts["lost"] += sum(key not in keys for key in expected)
        self.counts["doubled"] += sum(count - 1 for count in keys.values())
        if data != self._episodes:
            self.faults.append("the episodes differ")
        if metrics(workdir) != self._metrics:
            self.faults.append("the metrics differ")
        for difference in compare_checkpoints(self._reference, workdir).differences[:1]:
            self.faults.append(f"the last checkpoint differs: {difference}")


def moment(workdir: pathlib.Path, event_files: int) -> str:
    """Where a kill has hit, from what it left behind."""
    if len(list((workdir / "tensorboard").glob("*"))) == event_files:
        return "start-up"
    if any("tmp" in path.name for path in (workdir / "checkpoints").glob("*")):
        return "while a checkpoint was written"
    lines = {name: (workdir / name).read_bytes() for name in LOGS if (workdir / name).exists()}
    steps = [json.loads(line)["step"] for line in lines.get(LOGS[0], b"").splitlines()]
    complete = lines.get(LOGS[1], b"").count(b"\n")
    return "within a step, episodes written" if max(steps, default=0) > complete else "elsewhere"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=pathlib.Path)
    arguments, options = parser.parse_known_args()
    jax.config.update("jax_platforms", "cpu")
    rng = random.Random(arguments.seed)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        command, reader = Command(root, options), Reader()
        # The first one compiles; a second says how long a run takes, and that two are the same.
        for name in ("compiling", "undisturbed"):
            began = time.monotonic()
            command.run(root / name)
            seconds = time.monotonic() - began
        judge = Judge(root / "undisturbed")
        judge.at_end(root / "compiling")
        moments: collections.Counter[str] = collections.Counter()
        ended = 0
        workdir = root / "run0"
        while True:
            hit = moments.total() < arguments.kills
            event_files = len(list((workdir / "tensorboard").glob("*")))
            with reader.watching(workdir):
                killed = command.run(workdir, rng.uniform(0, seconds) if hit else None)
            if killed:
                moments[moment(workdir, event_files)] += 1
                judge.after_kill(workdir)
                print(f"kill {moments.total()}: {judge.faults or 'nothing lost'}", flush=True)
                continue
            judge.at_end(workdir)
            ended += 1
            print(f"run {ended} has ended: {judge.faults or 'the same'}", flush=True)
            if not hit:
                break
            workdir = root / f"run{ended}"
    result = {
        "kills": moments.total(),
        "moments": dict(moments),
        "runs_ended": ended,
        "seconds_of_an_undisturbed_run": round(seconds, 1),
        "seconds": round(time.monotonic() - start),
        **judge.counts,
        "polls": reader.polls,
        "polls_that_saw_a_cut_line": reader.cut,
        "broken_lines_seen": reader.broken,
        "faults": judge.faults,
    }
    print(json.dumps(result, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    return bool(judge.faults or reader.broken)


if __name__ == "__main__":
    sys.exit(main())
