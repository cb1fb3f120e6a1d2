"""Options of evaluations during a run."""

from __future__ import annotations

import dataclasses

from trustee_jax.errors import ConfigError, at_least


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How a run is measured as it goes, apart from the episodes that it learns from.

    Attributes:
      every: Steps between two evaluations; the first is before step 1, and the last step is always
        evaluated. 0: none. The checkpoint that counts as best is then that of the best evaluation,
        not of the highest mean reward, which rises where tasks are easy.
      tasks: File of tasks that `trustee eval tasks` wrote, played as in training.
      episodes: Of each of these tasks.
    """

    every: int = 0
    tasks: str | None = None
    episodes: int = 1

    def __post_init__(self) -> None:
        at_least(self, 0, "every")
        at_least(self, 1, "episodes")
        if self.every and not self.tasks:
            fix = "there is nothing to evaluate by; write tasks with `trustee eval tasks`"
            raise ConfigError("tasks", self.tasks, fix)
