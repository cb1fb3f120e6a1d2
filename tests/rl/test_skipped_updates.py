"""An update about which something is not finite leaves everything as it is, bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest

from trustee_jax.chat import TokenSequence
from trustee_jax.rl import Learner, LearnerConfig, Sample, all_finite, pack

CONFIG = LearnerConfig(
    row_length=64, logprob_chunk=32, learning_rate=1e-3, warmup_updates=3, kl_coef=0.01
)


def _batch(seed=0):
    """Two groups whose log-probabilities are those of nobody; that does not matter here."""
    rng = np.random.default_rng(seed)
    groups = []
    for _ in range(2):
        prompt = rng.integers(0, 320, 9)
        group = []
        for e in range(3):
            tokens = np.concatenate([prompt, rng.integers(0, 320, 5)]).astype(np.int32)
            sampled = np.arange(14) >= 9
            logprobs = np.where(sampled, rng.normal(-5, 0.1, 14), 0).astype(np.float32)
            group.append(Sample(TokenSequence(tokens, sampled, logprobs), float(e - 1)))
        groups.append(group)
    return pack(groups, CONFIG.row_length)


def _copy(state):
    return jax.tree.map(np.array, state)


def _assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture(scope="module")
def learner(tiny):
    """Adapters with a negative zero, which adding zero would change."""
    model = tiny.with_lora("qwen2-tied-1e6")
    made = Learner(model, tiny.mesh, CONFIG)
    params = jax.tree.map(lambda x: x.at[..., 0].set(-0.0), made.state.params)
    made.state = dataclasses.replace(made.state, params=params)
    assert made.update(_batch())["skipped"] == 0  # so that moments and counts are not zero
    return made


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["sampler_logprobs", "advantages"])
def test_a_planted_number_skips_the_update(name, broken, learner):
    before = _copy(learner.state)
    batch = _batch(1)
    getattr(batch, name)[0, 3] = broken
    metrics = learner.update(batch)
    assert metrics["skipped"] == 1
    assert not np.isfinite(metrics["loss"] + metrics["logprob_difference"])
    _assert_same(learner.state, before)


def test_what_follows_is_as_if_it_had_not_been(tiny):
    states = []
    for planted in (False, True):
        learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, CONFIG)
        for seed in range(4):
            if planted:
                batch = _batch(seed)
                batch.sampler_logprobs[0, 0] = -np.inf
                learner.update(batch)
            metrics = learner.update(_batch(seed))
            assert metrics["skipped"] == 0
            assert all(np.isfinite(value) for value in metrics.values())
        states.append(_copy(learner.state))
    _assert_same(*states)


def test_finite_gradients_that_lead_nowhere_finite_are_skipped(tiny):
    """The parameters after the first update, and a second moment of squares that overflow."""
    for changes in ({"learning_rate": 3e38}, {"max_grad_norm": 0.0}):
        config = dataclasses.replace(CONFIG, warmup_updates=0, **changes)
        learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, config)
        before = _copy(learner.state)
        batch = _batch()
        if not config.max_grad_norm:
            batch.advantages[:] *= 1e22
        metrics = learner.update(batch)
        assert metrics["skipped"] == 1
        assert np.isfinite(metrics["loss"])
        _assert_same(learner.state, before)
        assert all_finite(learner.state)


def test_weights_that_are_not_finite_are_not_trained(tiny):
    learner = Learner(tiny.with_lora("qwen2-tied-1e6"), tiny.mesh, CONFIG)
    params = jax.tree.map(lambda x: x.at[..., 0].set(np.nan), learner.state.params)
    learner.state = dataclasses.replace(learner.state, params=params)
    assert not all_finite(learner.state)
    before = _copy(learner.state)
    assert learner.update(_batch())["skipped"] == 1
    _assert_same(learner.state, before)
