"""Reinforcement learning: advantages, objectives, packing and compiled updates."""

from trustee_jax.rl.advantages import GroupStatus, group_status
from trustee_jax.rl.config import LearnerConfig
from trustee_jax.rl.learner import Learner
from trustee_jax.rl.learning import (
    Trajectory,
    shuffled_rewards,
    trajectories_status,
    update_policy,
)
from trustee_jax.rl.loss import target_logprobs
from trustee_jax.rl.objective import Objective
from trustee_jax.rl.packing import PackedBatch, Sample, pack
from trustee_jax.rl.programs import (
    Programs,
    TrainState,
    all_finite,
    make_optimizer,
    split_trainable,
)

__all__ = [
    "GroupStatus",
    "Learner",
    "LearnerConfig",
    "Objective",
    "PackedBatch",
    "Programs",
    "Sample",
    "TrainState",
    "Trajectory",
    "all_finite",
    "group_status",
    "make_optimizer",
    "pack",
    "shuffled_rewards",
    "split_trainable",
    "target_logprobs",
    "trajectories_status",
    "update_policy",
]
