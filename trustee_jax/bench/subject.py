"""What is measured."""

from __future__ import annotations

import dataclasses

from trustee_jax.bench.costs import Costs
from trustee_jax.bench.machine import Roofline
from trustee_jax.curriculum import CurriculumConfig
from trustee_jax.engine import Engine
from trustee_jax.toolsets import ToolRepository
from trustee_jax.training.config import TrainingConfig
from trustee_jax.training.system import System


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """The objects of a run, and what they are measured against.

    Attributes:
      system: What computes. Its learner's updates should change nothing, so that runs repeat.
      training: What a step consists of.
      curriculum: Where its difficulty stands.
      repository: The tools that tasks are about.
      seed: What is random follows from it.
      costs: Of the policy.
      roofline: Of the machine.
    """

    system: System
    training: TrainingConfig
    curriculum: CurriculumConfig
    repository: ToolRepository
    seed: int
    costs: Costs
    roofline: Roofline

    @property
    def engine(self) -> Engine:
        """The policy's."""
        return self.system.engines["policy"]
