"""What one task shall be like."""

import dataclasses
from dataclasses import dataclass
from typing import Any

# Assistant turns that a task of turns level 0, 1, 2 needs at least: one or two, several, many.
TURNS_NEEDED = (1, 3, 5)
# What the soft curriculum redraws.
REDRAWN = ("tools", "calls", "persona", "ambiguity", "turns")


@dataclass(frozen=True)
class Aspects:
    """What one task shall be like; the integers mean what `CurriculumConfig` says of them.

    Attributes:
      difficulty: the difficulty that it was drawn at.
      redrawn: whether the soft curriculum redrew the five aspects that it may redraw.
      probed: the aspect that is at its frontier; None under the rules without one.
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

    @property
    def reachable_turns(self) -> int:
        """Assistant turns that the limits leave room for.

        Every assistant turn but the last is followed by a user turn or a tool turn.
        """
        return min(self.assistant_turns, 1 + self.user_turns + self.tool_turns)

    def coherent(self) -> "Aspects":
        """Returns these aspects with no more turns asked for than the limits can hold."""
        held = sum(needed <= self.reachable_turns for needed in TURNS_NEEDED) - 1
        return dataclasses.replace(self, turns=min(self.turns, held))

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return dataclasses.asdict(self)
