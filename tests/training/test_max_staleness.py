"""With `training.max_staleness` a step is played while the one before it is learnt from."""

import itertools
import types

import pytest
import scripted_step
from scripted_step import Script

from trustee_jax.config import parse
from trustee_jax.environment import Stopped
from trustee_jax.errors import ConfigError
from trustee_jax.rl import TrainState
from trustee_jax.training import collect
from trustee_jax.training.checkpoint import Checkpointer

STALE = {
    "training.max_staleness": 1,
    "learner.tis_cap": 2.0,
    "learner.updates_per_step": 2,
    "training.steps": 3,
}


class Engine(scripted_step.Engine):
    """Answers one request a step."""

    def __init__(self, events):
        super().__init__()
        self._events = events
        self._tickets = []
        self._numbers = itertools.count()

    @property
    def idle(self):
        return not self._tickets

    @idle.setter
    def idle(self, _):
        pass

    def submit(self, request):
        self._tickets.append(next(self._numbers))
        return self._tickets[-1]

    def step(self):
        self._events.append("engine")
        return [(self._tickets.pop(0), None)]


def _rewards(key):
    return float(key[2] % 2)


def _script(monkeypatch, **options):
    """Its policy is the number of the updates behind it, its episodes take one engine step each."""
    script = Script(monkeypatch, _rewards, **(STALE | options))
    played = collect.run_episode

    def run(environment, task, key, help=None):
        yield types.SimpleNamespace(role="policy")
        script.played.append((key[0], float(script.system.policy["w"][0])))
        return (yield from played(environment, task, key))

    monkeypatch.setattr(collect, "run_episode", run)
    return script


def _trainer(script, should_stop=lambda: False):
    trainer = script.trainer(should_stop)
    script.played = []
    script.system.engines.update(dict.fromkeys(script.system.engines, Engine(script.events)))
    learner = script.system.learner
    update = learner.update

    def counted(batch):
        weights = {"w": learner.state.params["w"] + 1}
        learner.state = TrainState(weights, learner.state.optimizer)
        return update(batch)

    learner.update = counted
    return trainer


def _step(trainer, seen=lambda step, episode: None):
    return trainer.train_step(seen).scalars


def test_a_step_is_played_with_the_weights_from_before_the_update_before_it(monkeypatch):
    script = _script(monkeypatch)
    trainer = _trainer(script)
    seen = []
    scalars = [_step(trainer, lambda step, _: seen.append((trainer.step, step))) for _ in range(3)]
    # Two updates a step: those of the step before are not in what plays.
    assert set(script.played) == {(1, 0), (2, 0), (3, 2)}
    assert [one["learner/staleness"] for one in scalars] == [0, 1, 1]
    # While step 1 is not complete, the episodes of both are over.
    assert set(seen) == {(0, 1), (0, 2), (1, 3)}
    assert script.system.learner.state.params["w"][0] == 6


def test_without_it_every_step_waits(monkeypatch):
    script = _script(monkeypatch, **{"training.max_staleness": 0, "learner.tis_cap": None})
    trainer = _trainer(script)
    scalars = [_step(trainer) for _ in range(3)]
    assert set(script.played) == {(1, 0), (2, 2), (3, 4)}
    assert not any("learner/staleness" in one for one in scalars)
    assert "part" not in script.events


def test_tasks_are_of_the_curriculum_after_the_step_before_it(monkeypatch):
    script = _script(
        monkeypatch,
        **{"curriculum.initial": 10, "curriculum.lower_at": 0.9, "curriculum.raise_at": 0.95},
    )
    trainer = _trainer(script)
    difficulties = []
    generate = collect.generate_task

    def spy(environment, tools, aspects, key, **keywords):
        difficulties.append((key[0], trainer.curriculum.metrics()["difficulty"]))
        return generate(environment, tools, aspects, key, **keywords)

    monkeypatch.setattr(collect, "generate_task", spy)
    for _ in range(3):
        _step(trainer)
    by_step = dict(difficulties)
    assert len(set(difficulties)) == 3
    assert by_step[1] > by_step[2] > by_step[3]


def test_the_updates_are_dispatched_between_engine_steps(monkeypatch):
    script = _script(monkeypatch)
    _step(_trainer(script))
    events = [event for event in script.events if isinstance(event, str)]
    first = events.index("scored")
    while events[first - 1] == "engine":
        first -= 1
    between = events[first : events.index("fetched")]
    # Two batches are scored before the first update, then each is an update of two parts. One is
    # dispatched before each engine step, and nothing is waited for before the episodes are over.
    work = ["scored", "scored", "part", "part", "dispatched", "part", "part", "dispatched"]
    assert [event for event in between if event != "engine"] == work
    assert between.count("engine") == 12 + 12
    pairs = list(itertools.pairwise(between))
    assert pairs.count(("part", "engine")) == 4
    assert pairs.count(("scored", "engine")) == 2


def test_the_last_step_plays_nothing_ahead(monkeypatch):
    script = _script(monkeypatch, **{"training.steps": 1})
    _step(_trainer(script))
    assert {step for step, _ in script.played} == {1}
    assert script.events.count("part") == 4


def test_asked_to_stop_it_completes_the_step_and_plays_the_next_again(monkeypatch, tmp_path):
    script = _script(monkeypatch)
    stop = False
    trainer = _trainer(script, lambda: stop)

    def seen(step, episode):
        nonlocal stop
        stop = stop or (step, episode.key) == (3, (3, 0, 1))

    _step(trainer)
    _step(trainer, seen)
    assert trainer.step == 2
    with pytest.raises(Stopped):
        _step(trainer)
    assert trainer.step == 2
    with Checkpointer(tmp_path) as checkpointer:
        trainer.save(checkpointer, None)
        checkpointer.wait()
        again = _script(monkeypatch)
        resumed = _trainer(again)
        resumed.restore(checkpointer)
    assert again.system.learner.state.params["w"][0] == 4
    assert _step(resumed)["learner/staleness"] == 1
    # With the weights that the stopped run began to play it with.
    assert set(again.played) == {(3, 2)} < set(script.played)


def test_it_needs_its_correction():
    with pytest.raises(ConfigError, match="give a cap") as caught:
        parse({"training": {"max_staleness": 1}})
    assert caught.value.field == "learner.tis_cap"
    assert "training.max_staleness = 1" in str(caught.value)
    with pytest.raises(ConfigError, match="it must be 0") as caught:
        parse({"training": {"max_staleness": 2}, "learner": {"tis_cap": 2.0}})
    assert caught.value.field == "training.max_staleness"
