"""A control run learns as much as a real one, from the same rewards, of other episodes."""

import numpy as np

from trustee_jax.rl import LearnerConfig, Trajectory, shuffled_rewards

GROUPS = (
    (1.0, -1.0, 0.0, None),
    (0.0, 0.0, 0.0, 0.0),
    (1.0, 1.0, -1.0, -1.0),
    (1.0, None, None, None),
)


def rewards(groups):
    return [tuple(one.reward for one in group) for group in groups]


def shuffled(seed: int):
    groups = [[Trajectory((), reward) for reward in group] for group in GROUPS]
    found = shuffled_rewards(groups, np.random.default_rng(seed), LearnerConfig())
    assert rewards(groups) == list(GROUPS)
    return groups, found


def test_rewards_are_dealt_out_among_what_is_learnt_from():
    seen = set()
    for seed in range(50):
        groups, found = shuffled(seed)
        dealt = rewards(found)
        assert dealt[1] == GROUPS[1] and dealt[3] == GROUPS[3] and dealt[0][3] is None
        before, after = (sorted([*of[0][:3], *of[2]]) for of in (GROUPS, dealt))
        assert before == after
        for group, other in zip(groups, found, strict=True):
            for one, same in zip(group, other, strict=True):
                assert one.sequences is same.sequences and one.truncated == same.truncated
        seen.add((dealt[0], dealt[2]))
    assert len(seen) > 20
    # From one group to another, too.
    assert any(sorted(first[:3]) != sorted(GROUPS[0][:3]) for first, _ in seen)


def test_the_order_follows_from_the_generator():
    assert rewards(shuffled(3)[1]) == rewards(shuffled(3)[1])
