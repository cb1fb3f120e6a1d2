"""What moves the difficulty: the method's scalar rule, and none at all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trustee_jax.curriculum.aspects import ASPECTS, Aspects
from trustee_jax.curriculum.config import CurriculumConfig


@dataclass(frozen=True)
class Outcome:
    """What a step's episodes of one task say.

    Attributes:
      aspects: Of the task.
      rewards: Of its valid episodes, each from -1 to 1. Invalid ones say nothing.
    """

    aspects: Aspects
    rewards: tuple[float, ...]

    def __post_init__(self) -> None:
        for reward in self.rewards:
            if not -1 <= reward <= 1:
                raise ValueError(
                    f"reward {reward}: must lie in [-1, 1]; leave invalid episodes out"
                )


class Rule(Protocol):
    """Holds what moves."""

    @property
    def difficulty(self) -> float:
        """One number for all aspects."""

    def draw(self, rng: np.random.Generator) -> Aspects:
        """Draws the aspects of a task; the turns may be more than the limits can hold."""

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Moves after a step."""

    def metrics(self) -> dict[str, float]:
        """What a reader wants to see of the state, by name."""

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as JSON values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state; raises ValueError if it is not one of this rule's."""


class Fixed:
    """One difficulty, which stays; the soft curriculum still redraws.

    Attributes:
      config: The options.
      difficulty: Within [config.minimum, config.maximum].
    """

    def __init__(self, config: CurriculumConfig):
        """Starts at `config.initial`."""
        self.config = config
        self.difficulty = float(config.initial)

    def draw(self, rng: np.random.Generator) -> Aspects:
        """Draws the aspects of a task at the difficulty."""
        ramps = self.config.ramps
        values: dict[str, Any] = {name: ramp(self.difficulty) for name, ramp in ramps.items()}
        redrawn = bool(rng.random() < self.config.epsilon)
        if redrawn:
            for name in (aspect.name for aspect in ASPECTS if aspect.redrawn):
                low, high = ramps[name].low, ramps[name].high
                values[name] = int(rng.integers(low, high, endpoint=True))
        return Aspects(difficulty=self.difficulty, redrawn=redrawn, **values)

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Changes nothing."""

    def metrics(self) -> dict[str, float]:
        """The difficulty."""
        return {"difficulty": self.difficulty}

    def state(self) -> dict[str, Any]:
        """The difficulty."""
        return {"difficulty": self.difficulty}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state; raises ValueError if it is not one of this rule's."""
        self.difficulty = read_level(state, "difficulty", self.config.minimum, self.config.maximum)


class Scalar(Fixed):
    """One difficulty, moved by the mean reward of a step's valid episodes (arXiv 2604.17739)."""

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Adds `increase` from a mean of `raise_at` on, subtracts `decrease` up to `lower_at`.

        A step without a valid episode leaves the difficulty where it is.
        """
        rewards = [reward for outcome in outcomes for reward in outcome.rewards]
        if not rewards:
            return
        # Sums of many floats can miss a threshold that their mean is at.
        mean = math.fsum(rewards) / len(rewards)
        config = self.config
        if mean >= config.raise_at:
            self.difficulty = min(config.maximum, self.difficulty + config.increase)
        elif mean <= config.lower_at:
            self.difficulty = max(config.minimum, self.difficulty - config.decrease)


def read_level(state: Mapping[str, Any], name: str, low: float, high: float) -> float:
    """A difficulty out of a saved state.

    Raises:
      ValueError: It is not there, or not within [low, high].
    """
    level = state.get(name)
    if isinstance(level, bool) or not isinstance(level, int | float) or not low <= level <= high:
        raise ValueError(
            f"curriculum state {dict(state)!r}: {name} must be a number from {low} to {high}; "
            "restore it with the config that it was saved under"
        )
    return float(level)
