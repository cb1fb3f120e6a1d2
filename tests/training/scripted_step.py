"""A run whose tasks and episodes follow a script: no model, no engine."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from trustee_jax.config import default, override, parse
from trustee_jax.curriculum import Curriculum
from trustee_jax.engine import EngineStats
from trustee_jax.environment import Environment, Episode, Task, Verdict
from trustee_jax.environment.verdict import CriterionVerdict
from trustee_jax.progress import Progress
from trustee_jax.rl import LearnerConfig, Objective, TrainState, learning
from trustee_jax.simulator import Failure
from trustee_jax.toolsets import ToolRepository, load_repository
from trustee_jax.training import collect, loop

OPTIONS = {
    "training.tasks_per_step": 3,
    "training.group_size": 4,
    "training.probe_turns": 0,
    "learner.updates_per_step": 1,
}


def different(key: tuple) -> str:
    """A text that is no near-copy of another key's."""
    return hashlib.sha256(str(key).encode()).hexdigest()


@functools.cache
def _repository() -> ToolRepository:
    return load_repository("starter")


class Engine:
    """Has nothing to do."""

    def __init__(self) -> None:
        self.stats = EngineStats()
        self.idle = True
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def cancel(self) -> None:
        pass


class Later:
    """A value that is known when it is asked for."""

    def __init__(self, events: list, value: float) -> None:
        self._events = events
        self._value = value

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        self._events.append("fetched")
        return np.float32(self._value)


class Learner:
    """Notes what happens, and when.

    Attributes:
      broken: Whether the update of that number, from 0, is left out.
      state: What a checkpoint holds.
    """

    rows = 1

    def __init__(self, events: list, broken: Callable[[int], bool], config: LearnerConfig) -> None:
        self.config = config
        self.objective = Objective(config)
        self._events = events
        self.batches: list = []
        self.broken = broken
        self.state = TrainState({"w": jnp.zeros(2)}, {"count": jnp.int32(0)})

    def logprobs(self, batch):
        self._events.append("scored")
        return np.zeros(1)

    def logprobs_in_parts(self, batch):
        self._events.append("scored")
        yield
        return np.zeros(1)

    def update_in_parts(self, batch):
        for _ in range(2):
            self._events.append("part")
            yield
        return self.update(batch)

    def update(self, batch) -> dict:
        self._events.append("dispatched")
        broken = self.broken(len(self.batches))
        self.batches.append(batch)
        names = ("loss", "logprob_difference", "logprob_difference_max")
        value = np.nan if broken else 0.5 + len(self.batches)
        values = dict.fromkeys(names, value) | {"skipped": float(broken)}
        return {name: Later(self._events, value) for name, value in values.items()}


class System:
    """What the loop needs of its `System`."""

    def __init__(
        self,
        events: list,
        broken: Callable[[int], bool],
        learner: LearnerConfig,
        environment: Environment,
    ) -> None:
        self.engines = dict.fromkeys(("policy", "simulator"), Engine())
        self.learner = Learner(events, broken, learner)
        self.environment = environment
        self.engine_dtype = jnp.dtype("float32")
        self.policy: dict | None = None

    def forget(self) -> None:
        self.engines["policy"].reset()

    def refresh_policy(self) -> None:
        self.use_policy(self.learner.state.params)

    def use_policy(self, params) -> None:
        self.policy = params


@dataclasses.dataclass
class Batch:
    """The samples, as they are."""

    groups: list
    num_tokens: int = 100
    tokens: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((1, 200)))
    old_logprobs: np.ndarray | None = None
    sampler_logprobs: np.ndarray | None = None


class Script:
    """Decides what becomes of tasks and episodes.

    Attributes:
      rewards: (step, task, episode) -> reward, or None for an invalid episode.
      task: (step, task, draw) -> the text of a task, or the cause of a failure after "!".
      broken: (number of the update) -> whether it is left out.
      events: what happened, in order.
      updates: what the curriculum was told, step by step.
    """

    def __init__(
        self,
        monkeypatch,
        rewards: Callable[[tuple], float | None],
        task: Callable[[tuple], str] = different,
        broken: Callable[[int], bool] = lambda update: False,
        **options,
    ) -> None:
        self.rewards, self.task, self.broken = rewards, task, broken
        self.events: list = []
        self.updates: list = []
        config = override(default(), OPTIONS | options)
        self.config = parse(config)
        monkeypatch.setattr(collect, "generate_task", self._generate)
        monkeypatch.setattr(collect, "run_episode", self._run)
        monkeypatch.setattr(learning, "pack", lambda groups, *_: Batch(groups))

    def trainer(self, should_stop=lambda: False) -> loop.Trainer:
        config = self.config
        environment = Environment(config.environment, None, None, config.engine.max_length, None)
        self.system = System(self.events, self.broken, config.learner, environment)
        trainer = loop.Trainer(
            config.training,
            self.system,
            Curriculum(config.curriculum),
            _repository(),
            Progress(9, enabled=False),
            should_stop,
            config.seed,
        )
        update = trainer.curriculum.update

        def seen(outcomes) -> None:
            self.updates.append([outcome.rewards for outcome in outcomes])
            update(outcomes)

        trainer.curriculum.update = seen
        return trainer

    def _generate(self, environment, tools, aspects, key, *, offered, recent, rejections):
        self.events.append(("task", key))
        text = self.task(key)
        if text.startswith("!"):
            return Failure("task", text[1:], "as scripted")
        return Task(tuple(tools), aspects, "p", text, (tools[0].name,), "q")
        yield

    def _run(self, environment, task, key, help=None):
        self.events.append(("episode", key))
        reward = self.rewards(key)
        verdict = Verdict("made up", (CriterionVerdict("intent_met", reward == 1),))
        cause = "user_length" if reward is None else None
        return Episode(
            task, key, (), (), (), "user", verdict if cause is None else None, reward, cause
        )
        yield
