"""GRPO: advantages, packing, loss and compiled updates, as pure functions over arrays."""

from trustee_jax.learner.advantages import Fate, group_advantages, group_fate
from trustee_jax.learner.config import LearnerConfig
from trustee_jax.learner.learner import Learner
from trustee_jax.learner.loss import grpo_loss, target_logprobs
from trustee_jax.learner.packing import PackedBatch, Sample, pack
from trustee_jax.learner.programs import Programs, TrainState, all_finite, divide, make_optimizer

__all__ = [
    "Fate",
    "Learner",
    "LearnerConfig",
    "PackedBatch",
    "Programs",
    "Sample",
    "TrainState",
    "all_finite",
    "divide",
    "group_advantages",
    "group_fate",
    "grpo_loss",
    "make_optimizer",
    "pack",
    "target_logprobs",
]
