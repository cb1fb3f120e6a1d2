"""A run as a job: `trustee train`, until it has all its steps."""

from __future__ import annotations

import dataclasses

from trustee_jax.processes import Job
from trustee_jax.training.workdir import Layout, saved_steps


@dataclasses.dataclass
class Training(Job):
    """Trains a run; its folder is the workdir.

    Attributes:
      steps: Steps that it has when it is complete.
    """

    steps: int

    @property
    def step(self) -> int:
        """Of the newest checkpoint, 0 if there is none."""
        return max(saved_steps(Layout(self.folder)), default=0)

    def complete(self) -> bool:
        """Whether it has its last checkpoint."""
        return self.step >= self.steps

    def begun(self) -> bool:
        """Whether it has one at all."""
        return self.step > 0

    def progress(self) -> str:
        """The step that it is at."""
        return f"at step {self.step} of {self.steps}"
