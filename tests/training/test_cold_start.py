"""Help in the first steps: what is played, learnt and probed, and when it ends."""

import json

import pytest
from scripted_step import Script

from trustee_jax.config import default, override, parse
from trustee_jax.environment import Help, Probe
from trustee_jax.errors import ConfigError
from trustee_jax.toolsets import load_repository
from trustee_jax.training import collect, loop
from trustee_jax.training.cold_start import ColdStart, ColdStartConfig

VALID, TEXT = Probe.of(["valid_call"] * 4), Probe.of(["text"] * 4)
OPTIONS = {
    "training.probe_turns": 4,
    "training.cold_start.steps": 2,
    "training.cold_start.epochs": 1,
    "training.refill_groups": 2,
}


def cold_start(**options) -> ColdStart:
    return ColdStart(ColdStartConfig(**options), load_repository("starter"), seed=0)


@pytest.mark.parametrize(
    ("steps", "counts", "expected"),
    [
        (6, (3, 2, 0), [3, 3, 2, 2, 0, 0]),
        (4, (3, 2, 0), [3, 3, 2, 0]),
        (2, (3, 2, 0), [3, 2]),
        (3, (1,), [1, 1, 1]),
    ],
)
def test_demonstrations_become_fewer(steps, counts, expected):
    cold = cold_start(steps=steps, demonstrations=counts)
    assert [cold.demonstrations(step) for step in range(1, steps + 1)] == expected
    assert [cold.helps(step) for step in (1, steps, steps + 1)] == [True, True, False]


def test_it_ends_by_itself_and_goes_on_after_a_resume():
    cold = cold_start(steps=4, threshold=0.5)
    assert "below 50%" in cold.probed(1, TEXT) and cold.helps(2)
    assert "it ends" in cold.probed(2, VALID) and not cold.helps(3)
    again = cold_start(steps=4, threshold=0.5)
    again.restore(json.loads(json.dumps(cold.state())))
    assert not again.helps(3)
    last = cold_start(steps=4)
    assert "still below" in last.probed(4, TEXT)
    assert "none is needed" in cold_start(steps=4).probed(0, VALID)
    assert not cold_start().helps(1)


@pytest.fixture
def step(monkeypatch):
    """A run whose probes say what they are told to, and whose episodes note their help."""

    def make(rewards, probes, **options):
        script = Script(monkeypatch, rewards, **(OPTIONS | options))
        script.helps, plain = [], script._run

        def play(environment, task, key, help=None):
            script.helps.append((key, help))
            return (yield from plain(environment, task, key))

        monkeypatch.setattr(collect, "run_episode", play)
        monkeypatch.setattr(loop, "succeeded", lambda episode: episode.key[2] != 1)
        trainer = script.trainer()
        monkeypatch.setattr(trainer._collector, "probe", lambda step=0: probes[step])
        return script, trainer

    return make


def seen(step: int, episode) -> None:
    pass


def test_successes_alone_are_learnt_and_the_difficulty_waits(step):
    """Of each group two episodes succeed by the judge, and one of these by code as well."""
    rewards = lambda key: 1.0 if key[2] < 2 else -1.0  # noqa: E731
    mixed = Probe.of(["text", "text", "text", "valid_call"])
    script, trainer = step(rewards, [TEXT, mixed, VALID])
    before = trainer.curriculum.metrics()
    result = trainer.train_step(seen)
    assert len(script.helps) == 12  # no group is refilled
    assert all(isinstance(help, Help) and help.demonstrations for _, help in script.helps)
    (batch,) = script.system.learner.batches
    assert len(batch.groups) == 3
    assert result.scalars["cold_start/successes"] == 3
    assert result.scalars["cold_start/demonstrations"] == 3
    assert (result.scalars["probe/text"], result.scalars["cold_start/probe/text"]) == (1, 0.75)
    assert trainer.curriculum.metrics() == before and not script.updates
    trainer.train_step(seen)
    assert not script.updates
    script.helps.clear()
    trainer.train_step(seen)
    assert len(script.updates) == 1 and {help for _, help in script.helps} == {None}


def test_it_ends_at_the_threshold(step):
    script, trainer = step(lambda key: 1.0 - key[2] % 2, [TEXT, VALID])
    trainer.train_step(seen)
    trainer.train_step(seen)
    assert len(script.updates) == 1


def test_a_policy_that_calls_needs_none(step):
    script, trainer = step(lambda key: 1.0 - key[2] % 2, [VALID])
    result = trainer.train_step(seen)
    assert len(script.updates) == 1 and "cold_start/successes" not in result.scalars
    assert {help for _, help in script.helps} == {None}


def test_no_success_is_no_update(step):
    script, trainer = step(lambda key: -1.0, [TEXT, TEXT])
    result = trainer.train_step(seen)
    assert result.scalars["learner/updates"] == 0 and not script.system.learner.batches


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"cold_start.steps": -1}, "training.cold_start.steps"),
        ({"cold_start.steps": 9, "steps": 8}, "training.cold_start.steps"),
        ({"cold_start.epochs": 0}, "training.cold_start.epochs"),
        ({"cold_start.threshold": 0.0}, "training.cold_start.threshold"),
        ({"cold_start.demonstrations": ()}, "training.cold_start.demonstrations"),
        ({"cold_start.demonstrations": (1, -1)}, "training.cold_start.demonstrations"),
        ({"cold_start.steps": 1, "probe_turns": 0}, "training.probe_turns"),
        ({"cold_start.steps": 1, "max_staleness": 1}, "training.max_staleness"),
    ],
)
def test_what_cannot_work_is_refused(options, field):
    config = override(default(), {f"training.{name}": value for name, value in options.items()})
    with pytest.raises(ConfigError) as caught:
        parse(config)
    assert caught.value.field == field
