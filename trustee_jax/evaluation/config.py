"""Options of evaluations during a run."""

from __future__ import annotations

import dataclasses

from trustee_jax.errors import ConfigError, at_least
from trustee_jax.evaluation.board import CategoryError, choose_categories


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How a run is measured as it goes, apart from the episodes that it learns from.

    Attributes:
      every: Steps between two evaluations; the first is before step 1, and the last step is always
        evaluated. 0: none. The checkpoint that counts as best is then that of the best evaluation,
        not of the highest mean reward, which rises where tasks are easy.
      tasks: File of tasks that `trustee eval tasks` wrote, played as in training.
      episodes: Of each of these tasks.
      bfcl: Categories or groups of the Berkeley Function-Calling Leaderboard, answered greedily;
        see `trustee eval bfcl`. With both, the best evaluation is that with the best share of right
        answers here.
      limit: Cases of each category.
      max_tokens: Longest answer to a case, in tokens.
    """

    every: int = 0
    tasks: str | None = None
    episodes: int = 1
    bfcl: tuple[str, ...] = ()
    limit: int = 50
    max_tokens: int = 512

    def __post_init__(self) -> None:
        at_least(self, 0, "every")
        at_least(self, 1, "episodes", "limit", "max_tokens")
        if self.bfcl:
            try:
                choose_categories(self.bfcl)
            except CategoryError as error:
                fix = str(error).removeprefix("--categories: ")
                raise ConfigError("bfcl", self.bfcl, fix) from None
        if self.every and not (self.tasks or self.bfcl):
            fix = (
                "there is nothing to evaluate by; name evaluation.tasks (`trustee eval tasks` "
                "writes them) or evaluation.bfcl, or set it to 0"
            )
            raise ConfigError("every", self.every, fix)
