import json
import pathlib
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.layout_pb2 import Layout

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


def test_a_cause_is_written_from_its_first_step_on(tmp_path: pathlib.Path) -> None:
    steps: dict[int, dict[str, float]] = {
        1: {"valid": 1.0},
        2: {"valid": 0.5, "invalid_b": 2.0},
        3: {"valid": 1.0},
        4: {"valid": 0.0, "invalid_a": 3.0, "invalid_b": 1.0},
        5: {"valid": 1.0},
    }

    def write(name: str, *parts: range) -> tuple[str, dict]:
        board, lines = tmp_path / name, tmp_path / f"{name}.jsonl"
        for part in parts:
            start = part.start - 1
            with MetricWriter(board, lines, causes=("invalid_",), resume_step=start) as writer:
                for step in part:
                    writer.scalars(step, steps[step])
        return lines.read_text(), _scalars(board)

    text, shown = write("whole", range(1, 6))
    assert shown == {
        "valid": {1: 1.0, 2: 0.5, 3: 1.0, 4: 0.0, 5: 1.0},
        "invalid_b": {2: 2.0, 3: 0.0, 4: 1.0, 5: 0.0},
        "invalid_a": {4: 3.0, 5: 0.0},
    }
    # Bit for bit, wherever it was resumed; what is run again leaves nothing behind.
    for cut in (1, 2, 3, 4):
        assert write(f"cut{cut}", range(1, cut + 1), range(cut + 1, 6)) == (text, shown)
        assert write(f"again{cut}", range(1, 6), range(cut + 1, 6)) == (text, shown)


def test_the_layout_reaches_tensorboard(tmp_path: pathlib.Path) -> None:
    with MetricWriter(tmp_path, tmp_path / "metrics.jsonl", resume_step=3) as writer:
        writer.layout({"Reward": {"Mean": ["reward/mean"], "Other": ["a/.+", "b"]}, "Speed": {}})
    (value,) = (
        value for event in _events(tmp_path) if event.step == 3 for value in event.summary.value
    )
    # Both by which the plugin finds it.
    assert value.tag == "custom_scalars__config__"
    assert value.metadata.plugin_data.plugin_name == "custom_scalars"
    layout = Layout.FromString(value.tensor.string_val[0])
    assert [category.title for category in layout.category] == ["Reward", "Speed"]
    charts = {c.title: list(c.multiline.tag) for c in layout.category[0].chart}
    assert charts == {"Mean": ["reward/mean$"], "Other": ["a/.+$", "b$"]}


def test_tensorboards_own_reader_finds_layout_and_scalars(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar import layout_pb2

    with MetricWriter(tmp_path / "board", tmp_path / "metrics.jsonl") as writer:
        writer.layout({"Reward": {"Mean": ["reward/mean"]}})
        writer.scalars(1, {"reward/mean": 0.5})
    found = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("reward/mean")] == [(1, 0.5)]
    assert found.PluginTagToContent("custom_scalars").keys() == {"custom_scalars__config__"}
    (event,) = found.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [chart.title for chart in layout.category[0].chart] == ["Mean"]


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
