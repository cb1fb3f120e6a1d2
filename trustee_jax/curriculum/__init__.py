"""The adaptive curriculum: difficulty -> aspects of a task -> next difficulty; no JAX."""

from trustee_jax.curriculum.aspects import REDRAWN, TURNS_NEEDED, Aspects
from trustee_jax.curriculum.config import CurriculumConfig, FrontierConfig, Ramp
from trustee_jax.curriculum.curriculum import Curriculum
from trustee_jax.curriculum.frontier import PROBED
from trustee_jax.curriculum.rules import Outcome

__all__ = [
    "PROBED",
    "REDRAWN",
    "TURNS_NEEDED",
    "Aspects",
    "Curriculum",
    "CurriculumConfig",
    "FrontierConfig",
    "Outcome",
    "Ramp",
]
