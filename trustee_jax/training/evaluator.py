"""What measures the policy of a run as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      score: What checkpoints are ranked by, higher is better; None if nothing could be measured.
      scalars: For TensorBoard.
      note: For a reader, one line.
    """

    score: float | None
    scalars: Mapping[str, float]
    note: str


class Evaluator(Protocol):
    """Measures the policy that the engine has."""

    @property
    def every(self) -> int:
        """Steps between two evaluations."""

    def __call__(self, step: int) -> Evaluation:
        """Evaluates the policy after that many steps.

        Raises:
          Stopped: The run was asked to stop.
        """
