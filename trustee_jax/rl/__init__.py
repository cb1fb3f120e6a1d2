"""GRPO: advantages, packing, loss and compiled updates, as pure functions over arrays."""

from trustee_jax.rl.advantages import Fate, group_advantages, group_fate
from trustee_jax.rl.config import LearnerConfig
from trustee_jax.rl.learner import Learner
from trustee_jax.rl.loss import grpo_loss, target_logprobs
from trustee_jax.rl.packing import PackedBatch, Sample, pack
from trustee_jax.rl.programs import Programs, TrainState, all_finite, divide, make_optimizer

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
