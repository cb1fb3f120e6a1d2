"""Successes that are learnt by likelihood: the gradient, and what has no part in it."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trustee_jax.chat import TokenSequence
from trustee_jax.models import LoRAParam
from trustee_jax.rl import Learner, LearnerConfig, Trajectory, update_policy

CONFIG = LearnerConfig(
    row_length=128, logprob_chunk=32, updates_per_step=1, max_grad_norm=0.0, kl_coef=0.0
)


def trajectories(seed: int, groups: int = 2, size: int = 3) -> list[list[Trajectory]]:
    """With log-probabilities that have nothing to do with any policy."""
    rng = np.random.default_rng(seed)

    def one(group: int, length: int) -> Trajectory:
        prompt = np.random.default_rng(group).integers(0, 320, 20)
        tokens = np.concatenate([prompt, rng.integers(0, 320, length)]).astype(np.int32)
        sampled = np.arange(len(tokens)) >= len(prompt)
        sampled[len(prompt) + 2] = False  # a result between two turns
        noise = rng.normal(-30, 10, len(tokens)).astype(np.float32)
        return Trajectory([TokenSequence(tokens, sampled, noise)], reward=1.0)

    return [[one(group, 6 + 3 * i) for i in range(size)] for group in range(groups)]


@contextlib.contextmanager
def silent(updates: int):
    yield lambda done, tokens: None


def learnt(learner: Learner, groups: list[list[Trajectory]]):
    """Gradient of the loss: the first moment of AdamW after one update is (1 - b1) times it."""
    scalars, _ = update_policy(learner, groups, silent, imitate=1)
    states = jax.tree.leaves(learner.state.optimizer, is_leaf=lambda x: hasattr(x, "mu"))
    (moments,) = [state for state in states if hasattr(state, "mu")]
    gradient = jax.tree.map(lambda mu: np.asarray(mu) / (1 - learner.config.b1), moments.mu)
    return gradient, scalars


@pytest.mark.parametrize("tis_cap", [None, 2.0])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_the_gradient_is_that_of_the_mean_log_likelihood(tiny, aggregation, tis_cap):
    """Against the likelihood of each sequence alone, through the whole softmax."""
    model = tiny.with_lora("qwen3-untied-1e4")
    options = {"aggregation": aggregation, "tis_cap": tis_cap}
    config = dataclasses.replace(CONFIG, **options)
    groups = trajectories(0)
    sequences = [one.sequences[0] for group in groups for one in group]
    graph, adapters, rest = nnx.split(model, LoRAParam, ...)

    def negative_likelihood(adapters: nnx.State) -> jax.Array:
        whole = nnx.merge(graph, adapters, rest)
        values = []
        for one in sequences:
            logprobs = jax.nn.log_softmax(tiny.logits(whole, one.tokens[None])[0, :-1])
            chosen = logprobs[np.arange(len(one.tokens) - 1), one.tokens[1:]]
            values.append(chosen[np.flatnonzero(one.sampled[1:])])
        if aggregation == "token_mean":
            return -jnp.mean(jnp.concatenate(values))
        return -jnp.mean(jnp.stack([jnp.mean(part) for part in values]))

    expected = jax.tree.leaves(jax.grad(negative_likelihood)(adapters))
    found = jax.tree.leaves(learnt(Learner(model, tiny.mesh, config), groups)[0])
    assert len(found) == len(expected)
    largest = max(np.abs(leaf).max() for leaf in expected)
    assert largest > 1e-3
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * largest)


def test_log_probabilities_of_another_context_have_no_part(tiny):
    groups = trajectories(1)
    other = [
        [
            dataclasses.replace(
                one,
                sequences=[
                    dataclasses.replace(part, logprobs=part.logprobs * 0) for part in one.sequences
                ],
            )
            for one in group
        ]
        for group in groups
    ]
    results = [
        learnt(Learner(tiny.with_lora("qwen3-untied-1e4"), tiny.mesh, CONFIG), each)
        for each in (groups, other)
    ]
    (first, scalars), (second, _) = results
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert scalars["learner/ratio"] == pytest.approx(1, abs=1e-4)
    assert scalars["learner/logprob_difference_max"] < 1e-4


def test_no_success_is_no_update(tiny):
    learner = Learner(tiny.with_lora("qwen3-untied-1e4"), tiny.mesh, CONFIG)
    before = learner.state
    scalars, _ = update_policy(learner, [[], []], silent, imitate=2)
    assert learner.state is before and scalars["learner/updates"] == 0


def test_each_pass_makes_the_successes_likelier(tiny):
    """At ratio 1 in each of them: no clipping holds back what one pass has already gained."""
    learner = Learner(tiny.with_lora("qwen3-untied-1e4"), tiny.mesh, CONFIG)
    groups, seen, logprobs = trajectories(2), [], learner.logprobs

    def noted(batch):
        values = logprobs(batch)
        seen.append(values.sum())
        return values

    learner.logprobs = noted
    scalars, _ = update_policy(learner, groups, silent, imitate=3)
    assert scalars["learner/updates"] == 3 and len(seen) == 3
    assert seen[0] < seen[1] < seen[2]
    assert scalars["learner/ratio"] == pytest.approx(1, abs=1e-4)
