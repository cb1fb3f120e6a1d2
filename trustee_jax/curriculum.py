"""The adaptive curriculum: difficulty -> aspects of a task -> next difficulty.

`Curriculum.aspects` draws what one task shall be like at the current difficulty D, and
`Curriculum.update` moves D by the mean reward of a step. Each aspect is a `Ramp`, a line over D
that is rounded down and clipped, so that every number of the schedule is an option and an aspect
is pinned by giving its ramp equal ends.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustee_jax.errors import ConfigError

# Assistant turns that a task of turns level 0, 1, 2 needs at least: one or two, several, many.
TURNS_NEEDED = (1, 3, 5)
REDRAWN = ("tools", "calls", "persona", "ambiguity", "turns")
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
class CurriculumConfig:
    """Options of the curriculum.

    Attributes:
      initial: difficulty of the first step.
      minimum: least difficulty.
      maximum: greatest difficulty.
      increase: added to the difficulty after a step whose mean reward is at least `raise_at`.
      decrease: subtracted after a step whose mean reward is at most `lower_at`.
      raise_at: mean reward from which the difficulty rises.
      lower_at: mean reward up to which the difficulty falls.
      epsilon: probability that a task redraws tools, calls, persona, ambiguity and turns
        uniformly over their full ranges (the soft curriculum); 0 turns it off.
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

    initial: float = 1.0
    minimum: float = 1.0
    maximum: float = 100.0
    increase: float = 3.0
    decrease: float = 3.0
    raise_at: float = 0.5
    lower_at: float = 0.0
    epsilon: float = 0.5
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


@dataclass(frozen=True)
class Aspects:
    """What one task shall be like; the integers mean what `CurriculumConfig` says of them.

    Attributes:
      difficulty: the difficulty that it was drawn at.
      redrawn: whether the soft curriculum redrew the five aspects that it may redraw.
    """

    difficulty: float
    tools: int
    calls: int
    persona: int
    ambiguity: int
    turns: int
    criteria: int
    system_prompt: int
    user_turns: int
    assistant_turns: int
    tool_turns: int
    redrawn: bool = False

    @property
    def reachable_turns(self) -> int:
        """Assistant turns that the limits leave room for.

        Every assistant turn but the last is followed by a user turn or a tool turn.
        """
        return min(self.assistant_turns, 1 + self.user_turns + self.tool_turns)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return dataclasses.asdict(self)


class Curriculum:
    """Holds the difficulty, draws aspects at it and moves it.

    Attributes:
      config: the options.
      difficulty: the current difficulty, within [config.minimum, config.maximum].
    """

    def __init__(self, config: CurriculumConfig | None = None):
        """Starts at `config.initial` (default options if no config is given)."""
        self.config = config or CurriculumConfig()
        self.difficulty = float(self.config.initial)

    def aspects(self, rng: np.random.Generator) -> Aspects:
        """Draws the aspects of one task at the current difficulty.

        The level of turns is lowered to one that the turn limits can hold (`TURNS_NEEDED`), which
        with the default ramps touches redrawn tasks only.

        Args:
          rng: the only source of randomness; a config with epsilon 0 leaves the result fixed.
        """
        config = self.config
        ramps = {n: r for n, r in vars(config).items() if isinstance(r, Ramp)}
        values = {name: ramp(self.difficulty) for name, ramp in ramps.items()}
        redrawn = bool(rng.random() < config.epsilon)
        if redrawn:
            for name in REDRAWN:
                low, high = ramps[name].low, ramps[name].high
                values[name] = int(rng.integers(low, high, endpoint=True))
        drawn = Aspects(difficulty=self.difficulty, redrawn=redrawn, **values)
        held = sum(needed <= drawn.reachable_turns for needed in TURNS_NEEDED) - 1
        return dataclasses.replace(drawn, turns=min(drawn.turns, held))

    def update(self, mean_reward: float | None) -> None:
        """Moves the difficulty after a step.

        Args:
          mean_reward: mean over the step's valid episodes, in [-1, 1]; None where no episode was
            valid, which leaves the difficulty where it is.

        Raises:
          ValueError: the mean is not a number from -1 to 1.
        """
        if mean_reward is None:
            return
        if not -1 <= mean_reward <= 1:
            raise ValueError(
                f"mean reward {mean_reward}: must lie in [-1, 1]; pass None if no episode was valid"
            )
        config = self.config
        if mean_reward >= config.raise_at:
            self.difficulty = min(config.maximum, self.difficulty + config.increase)
        elif mean_reward <= config.lower_at:
            self.difficulty = max(config.minimum, self.difficulty - config.decrease)

    def state(self) -> dict[str, float]:
        """Returns all that `restore` needs, as JSON values."""
        return {"difficulty": self.difficulty}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state that `state` returned.

        Raises:
          ValueError: the state is not one of this curriculum's.
        """
        difficulty = state.get("difficulty")
        low, high = self.config.minimum, self.config.maximum
        if not isinstance(difficulty, int | float) or not low <= difficulty <= high:
            raise ValueError(
                f"curriculum state {dict(state)!r}: difficulty must be a number from {low} to "
                f"{high}; restore it with the config that it was saved under"
            )
        self.difficulty = float(difficulty)
