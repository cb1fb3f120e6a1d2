"""The verdict on an episode, by parts, and the reward that code makes of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """What the verifier says of one criterion.

    Attributes:
      criterion: its name.
      met: whether it is met.
      probability: of "met", read from the log-probabilities of the two answers; None where the
        answer alone is known.
      line: the line of the transcript, from 1, that shows it best; None if none was asked for.
      reasoning: its reasons; "" if none were asked for.
    """

    criterion: str
    met: bool
    probability: float | None = None
    line: int | None = None
    reasoning: str = ""


@dataclass(frozen=True)
class Veto:
    """A criterion that code knows not to be met, whatever the verifier says.

    Attributes:
      criterion: its name.
      check: the check that found it.
      reason: what it found, for a reader.
    """

    criterion: str
    check: str
    reason: str


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the verifier found, and what code added to it.

    Attributes:
      mode: how the parts were had; see `JudgeConfig`.
      parts: one per criterion, in their order.
      vetoes: of criteria among these.
    """

    mode: str
    parts: tuple[Part, ...]
    vetoes: tuple[Veto, ...] = ()

    @property
    def criteria(self) -> dict[str, bool]:
        """Criterion -> met; a veto only ever turns a met one into one that is not."""
        vetoed = {veto.criterion for veto in self.vetoes}
        return {part.criterion: part.met and part.criterion not in vetoed for part in self.parts}

    @property
    def reward(self) -> float:
        """1 if all criteria are met, 0 if at least half of them are, else -1."""
        return reward_of(self.criteria.values())

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as plain JSON values."""
        return {
            "mode": self.mode,
            "parts": [asdict(part) for part in self.parts],
            "vetoes": [asdict(veto) for veto in self.vetoes],
            "criteria": self.criteria,
        }


def reward_of(met: Iterable[bool]) -> float:
    """1 if all are met, 0 if at least half of them are, else -1 (arXiv 2604.17739)."""
    listed = list(met)
    if all(listed):
        return 1.0
    return 0.0 if 2 * sum(listed) >= len(listed) else -1.0
