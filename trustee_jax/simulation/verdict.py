"""The verdict on an episode, by parts, and the reward that code makes of it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the verifier found.

    Attributes:
      reasoning: its reasons, in short.
      criteria: name -> met, for the first k criteria.
    """

    reasoning: str
    criteria: dict[str, bool]

    @property
    def reward(self) -> float:
        """1 if all criteria are met, 0 if at least half of them are, else -1."""
        met, asked = sum(self.criteria.values()), len(self.criteria)
        if met == asked:
            return 1.0
        return 0.0 if 2 * met >= asked else -1.0

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as plain JSON values."""
        return {"reasoning": self.reasoning, "criteria": dict(self.criteria)}
