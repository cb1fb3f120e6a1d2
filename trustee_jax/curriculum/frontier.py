"""A difficulty per aspect, each held where a given share of the valid episodes succeed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trustee_jax.curriculum.aspects import ASPECTS, PROBED, Aspects
from trustee_jax.curriculum.config import CurriculumConfig
from trustee_jax.curriculum.rules import Outcome, read_level


class Frontier:
    """Finds for each aspect k the level d_k at which `target` of the valid episodes succeed.

    Every task is a probe of one aspect, drawn uniformly: that aspect is at its frontier d_k, every
    other aspect at a level drawn uniformly from the least one to its own frontier, so that what has
    been reached keeps being practised and a failure speaks of the probed aspect. With n_k valid
    episodes of the tasks that probed k in a step, s_k of them with reward 1, and the target p,

        d_k <- clip(d_k + gain (s_k - p n_k) / (n_k + prior)).

    This is stochastic approximation (Robbins and Monro 1951, "A stochastic approximation method"),
    in psychophysics the weighted up-down staircase (Kaernbach 1991; after Wetherill and Levitt
    1965): a success lifts by 1 - p, a failure lowers by p, so that it is at rest where the success
    rate is p. The gain stays constant, because what it follows moves: a gain that decreases, as
    convergence to a resting point asks for, would lose a policy that learns. `prior` counts as
    episodes at the target. It bounds a move by gain max(p, 1 - p) and shrinks it where only few
    episodes are valid; an aspect that no valid episode probed stays.

    An aspect at its hardest may still be too easy. Its level then goes on rising, up to as far
    above `maximum` as that is above `minimum`, and draws its company from ever nearer to the
    others' frontiers: from all of their range at `maximum`, from the frontiers alone at the end.

    A step function of d_k (a persona has three levels) is no obstacle: the frontier then moves to
    and fro over the edge between the level that is too easy and the one that is too hard.

    An aspect without a frontier follows the highest of those that its row names. The soft
    curriculum's epsilon is not used.

    Attributes:
      config: The options.
      levels: Aspect -> its level, from `minimum` to 2 `maximum` - `minimum`.
    """

    def __init__(self, config: CurriculumConfig):
        """Starts all levels at `config.initial`."""
        self.config = config
        self.levels = dict.fromkeys(PROBED, float(config.initial))
        ramps = config.ramps
        self._moving = [name for name in PROBED if ramps[name].low < ramps[name].high]
        self._highest = 2 * config.maximum - config.minimum

    @property
    def difficulty(self) -> float:
        """The mean of the frontiers that can move, none counted as more than `maximum`."""
        frontiers = self._frontiers()
        listed = [frontiers[name] for name in self._moving or PROBED]
        return math.fsum(listed) / len(listed)

    def _frontiers(self) -> dict[str, float]:
        return {name: min(level, self.config.maximum) for name, level in self.levels.items()}

    def draw(self, rng: np.random.Generator) -> Aspects:
        """Draws the aspects of a task that probes one of them."""
        low, high = self.config.minimum, self.config.maximum
        frontiers, probed, nearness = self._frontiers(), None, 0.0
        if self._moving:
            probed = self._moving[int(rng.integers(len(self._moving)))]
            if self.levels[probed] > high:
                nearness = (self.levels[probed] - high) / (high - low)
        drawn = {
            name: frontier
            if name == probed
            else rng.uniform(low + nearness * (frontier - low), frontier)
            for name, frontier in frontiers.items()
        }
        for aspect in ASPECTS:
            if aspect.follows:
                drawn[aspect.name] = max(frontiers[name] for name in aspect.follows)
        ramps = self.config.ramps
        values: dict[str, Any] = {name: ramps[name](level) for name, level in drawn.items()}
        return Aspects(difficulty=self.difficulty, probed=probed, **values)

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Moves the level of every aspect that was probed."""
        options = self.config.frontier
        for name, level in self.levels.items():
            rewards = [r for o in outcomes if o.aspects.probed == name for r in o.rewards]
            if rewards:
                surplus = sum(reward >= 1 for reward in rewards) - options.target * len(rewards)
                moved = level + options.gain * surplus / (len(rewards) + options.prior)
                self.levels[name] = min(self._highest, max(self.config.minimum, moved))

    def metrics(self) -> dict[str, float]:
        """The levels, and the difficulty that they come to."""
        levels = {f"frontier_{name}": level for name, level in self.levels.items()}
        return {"difficulty": self.difficulty} | levels

    def state(self) -> dict[str, Any]:
        """The levels."""
        return {"levels": dict(self.levels)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state; raises ValueError if it is not one of this rule's."""
        levels = state.get("levels")
        if not isinstance(levels, Mapping):
            raise ValueError(
                f"curriculum state {dict(state)!r}: it has no levels of aspects; restore it with "
                "the config that it was saved under"
            )
        self.levels = {
            name: read_level(levels, name, self.config.minimum, self._highest) for name in PROBED
        }
