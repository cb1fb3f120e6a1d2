"""The curriculum of a run: draws aspects, and moves by what became of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trustee_jax.curriculum.aspects import Aspects
from trustee_jax.curriculum.config import CurriculumConfig
from trustee_jax.curriculum.config import Rule as RuleName
from trustee_jax.curriculum.frontier import Frontier
from trustee_jax.curriculum.rules import Fixed, Outcome, Rule, Scalar

_RULES: dict[RuleName, Callable[[CurriculumConfig], Rule]] = {
    "scalar": Scalar,
    "frontier": Frontier,
    "fixed": Fixed,
}


class Curriculum:
    """Draws the aspects of tasks and moves their difficulty by the rule of its config.

    Each aspect is a `Ramp`, a line over the difficulty that is rounded down and clipped, so that
    every number of the schedule is an option and an aspect is pinned by giving its ramp equal ends.

    Attributes:
      config: The options.
    """

    def __init__(self, config: CurriculumConfig | None = None):
        """Starts at `config.initial` (default options if no config is given)."""
        self.config = config or CurriculumConfig()
        self._rule: Rule = _RULES[self.config.rule](self.config)

    @property
    def difficulty(self) -> float:
        """The current difficulty, within [config.minimum, config.maximum]."""
        return self._rule.difficulty

    def aspects(self, rng: np.random.Generator) -> Aspects:
        """Draws the aspects of one task.

        The level of turns is lowered to one that the turn limits can hold (`TURNS_NEEDED`), which
        with the default ramps touches redrawn tasks only.

        Args:
          rng: The only source of randomness.
        """
        aspects = self._rule.draw(rng).coherent()
        if self.config.irrelevance:
            irrelevant = bool(rng.random() < self.config.irrelevance)
            aspects = dataclasses.replace(aspects, irrelevant=irrelevant)
        return aspects

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Moves after a step.

        Args:
          outcomes: Of all tasks that were played, also of those that nothing was learnt from: a
            selection of groups by their rewards would bias the mean.
        """
        self._rule.update(outcomes)

    def metrics(self) -> dict[str, float]:
        """Returns what the curriculum holds by name: "difficulty", and "frontier_<aspect>"."""
        return self._rule.metrics()

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs, as JSON values."""
        return self._rule.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state that `state` returned.

        Raises:
          ValueError: The state is not one of this curriculum's.
        """
        self._rule.restore(state)
