"""Rewards of a group to advantages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_EPSILON = 1e-6


def group_advantages(rewards: Sequence[float | None]) -> np.ndarray | None:
    """Advantages of one task's episodes: (r - mean) / (std + 1e-6) (GRPO, arXiv 2402.03300, eq. 3).

    Mean and standard deviation (of the population) are over the valid episodes alone.

    Args:
      rewards: One per episode; None where the episode is invalid.

    Returns:
      float32[episodes] with 0 for invalid episodes; or None if the group teaches nothing, because
      fewer than two episodes are valid or all rewards are equal. Such a group stays out of the
      batch: its tokens would only dilute the mean over tokens.
    """
    valid = np.array([reward is not None for reward in rewards], bool)
    values = np.array([reward or 0.0 for reward in rewards], np.float64)
    if valid.sum() < 2 or np.ptp(values[valid]) == 0:
        return None
    centred = values - values[valid].mean()
    advantages = np.where(valid, centred / (values[valid].std() + _EPSILON), 0.0)
    return advantages.astype(np.float32)
