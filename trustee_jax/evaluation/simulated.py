"""A policy in simulated episodes of tasks that it was never trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustee_jax import streams
from trustee_jax.curriculum import ASPECTS
from trustee_jax.engine.types import Role
from trustee_jax.environment import Environment, Episode, Task, run, run_episode, succeeded
from trustee_jax.environment.driver import SupportsRequests
from trustee_jax.evaluation.pairs import Difference, Pair, mean_interval, pair, percentile_interval
from trustee_jax.rates import Rate
from trustee_jax.streams import Purpose

_RESAMPLES = 10_000
_ASPECTS = (*(row.name for row in ASPECTS), "irrelevant")


@dataclass(frozen=True)
class Outcome:
    """What became of one episode.

    Attributes:
      id: Number of the task and of its episode.
      reward: As in training; None if the episode is invalid.
      success: By code alone; see `environment.succeeded`. None if invalid.
      cause: Why it is invalid; None if it is valid.
      difficulty: Of the task.
      aspects: Of the task, by name.
      valid_calls: Calls that fit their tools.
      malformed_calls: Attempts that could not be read.
    """

    id: str
    reward: float | None
    success: bool | None
    cause: str | None
    difficulty: float
    aspects: Mapping[str, float]
    valid_calls: int
    malformed_calls: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        """Reads what `to_json` returned; other fields are left out."""
        return cls(**{field.name: value[field.name] for field in dataclasses.fields(cls)})


def play(
    environment: Environment,
    engines: Mapping[Role, SupportsRequests],
    tasks: Sequence[Task],
    samples: int,
    *,
    step: int = 0,
    known: Mapping[str, Outcome] | None = None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """Plays episodes of each task, as they are played in training.

    Args:
      environment: The game.
      engines: By role.
      tasks: Of a task set.
      samples: Episodes of each.
      step: Training step of the policy; samples depend on it.
      known: Outcomes by id that need not be played again.
      on_outcome: Receives each as it is known.
      should_stop: Asked between engine steps.

    Returns:
      The outcomes in the order of tasks and episodes.

    Raises:
      Stopped: `should_stop` said so.
    """
    found = dict(known or {})

    def one(number: int, sample: int, id: str) -> Generator[Any, Any, None]:
        # Four numbers, where a training run's keys have three.
        key = (Purpose.EVALUATION, step, number, sample)
        episode = yield from run_episode(environment, tasks[number], key)
        found[id] = _outcome(id, episode)
        on_outcome(found[id])

    ids = {
        f"{number}.{sample}": (number, sample)
        for number in range(len(tasks))
        for sample in range(samples)
    }
    waiting = [one(*place, id) for id, place in ids.items() if id not in found]
    if waiting:
        threads = environment.config.tool_threads
        run(waiting, engines, threads=threads, should_stop=should_stop)
    return [found[id] for id in ids]


def _outcome(id: str, episode: Episode) -> Outcome:
    aspects = episode.task.aspects
    return Outcome(
        id=id,
        reward=episode.reward,
        success=succeeded(episode) if episode.valid else None,
        cause=episode.cause,
        difficulty=aspects.difficulty,
        aspects={name: float(getattr(aspects, name)) for name in _ASPECTS},
        valid_calls=episode.counts.valid_calls,
        malformed_calls=episode.counts.malformed_calls,
    )


@dataclass(frozen=True)
class Mean:
    """A mean with its uncertainty.

    Attributes:
      value: The mean; None of nothing.
      low: Lower end of the 95% interval: percentile bootstrap over tasks (Efron 1979).
      high: Upper end.
      of: Episodes.
    """

    value: float | None
    low: float
    high: float
    of: int

    def __str__(self) -> str:
        """As tables show it."""
        return (
            "-"
            if self.value is None
            else f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"
        )


@dataclass(frozen=True, eq=False)
class Row:
    """Some of the episodes.

    Attributes:
      name: Which.
      reward: Mean over the valid ones.
      success: By code, of the valid ones.
      valid: Of all.
    """

    name: str
    reward: Mean
    success: Rate
    valid: Rate

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "reward": dataclasses.asdict(self.reward),
            "success": self.success.to_json(),
            "valid": self.valid.to_json(),
        }


def compare(a: Mapping[str, Outcome], b: Mapping[str, Outcome]) -> tuple[Pair, Difference] | None:
    """Compares two policies by what both have valid episodes of.

    Args:
      a: Outcomes of the one, by id; one episode of each task.
      b: Those of the other.

    Returns:
      Success by code, and how much higher the mean reward of B is; None if they share nothing.
    """
    both = [(a[id], b[id]) for id in a if id in b and a[id].cause is None and b[id].cause is None]
    if not both:
        return None
    successes = [(bool(one.success), bool(other.success)) for one, other in both]
    rewards = np.array([(other.reward or 0.0) - (one.reward or 0.0) for one, other in both])
    difference = Difference(float(rewards.mean()), *mean_interval(rewards, "simulated reward"))
    return pair(successes, "simulated success"), difference


def summarize(outcomes: Sequence[Outcome]) -> list[Row]:
    """All episodes, those of each difficulty, and those of each value of an aspect that varies."""
    rows = [_row("all", outcomes)]
    for name, parts in _divisions(outcomes):
        if len(parts) > 1:
            rows += [_row(f"{name} {value:g}", parts[value]) for value in sorted(parts)]
    return rows


def scalars(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """What a training run shows of them, as metrics name it."""
    (whole, *_) = summarize(outcomes)
    values = {
        "reward": whole.reward.value,
        "success": whole.success.share,
        "valid": whole.valid.share,
        "calls": float(np.mean([one.valid_calls > 0 for one in outcomes])) if outcomes else None,
    }
    return {f"eval/simulated/{name}": v for name, v in values.items() if v is not None}


def _divisions(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, dict[float, list[Outcome]]]]:
    by_difficulty: dict[float, list[Outcome]] = {}
    for one in outcomes:
        by_difficulty.setdefault(one.difficulty, []).append(one)
    yield "difficulty", by_difficulty
    for name in _ASPECTS:
        parts: dict[float, list[Outcome]] = {}
        for one in outcomes:
            # Results from before an aspect was there lack it.
            parts.setdefault(one.aspects.get(name, 0.0), []).append(one)
        yield name, parts


def _row(name: str, outcomes: Sequence[Outcome]) -> Row:
    valid = [one for one in outcomes if one.cause is None]
    return Row(
        name=name,
        reward=_mean(valid),
        success=Rate(sum(bool(one.success) for one in valid), len(valid)),
        valid=Rate(len(valid), len(outcomes)),
    )


def _mean(valid: Sequence[Outcome]) -> Mean:
    """Of rewards; tasks are resampled, since the episodes of one are alike."""
    if not valid:
        return Mean(None, -1.0, 1.0, 0)
    tasks: dict[str, list[float]] = {}
    for one in valid:
        assert one.reward is not None
        tasks.setdefault(one.id.partition(".")[0], []).append(one.reward)
    sums = np.array([sum(rewards) for rewards in tasks.values()])
    counts = np.array([len(rewards) for rewards in tasks.values()])
    rng = streams.generator(Purpose.COMPARISON, 0, json.dumps(sorted(tasks)))
    drawn = rng.integers(0, len(tasks), (_RESAMPLES, len(tasks)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return Mean(float(sums.sum() / counts.sum()), *percentile_interval(means), len(valid))
