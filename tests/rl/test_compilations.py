"""After its first updates a learner compiles nothing, whatever the size of a batch."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest

from trustee_jax.chat import TokenSequence
from trustee_jax.rl import Learner, LearnerConfig, Trajectory, update_policy

COMPILED = "/jax/core/compile/backend_compile_duration"
CONFIG = LearnerConfig(row_length=64, logprob_chunk=32, kl_coef=0.01, updates_per_step=1)


@contextlib.contextmanager
def _display(total):
    yield lambda *done: None


def _group(rng, size):
    prompt = rng.integers(0, 320, rng.integers(2, 20))
    group = []
    for i in range(size):
        tokens = np.append(prompt, rng.integers(0, 320, rng.integers(1, 20))).astype(np.int32)
        sampled = np.arange(len(tokens)) >= len(prompt)
        sequence = TokenSequence(tokens, sampled, np.where(sampled, -2.0, 0.0).astype(np.float32))
        group.append(Trajectory([sequence], float(i % 2)))
    return group


@pytest.mark.parametrize("tis_cap", [None, 2.0])
def test_twenty_updates_of_all_sizes_compile_in_the_first_two(tis_cap, tiny):
    config = dataclasses.replace(CONFIG, tis_cap=tis_cap)
    learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, config)
    rng = np.random.default_rng(0)
    events, fills = [], []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: events.append(name))
    try:
        for step in range(20):
            groups = [_group(rng, 2 + step % 5) for _ in range(1 + 7 * step % 12)]
            if step == 2:
                assert COMPILED in events
                events.clear()
            metrics, _ = update_policy(learner, groups, _display)
            assert metrics["learner/updates"] == 1
            fills.append(metrics["learner/packing_fill"])
    finally:
        jax.monitoring.clear_event_listeners()
    assert COMPILED not in events
    assert 0 < min(fills) < max(fills) <= 1


def test_packing_fill_is_tokens_over_places(tiny):
    learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, CONFIG)
    tokens = np.arange(16, dtype=np.int32)
    sequence = TokenSequence(tokens, tokens >= 8, np.full(16, -2.0, np.float32))
    groups = [[Trajectory([sequence], reward) for reward in (0.0, 1.0)]]
    # A prompt of 8 and two answers of 8 in a row of 64.
    metrics, _ = update_policy(learner, groups, _display)
    assert metrics["learner/packing_fill"] == 24 / 64
