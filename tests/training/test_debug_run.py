"""The debug config: it updates in every step, and a kill at any moment leaves no trace."""

import json
import os
import pathlib
import subprocess
import sys

import kills
import pytest

ROOT = pathlib.Path(__file__).parents[2]
KILLS = ROOT / "benchmarks" / "kills.py"


def test_every_step_of_the_debug_run_updates_the_policy(tmp_path: pathlib.Path) -> None:
    workdir = tmp_path / "run"
    assert not kills.Command(tmp_path, ()).run(workdir)
    steps = kills.metrics(workdir)
    assert [line["step"] for line in steps] == [1, 2, 3]
    for line in steps:
        assert line["learner/updates"] == 1
        assert line["learner/grad_norm"] > 0.01
        assert line["learner/update_norm"] > 0
        assert line["groups/trainable"] >= 1
    episodes = [json.loads(line) for line in (workdir / "episodes.jsonl").read_text().splitlines()]
    # All ways of an episode are there: without a call, and with calls that were judged or answered.
    assert all(episode["valid"] for episode in episodes)
    assert any(episode["verdict"] is None for episode in episodes)
    assert len({episode["reward"] for episode in episodes if episode["verdict"]}) > 1
    assert any(episode["counts"]["executed_calls"] for episode in episodes)
    # Written as they ended, not in the order of their numbers.
    keys = [episode["key"] for episode in episodes]
    assert len(keys) >= 36
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    assert keys != sorted(keys)


@pytest.mark.slow
def test_kills_at_random_moments_leave_no_trace(tmp_path: pathlib.Path) -> None:
    output = tmp_path / "kills.json"
    command = [sys.executable, str(KILLS), "--kills=4", "--seed=3", f"--output={output}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text())
    assert result["kills"] == 4
    assert result["polls"] > 100
    assert result["lost"] == result["doubled"] == result["half_written"] == 0


def test_a_reader_knows_a_broken_line() -> None:
    reader = kills.Reader()
    reader._read(b'{"step": 1}\n{"step": 2, "k')
    assert (reader.broken, reader.cut) == ([], 1)
    for line in (b'{"step": 2, "k{"step": 2}', b"", b"[1]", b'{"step": 1}'):
        before = len(reader.broken)
        reader._read(b'{"step": 2}\n' + line + b'\n{"step": 3}\n')
        assert len(reader.broken) == before + 1
