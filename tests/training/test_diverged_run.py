"""Whole runs with numbers that are not finite: what becomes of them, and how they end."""

import functools
import json
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import rewarded_run

from trustee_jax import build as building
from trustee_jax.commands import main as cli
from trustee_jax.rl import Learner, learning

pytestmark = pytest.mark.slow


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the command on one device, with rewards that differ; returns its exit status."""
    one = functools.partial(building.make_mesh, devices=jax.devices()[:1])
    monkeypatch.setattr(building, "make_mesh", one)
    rewarded_run.Rewarded(tmp_path).install(monkeypatch.setattr)
    arguments = ["train", f"--workdir={tmp_path / 'run'}", "--config=configs/debug.py"]
    arguments += ["--config.learner.updates_per_step=2", "--config.training.keep_last=99"]
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])
    return lambda *options: cli.main([*arguments, *(f"--config.{option}" for option in options)])


def _metrics(tmp_path):
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def _checkpoints(tmp_path):
    """Parameters and optimizer state of every checkpoint, by step."""
    folder = tmp_path / "run" / "checkpoints"
    with ocp.PyTreeCheckpointer() as reader:
        return {
            int(step.name): [
                np.asarray(leaf)
                for name in ("params", "optimizer")
                for leaf in jax.tree.leaves(reader.restore(step / name))
            ]
            for step in sorted(folder.iterdir())
        }


def test_a_planted_infinite_logprob_costs_one_update(train, tmp_path, monkeypatch):
    pack, update, planted, same = learning.pack, Learner.update, [], []

    def plant(*args):
        batch = pack(*args)
        planted.append(len(planted) == 2)
        if planted[-1]:
            batch.sampler_logprobs[0, 0] = -np.inf
        return batch

    def compare(learner, batch):
        before = jax.tree.map(np.array, learner.state)
        metrics = update(learner, batch)
        pairs = zip(*map(jax.tree.leaves, (before, learner.state)), strict=True)
        same.append(all(a.tobytes() == np.asarray(b).tobytes() for a, b in pairs))
        return metrics

    monkeypatch.setattr(learning, "pack", plant)
    monkeypatch.setattr(Learner, "update", compare)
    assert train("training.steps=3") == 0
    assert same == planted
    assert sum(planted) == 1
    metrics = _metrics(tmp_path)
    assert [line["learner/skipped_updates"] for line in metrics] == [0, 1, 0]
    assert [line["learner/updates"] for line in metrics] == [2, 1, 2]


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ("1e12", "the policy's logits are not finite"),
        ("1e38", "5 updates in a row were left out, because their numbers are not finite"),
    ],
)
def test_a_run_that_diverges_ends_with_one_message(rate, words, train, tmp_path, capsys):
    for _ in range(2):  # the same command goes on from the newest checkpoint
        assert train("training.steps=20", f"learner.learning_rate={rate}") == 2
        message = capsys.readouterr().err
        assert message.count("trustee: ") == 1
        assert words in message and "learner.learning_rate" in message
        assert "Traceback" not in message
    metrics = _metrics(tmp_path)
    assert sum(line["learner/skipped_updates"] for line in metrics) >= 1
    saved = _checkpoints(tmp_path)
    assert list(saved) == [line["step"] for line in metrics]
    assert all(np.isfinite(leaf).all() for leaves in saved.values() for leaf in leaves)
    print(f"\nrate {rate}:", [line["learner/skipped_updates"] for line in metrics], message)
