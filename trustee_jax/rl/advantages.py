"""Rewards of groups to advantages: what is subtracted, and what it is divided by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

GroupStatus = Literal["trainable", "zero_variance", "insufficient"]
"""What a group is good for. trainable: an episode of it is better or worse than the others;
zero_variance: none that may be trained on is; insufficient: too few of its episodes are valid to
compare them."""

Baseline = Callable[[np.ndarray], np.ndarray]
"""A group's float64[valid] rewards to what is subtracted from each, float64[valid]."""

Scale = Callable[[Sequence[np.ndarray]], Sequence[float]]
"""The float64[valid] rewards of a step's groups to the divisor of each group's advantages."""

_EPSILON = 1e-6


def group_status(
    rewards: Sequence[float | None],
    min_valid: int = 2,
    trained: Sequence[bool] | None = None,
) -> GroupStatus:
    """What the group of these rewards is good for.

    Args:
      rewards: One per episode; None where the episode is invalid.
      min_valid: Valid episodes that a group needs, at least 2.
      trained: Whether an episode is trained on, if it is valid; None: all are. One that is not
        counts in the mean, but a group in which only such ones differ from it is zero_variance.
    """
    valid = [reward for reward in rewards if reward is not None]
    if len(valid) < min_valid:
        return "insufficient"
    if len(set(valid)) == 1:
        return "zero_variance"
    if trained is not None:
        kept = [r for r, keep in zip(rewards, trained, strict=True) if keep and r is not None]
        if np.allclose(kept, np.mean(valid), rtol=0, atol=1e-9):
            return "zero_variance"
    return "trainable"


def group_mean(rewards: np.ndarray) -> np.ndarray:
    """Mean of the group (GRPO, arXiv 2402.03300, sec. 4.1.2)."""
    return np.full_like(rewards, rewards.mean())


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """Mean of the group's other episodes (RLOO, arXiv 2402.14740)."""
    return (rewards.sum() - rewards) / (len(rewards) - 1)


def group_std(groups: Sequence[np.ndarray]) -> list[float]:
    """Standard deviation of each group (GRPO, arXiv 2402.03300, sec. 4.1.2), plus 1e-6."""
    return [rewards.std() + _EPSILON for rewards in groups]


def batch_std(groups: Sequence[np.ndarray]) -> list[float]:
    """Standard deviation of all rewards of the step (arXiv 2508.08221), plus 1e-6.

    TRL's `scale_rewards="batch"`, but for Bessel's correction and the epsilon.
    """
    return [np.concatenate(groups).std() + _EPSILON] * len(groups)


def no_scale(groups: Sequence[np.ndarray]) -> list[float]:
    """1: no weight for how hard a task is (Dr. GRPO, arXiv 2503.20783)."""
    return [1.0] * len(groups)


BASELINES: Mapping[str, Baseline] = {"group_mean": group_mean, "leave_one_out": leave_one_out}
"""By the name that `learner.advantage_baseline` gives."""

SCALES: Mapping[str, Scale] = {"group_std": group_std, "batch_std": batch_std, "none": no_scale}
"""By the name that `learner.advantage_scale` gives."""
