"""Options of the training loop."""

from __future__ import annotations

import dataclasses

from trustee_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How much is trained, and how often it is saved.

    Attributes:
      steps: Training steps in all; a resumed run goes on up to this number.
      tasks_per_step: Tasks generated in one step.
      group_size: Episodes of each task; GRPO compares them with each other.
      task_draws: Draws of tools and aspects for one task until the simulator writes a usable one;
        after that the step goes without it.
      checkpoint_every: Steps between two checkpoints. The last step is always saved.
      keep_last: Newest checkpoints that stay on disk.
      keep_best: Checkpoints with the highest mean reward that stay besides those.
    """

    steps: int = 200
    tasks_per_step: int = 16
    group_size: int = 8
    task_draws: int = 3
    checkpoint_every: int = 5
    keep_last: int = 2
    keep_best: int = 1

    def __post_init__(self) -> None:
        """Checks every number."""
        for name in ("steps", "tasks_per_step", "task_draws", "checkpoint_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "it must be at least 1")
        if self.group_size < 2:
            raise ConfigError(
                "group_size", self.group_size, "a group needs at least 2 episodes to compare"
            )
        if self.keep_best < 0:
            raise ConfigError("keep_best", self.keep_best, "it must be 0 (off) or more")
