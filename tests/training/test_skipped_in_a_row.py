"""Updates that are left out are counted, across steps and a resume; too many in a row end a run."""

import math

import pytest
from scripted_step import Script

from trustee_jax.errors import NonFiniteError
from trustee_jax.training.checkpoint import Checkpointer

OPTIONS = {"learner.updates_per_step": 3, "learner.max_skipped_updates": 4}


def _rewards(key):
    return float(key[2] % 2)


def _script(monkeypatch, broken):
    return Script(monkeypatch, _rewards, broken=lambda update: update in broken, **OPTIONS)


def _step(trainer):
    return trainer.train_step(lambda step, episode: None).scalars


def test_means_are_over_the_updates_that_were_done(monkeypatch):
    trainer = _script(monkeypatch, {0, 3, 4, 5}).trainer()
    scalars = _step(trainer)
    assert (scalars["learner/updates"], scalars["learner/skipped_updates"]) == (2, 1)
    assert scalars["learner/loss"] == (2.5 + 3.5) / 2
    # The first that was done still saw the weights that sampled.
    assert scalars["learner/logprob_difference"] == 2.5
    assert "learner/skipped" not in scalars
    scalars = _step(trainer)
    assert (scalars["learner/updates"], scalars["learner/skipped_updates"]) == (0, 3)
    assert "learner/loss" not in scalars
    assert all(map(math.isfinite, scalars.values()))


def test_so_many_in_a_row_end_the_run(monkeypatch):
    # 3, one that is done, 4 over two steps.
    trainer = _script(monkeypatch, {0, 1, 2, 4, 5, 6, 7}).trainer()
    _step(trainer)
    _step(trainer)
    with pytest.raises(NonFiniteError) as caught:
        _step(trainer)
    message = str(caught.value)
    assert "4 updates in a row" in message
    assert "(logprob_difference, logprob_difference_max, loss)" in message
    assert "learner.learning_rate = 1e-06" in message
    assert "\n" not in message
    assert trainer.step == 2


def test_a_resumed_run_goes_on_counting(monkeypatch, tmp_path):
    before = _script(monkeypatch, {1, 2}).trainer()
    _step(before)
    with Checkpointer(tmp_path) as checkpointer:
        before.save(checkpointer, None)
        checkpointer.wait()
        script = _script(monkeypatch, {0, 1})
        trainer = script.trainer()
        trainer.restore(checkpointer)
    with pytest.raises(NonFiniteError, match="4 updates in a row"):
        _step(trainer)
    assert trainer.step == 1
