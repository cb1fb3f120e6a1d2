"""Options of the curriculum."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from trustee_jax.errors import ConfigError

Rule = Literal["scalar", "frontier", "fixed"]
# 0.07 * 100 is 7.000000000000001, and 0.29 * 100 is 28.999999999999996.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ramp:
    """One aspect as a function of difficulty: clip(offset + floor(slope D), low, high).

    Attributes:
      slope: growth per unit of difficulty, not negative.
      low: the least value.
      high: the greatest value.
      offset: the value at D = 0 before clipping.
    """

    slope: float
    low: int
    high: int
    offset: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.slope < math.inf:
            raise ConfigError("slope", self.slope, "give a finite number that is not negative")
        if self.low < 0:
            raise ConfigError("low", self.low, "give 0 or more")
        if self.high < self.low:
            raise ConfigError("high", self.high, f"give at least low, which is {self.low}")

    def __call__(self, difficulty: float) -> int:
        """Returns the value at a difficulty."""
        value = self.offset + math.floor(self.slope * difficulty + _ROUNDING)
        return min(self.high, max(self.low, value))


@dataclass(frozen=True)
class FrontierConfig:
    """Options of the frontier rule; see `frontier.Frontier`.

    Attributes:
      target: share of the valid episodes that shall earn reward 1 at an aspect's frontier.
      gain: how far a frontier moves when the share is 1 above or below the target and episodes
        abound.
      prior: episodes, as if seen at the target, that are added to those of a step: few real ones
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
class CurriculumConfig:
    """Options of the curriculum.

    Attributes:
      rule: what moves the difficulty. "scalar": one difficulty, moved by a step's mean reward, as
        in the method. "frontier": one per aspect, each moved to where `frontier.target` of the
        valid episodes succeed. "fixed": nothing moves.
      initial: difficulty of the first step.
      minimum: least difficulty.
      maximum: greatest difficulty.
      increase: scalar rule: added to the difficulty after a step whose mean reward is at least
        `raise_at`.
      decrease: scalar rule: subtracted after a step whose mean reward is at most `lower_at`.
      raise_at: mean reward from which the difficulty rises.
      lower_at: mean reward up to which the difficulty falls.
      epsilon: scalar and fixed rule: probability that a task redraws tools, calls, persona,
        ambiguity and turns uniformly over their full ranges (the soft curriculum); 0 turns it off.
      frontier: options of the frontier rule.
      tools: tools that the policy is offered.
      calls: calls that a task expects.
      persona: 0 expert, 1 beginner, 2 novice.
      ambiguity: of the first query; 0 clear, 1 somewhat, 2 highly ambiguous.
      turns: assistant turns that a task asks for; 0 one or two, 1 several, 2 many.
      criteria: how many of the verifier's ordered criteria count.
      system_prompt: 0 detailed, 1 medium, 2 brief, 3 one line.
      user_turns: limit on the user's messages after the first query.
      assistant_turns: limit on the policy's messages.
      tool_turns: limit on the turns in which tools answer.
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
    frontier: FrontierConfig = FrontierConfig()
    tools: Ramp = Ramp(slope=0.10, low=1, high=10)
    calls: Ramp = Ramp(slope=0.03, low=1, high=3)
    persona: Ramp = Ramp(slope=0.02, low=0, high=2)
    ambiguity: Ramp = Ramp(slope=0.02, low=0, high=2)
    turns: Ramp = Ramp(slope=0.02, low=0, high=2)
    criteria: Ramp = Ramp(slope=0.04, low=1, high=5, offset=1)
    system_prompt: Ramp = Ramp(slope=0.03, low=0, high=3)
    user_turns: Ramp = Ramp(slope=0.03, low=1, high=3)
    assistant_turns: Ramp = Ramp(slope=0.06, low=2, high=6)
    tool_turns: Ramp = Ramp(slope=0.03, low=1, high=3)

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
        if not 0 <= self.epsilon <= 1:
            raise ConfigError("epsilon", self.epsilon, "give a probability from 0 to 1")
        if not self.lower_at < self.raise_at:
            raise ConfigError(
                "raise_at", self.raise_at, f"give more than lower_at = {self.lower_at}"
            )
        levels = {"persona": 2, "ambiguity": 2, "turns": 2, "system_prompt": 3, "criteria": 5}
        for name, high in levels.items():
            if getattr(self, name).high > high:
                raise ConfigError(
                    f"{name}.high", getattr(self, name).high, f"there are levels up to {high} only"
                )
        for name in ("tools", "calls", "criteria", "assistant_turns"):
            if getattr(self, name).low < 1:
                raise ConfigError(f"{name}.low", getattr(self, name).low, "give 1 or more")

    @property
    def ramps(self) -> dict[str, Ramp]:
        """Every aspect's ramp, by its name."""
        return {name: ramp for name, ramp in vars(self).items() if isinstance(ramp, Ramp)}
