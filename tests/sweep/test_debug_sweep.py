"""A sweep of real runs, killed in the middle."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import kills
import psutil
import pytest
from compare_runs import compare

ROOT = pathlib.Path(__file__).parents[2]
RUNS = [(rate, seed) for rate in (1e-4, 1e-3) for seed in (0, 1, 2)]


def metrics_of(folder: pathlib.Path) -> list[Any]:
    file = folder / "metrics.jsonl"
    return [json.loads(x) for x in file.read_text().splitlines()] if file.is_file() else []


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_as_if_nothing_had_been(tmp_path: pathlib.Path) -> None:
    root, file = tmp_path / "runs", ROOT / "configs" / "sweeps" / "learning_rate.py"
    words = [sys.executable, "-m", "trustee_jax", "sweep", str(file), f"--workdir={root}"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        # What kills.Command has, so that its runs compile nothing again.
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    folders = [root / f"learner.learning_rate={rate},seed={seed}" for rate, seed in RUNS]

    # First in the second run, by SIGKILL; then in the fourth, by SIGTERM.
    for number, sent in ((1, signal.SIGKILL), (3, signal.SIGTERM)):
        with subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            while not metrics_of(folders[number]):
                assert process.poll() is None
                time.sleep(0.05)
            children = psutil.Process(process.pid).children()
            assert len(children) == 1
            process.send_signal(sent)
            process.communicate(timeout=300)
        assert process.returncode == (-sent if sent == signal.SIGKILL else 0)
        # A run does not outlive its sweep for long.
        assert psutil.wait_procs(children, timeout=120)[1] == []
        assert len(metrics_of(folders[number])) < 3
        assert len(metrics_of(folders[number - 1])) == 3
        assert not folders[number + 1].exists()
    before = {path: path.stat().st_mtime_ns for path in folders[0].rglob("*")}

    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in folders[0].rglob("*")} == before
    assert all(len(metrics_of(folder)) == 3 for folder in folders)
    assert len(re.findall(r"seed=\d +3/3", done.stdout)) == 6 and (root / "sweep.html").is_file()
    for number in (1, 3):
        rate, seed = RUNS[number]
        options = (f"--config.learner.learning_rate={rate}", f"--config.seed={seed}")
        straight = tmp_path / f"straight-{number}"
        assert not kills.Command(tmp_path, options).run(straight)
        for found in compare(straight, folders[number]):
            assert found.compared and found.differences == []
