"""Rewards of a group to advantages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Fate = Literal["used", "uniform", "too_few_valid"]
"""What a group is good for. used: its rewards differ; uniform: they are all equal, so no episode is
better than another; too_few_valid: too few of its episodes are valid to compare them."""

_EPSILON = 1e-6


def group_fate(rewards: Sequence[float | None], min_valid: int = 2) -> Fate:
    """What the group of these rewards is good for.

    Args:
      rewards: One per episode; None where the episode is invalid.
      min_valid: Valid episodes that a group needs, at least 2.
    """
    valid = [reward for reward in rewards if reward is not None]
    if len(valid) < min_valid:
        return "too_few_valid"
    return "uniform" if len(set(valid)) == 1 else "used"


def group_advantages(
    rewards: Sequence[float | None], *, min_valid: int = 2, keep_uniform: bool = False
) -> np.ndarray | None:
    """Advantages of one task's episodes: (r - mean) / (std + 1e-6) (GRPO, arXiv 2402.03300, eq. 3).

    Mean and standard deviation (of the population) are over the valid episodes alone.

    Args:
      rewards: One per episode; None where the episode is invalid.
      min_valid: Valid episodes that a group needs, at least 2.
      keep_uniform: Give the episodes of a group without variance the advantage 0, as published,
        instead of leaving them out. They then count in the mean over tokens and in the KL term.

    Returns:
      float32[episodes] with 0 for invalid episodes; or None if the group stays out of the batch.
    """
    fate = group_fate(rewards, min_valid)
    if fate == "too_few_valid" or (fate == "uniform" and not keep_uniform):
        return None
    valid = np.array([reward is not None for reward in rewards], bool)
    values = np.array([reward or 0.0 for reward in rewards], np.float64)
    centred = values - values[valid].mean()
    advantages = np.where(valid, centred / (values[valid].std() + _EPSILON), 0.0)
    return advantages.astype(np.float32)
