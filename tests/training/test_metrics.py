import json
import pathlib
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from trustee_jax.training.metrics import MetricWriter


def _events(folder: pathlib.Path) -> list[Event]:
    """All events in the order of writing; a record is length, checksum, data, checksum."""
    events = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            events.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return events


def _scalars(folder: pathlib.Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows: a session start at step s hides what was written from s on before."""
    found: dict[str, dict[int, float]] = {}
    for event in _events(folder):
        if event.HasField("session_log"):
            for series in found.values():
                for step in [step for step in series if step >= event.step]:
                    del series[step]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_both_files_hold_the_same_scalars(tmp_path: pathlib.Path) -> None:
    board, lines = tmp_path / "tensorboard", tmp_path / "metrics.jsonl"
    with MetricWriter(board, lines) as writer:
        for step in (1, 2, 3):
            writer.scalars(step, {"reward/mean": step / 4, "loss": np.float32(step)})
            # At once: a run that is killed now loses nothing.
            assert _scalars(board)["loss"][step] == step
    assert [json.loads(line) for line in lines.read_text().splitlines()] == [
        {"step": step, "reward/mean": step / 4, "loss": float(step)} for step in (1, 2, 3)
    ]
    assert _scalars(board) == {
        "reward/mean": {1: 0.25, 2: 0.5, 3: 0.75},
        "loss": {1: 1.0, 2: 2.0, 3: 3.0},
    }


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path: pathlib.Path) -> None:
    board, lines = tmp_path / "tensorboard", tmp_path / "metrics.jsonl"
    with MetricWriter(board, lines) as writer:
        for step in (1, 2, 3, 4):
            writer.scalars(step, {"reward": step})
    with lines.open("a") as file:
        file.write('{"step": 5, "rew')
    with MetricWriter(board, lines, resume_step=2) as writer:
        writer.scalars(3, {"reward": 30})
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(record["step"], record["reward"]) for record in records] == [(1, 1), (2, 2), (3, 30)]
    assert _scalars(board)["reward"] == {1: 1, 2: 2, 3: 30}


def test_a_clock_that_goes_back_hides_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = tmp_path / "tensorboard"
    # Started twice within a second, then with the clock a day behind, then ahead.
    for step, now in enumerate((1e9, 1e9, 1e9 - 86_400, 1e9 + 5), start=1):
        monkeypatch.setattr("time.time", lambda now=now: now)
        with MetricWriter(board, tmp_path / "metrics.jsonl", resume_step=step - 1) as writer:
            writer.scalars(step, {"reward": step})
            writer.scalars(step + 1, {"reward": -1})
    assert len(list(board.iterdir())) == 4
    assert _scalars(board)["reward"] == {1: 1, 2: 2, 3: 3, 4: 4, 5: -1}


def test_lines_stay_json_when_a_scalar_is_not_finite(tmp_path: pathlib.Path) -> None:
    with MetricWriter(tmp_path / "tensorboard", tmp_path / "metrics.jsonl") as writer:
        writer.scalars(1, {"kl": float("nan"), "loss": float("inf")})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "kl": None, "loss": None}


def test_texts_and_config_reach_tensorboard(tmp_path: pathlib.Path) -> None:
    with MetricWriter(tmp_path / "tensorboard", tmp_path / "metrics.jsonl") as writer:
        writer.config({"seed": 3, "model.source": "a|b"})
        writer.text(2, "transcript/best", "user: *hi*\n\n# no heading")
    texts = {
        value.tag: (event.step, value.tensor.string_val[0].decode())
        for event in _events(tmp_path / "tensorboard")
        for value in event.summary.value
    }
    assert texts["transcript/best/text_summary"] == (2, "    user: *hi*\n    \n    # no heading")
    step, table = texts["config/text_summary"]
    assert step == 0
    assert "| seed | `3` |" in table
    assert r"a\|b" in table


def test_a_disabled_writer_writes_nothing(tmp_path: pathlib.Path) -> None:
    with MetricWriter(tmp_path / "a", tmp_path / "b", enabled=False) as writer:
        writer.scalars(1, {"reward": 1})
        writer.text(1, "x", "y")
        writer.config({"seed": 1})
    assert not list(tmp_path.iterdir())
