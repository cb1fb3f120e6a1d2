"""GRPO: advantages, packing, loss and compiled updates, as pure functions over arrays."""

from trustee_jax.learner.advantages import group_advantages
from trustee_jax.learner.config import LearnerConfig
from trustee_jax.learner.learner import Learner, TrainState, make_optimizer
from trustee_jax.learner.loss import grpo_loss, target_logprobs
from trustee_jax.learner.packing import PackedBatch, Sample, pack

__all__ = [
    "Learner",
    "LearnerConfig",
    "PackedBatch",
    "Sample",
    "TrainState",
    "group_advantages",
    "grpo_loss",
    "make_optimizer",
    "pack",
    "target_logprobs",
]
