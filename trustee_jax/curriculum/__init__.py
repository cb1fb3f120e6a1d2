"""The adaptive curriculum: difficulty -> aspects of a task -> next difficulty; no JAX."""

from trustee_jax.curriculum.aspects import ASPECTS, PROBED, Aspect, Aspects, Ramp
from trustee_jax.curriculum.config import CurriculumConfig, FrontierConfig
from trustee_jax.curriculum.curriculum import Curriculum
from trustee_jax.curriculum.rules import Outcome

__all__ = [
    "ASPECTS",
    "PROBED",
    "Aspect",
    "Aspects",
    "Curriculum",
    "CurriculumConfig",
    "FrontierConfig",
    "Outcome",
    "Ramp",
]
