"""Options of the curriculum."""

import math
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from trustee_jax.curriculum.aspects import ASPECTS, Ramp
from trustee_jax.errors import ConfigError

Rule = Literal["scalar", "frontier", "fixed"]
_T = TypeVar("_T")


def _with_ramps(section: type[_T]) -> type[_T]:
    """Gives the section an option for each row of `ASPECTS`, after its own."""
    for aspect in ASPECTS:
        section.__annotations__[aspect.name] = Ramp
        setattr(section, aspect.name, aspect.ramp)
    return section


@dataclass(frozen=True)
class FrontierConfig:
    """Options of the frontier rule; see `frontier.Frontier`.

    Attributes:
      target: Share of the valid episodes that shall earn reward 1 at an aspect's frontier.
      gain: How far a frontier moves when the share is 1 above or below the target and episodes
        abound.
      prior: Episodes, as if seen at the target, that are added to those of a step: few real ones
        then move a frontier little.
    """

    target: float = 0.5
    gain: float = 16.0
    prior: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ConfigError("frontier.target", self.target, "give a share between 0 and 1")
        if not 0 < self.gain < math.inf:
            raise ConfigError("frontier.gain", self.gain, "give a finite number above 0")
        if not 0 <= self.prior < math.inf:
            fix = "give a finite number that is not negative"
            raise ConfigError("frontier.prior", self.prior, fix)


@dataclass(frozen=True)
@_with_ramps
class CurriculumConfig:
    """Options of the curriculum, and for each aspect its `Ramp`, under its name in `ASPECTS`.

    Attributes:
      rule: What moves the difficulty. "scalar": one difficulty, moved by a step's mean reward, as
        in the method. "frontier": one per aspect, each moved to where `frontier.target` of the
        valid episodes succeed. "fixed": nothing moves.
      initial: Difficulty of the first step.
      minimum: Least difficulty.
      maximum: Greatest difficulty.
      increase: Scalar rule: added to the difficulty after a step whose mean reward is at least
        `raise_at`.
      decrease: Scalar rule: subtracted after a step whose mean reward is at most `lower_at`.
      raise_at: Mean reward from which the difficulty rises.
      lower_at: Mean reward up to which the difficulty falls.
      epsilon: Scalar and fixed rule: probability that a task redraws the aspects that may be
        redrawn, uniformly over their full ranges (the soft curriculum); 0 turns it off.
      irrelevance: Probability that the policy is offered tools of another category than the one
        that its task is about, of which none is to be called, whatever the rule.
      frontier: Options of the frontier rule.
    """

    rule: Rule = "scalar"
    initial: float = 1.0
    minimum: float = 1.0
    maximum: float = 100.0
    increase: float = 3.0
    decrease: float = 3.0
    raise_at: float = 0.5
    lower_at: float = 0.0
    epsilon: float = 0.5
    irrelevance: float = 0.0
    frontier: FrontierConfig = FrontierConfig()

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ConfigError("rule", self.rule, f"give one of {', '.join(get_args(Rule))}")
        for name in ("initial", "minimum", "maximum", "increase", "decrease"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(name, value, "give a finite number that is not negative")
        if self.maximum < self.minimum:
            raise ConfigError("maximum", self.maximum, f"give at least minimum ({self.minimum})")
        if not self.minimum <= self.initial <= self.maximum:
            raise ConfigError(
                "initial", self.initial, f"give a value from {self.minimum} to {self.maximum}"
            )
        for name in ("epsilon", "irrelevance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, getattr(self, name), "give a probability from 0 to 1")
        if not self.lower_at < self.raise_at:
            raise ConfigError(
                "raise_at", self.raise_at, f"give more than lower_at = {self.lower_at}"
            )
        ramps = self.ramps
        for aspect in ASPECTS:
            aspect.check(ramps[aspect.name])

    @property
    def ramps(self) -> dict[str, Ramp]:
        """Every aspect's ramp, by its name."""
        return {aspect.name: getattr(self, aspect.name) for aspect in ASPECTS}
