"""The aspects of a task: one table, from which options, draws, metrics and displays follow."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from trustee_jax.errors import ConfigError

# Assistant turns that a task of turns level 0, 1, 2 needs at least: one or two, several, many.
TURNS_NEEDED = (1, 3, 5)
# 0.07 * 100 is 7.000000000000001, and 0.29 * 100 is 28.999999999999996.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ramp:
    """One aspect as a function of difficulty: clip(offset + floor(slope D), low, high).

    Attributes:
      slope: Growth per unit of difficulty, not negative.
      low: The least value.
      high: The greatest value.
      offset: The value at D = 0 before clipping.
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
class Aspect:
    """One row of `ASPECTS`.

    Every aspect is an integer on a ramp over the difficulty: a number, numbered levels, or, from 0
    to 1, a switch.

    Attributes:
      name: Of its field in `Aspects`, its option and its metric.
      ramp: Default of its option.
      meaning: What its values are.
      least: Least value that the ramp may reach.
      most: Greatest value that the ramp may reach; None where there is no bound.
      redrawn: Whether the soft curriculum redraws it, uniformly over its ramp's range.
      follows: Frontier rule: the aspects of whose frontiers it follows the highest; if there are
        none, it has a frontier of its own and is probed.
      needs: Aspects that are pinned together with it, because it cannot be at its hardest
        without them.
      requested: Whether the template task.jinja receives it, under its name.
    """

    name: str
    ramp: Ramp
    meaning: str
    least: int = 0
    most: int | None = None
    redrawn: bool = False
    follows: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    requested: bool = False

    def check(self, ramp: Ramp) -> None:
        """Raises ConfigError if the ramp reaches values that the aspect does not have."""
        if self.most is not None and ramp.high > self.most:
            fix = f"there are levels up to {self.most} only"
            raise ConfigError(f"{self.name}.high", ramp.high, fix)
        if ramp.low < self.least:
            raise ConfigError(f"{self.name}.low", ramp.low, f"give {self.least} or more")


_LIMITS = ("user_turns", "assistant_turns", "tool_turns")
# As on the method's one line: room for the turns that are asked for, a tool turn for each call.
_ROOM = ("turns", "calls")

ASPECTS = (
    Aspect(
        "tools",
        Ramp(slope=0.10, low=1, high=10),
        "tools that the policy is offered",
        least=1,
        redrawn=True,
    ),
    Aspect(
        "calls",
        Ramp(slope=0.03, low=1, high=3),
        "calls that a task expects",
        least=1,
        redrawn=True,
        requested=True,
    ),
    Aspect(
        "persona",
        Ramp(slope=0.02, low=0, high=2),
        "0 expert, 1 beginner, 2 novice",
        most=2,
        redrawn=True,
        requested=True,
    ),
    Aspect(
        "ambiguity",
        Ramp(slope=0.02, low=0, high=2),
        "of the first query; 0 clear, 1 somewhat, 2 highly ambiguous",
        most=2,
        redrawn=True,
        requested=True,
    ),
    Aspect(
        "turns",
        Ramp(slope=0.02, low=0, high=2),
        "assistant turns that a task asks for; 0 one or two, 1 several, 2 many",
        most=2,
        redrawn=True,
        needs=_LIMITS,
        requested=True,
    ),
    Aspect(
        "criteria",
        Ramp(slope=0.04, low=1, high=5, offset=1),
        "how many of the verifier's ordered criteria count",
        least=1,
        most=5,
    ),
    Aspect(
        "system_prompt",
        Ramp(slope=0.03, low=0, high=3),
        "0 detailed, 1 medium, 2 brief, 3 one line",
        most=3,
    ),
    Aspect(
        "user_turns",
        Ramp(slope=0.03, low=1, high=3),
        "limit on the user's messages after the first query",
        follows=_ROOM,
    ),
    Aspect(
        "assistant_turns",
        Ramp(slope=0.06, low=2, high=6),
        "limit on the policy's messages",
        least=1,
        follows=_ROOM,
    ),
    Aspect(
        "tool_turns",
        Ramp(slope=0.03, low=1, high=3),
        "limit on the turns in which tools answer",
        follows=_ROOM,
    ),
)
"""All aspects, in the order in which they are drawn.

A new one is a row here, a field of `Aspects`, and the words of a prompt or the code that heed it.
"""

PROBED = tuple(aspect.name for aspect in ASPECTS if not aspect.follows)
"""The aspects that have a frontier, which moves unless their ramps are pinned."""


@dataclass(frozen=True)
class Aspects:
    """What one task shall be like; a field for each row of `ASPECTS`, which says what it means.

    An aspect added later has a default: what records from before it are read with.

    Attributes:
      difficulty: The difficulty that it was drawn at.
      redrawn: Whether the soft curriculum redrew the aspects that it may redraw.
      probed: The aspect that is at its frontier; None under the rules without one.
      irrelevant: Whether the tools on offer are irrelevant: none serves the user, and none is to be
        called.
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
    probed: str | None = None
    irrelevant: bool = False

    @property
    def reachable_turns(self) -> int:
        """Assistant turns that the limits leave room for.

        Every assistant turn but the last is followed by a user turn or a tool turn.
        """
        return min(self.assistant_turns, 1 + self.user_turns + self.tool_turns)

    @property
    def requested(self) -> dict[str, int]:
        """What the task generator is asked for, by name."""
        return {row.name: getattr(self, row.name) for row in ASPECTS if row.requested}

    def coherent(self) -> "Aspects":
        """Returns these aspects with no more turns asked for than the limits can hold."""
        held = sum(needed <= self.reachable_turns for needed in TURNS_NEEDED) - 1
        return dataclasses.replace(self, turns=min(self.turns, held))

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return dataclasses.asdict(self)
