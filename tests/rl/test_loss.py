"""The default loss and its gradient against a float64 version written from the formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustee_jax.chat import TokenSequence
from trustee_jax.rl import (
    LearnerConfig,
    Objective,
    PackedBatch,
    Sample,
    group_status,
    pack,
)
from trustee_jax.rl.loss import target_logprobs

CLIP, KL = 0.2, 0.05
OBJECTIVE = Objective(LearnerConfig(clip_epsilon=CLIP, kl_coef=KL))
WITHOUT_KL = Objective(LearnerConfig(clip_epsilon=CLIP, kl_coef=0.0))

# Groups as they come: all valid, one invalid, no variance, a single survivor, none valid.
REWARDS = [
    [1.0, -1.0, 0.0, 1.0],
    [1.0, None, -1.0, -1.0],
    [0.0, 0.0, 0.0, None],
    [None, None, 1.0, None],
    [None, None, None, None],
]


def _reference(rewards, lengths, logps, behaviours, references):
    """Loss and d loss / d logp: token-level mean of the clipped objective minus k3 KL, float64."""
    losses, gradients, count = [], {}, 0
    for g, group in enumerate(rewards):
        valid = [r for r in group if r is not None]
        if len(valid) < 2 or len(set(valid)) == 1:
            continue
        mean, std = np.mean(valid), np.std(valid)
        for e, reward in enumerate(group):
            if reward is None:
                continue
            advantage = (reward - mean) / (std + 1e-6)
            for t in range(lengths[g][e]):
                p, b, r = logps[g][e][t], behaviours[g][e][t], references[g][e][t]
                ratio = np.exp(p - b)
                clipped = min(max(ratio, 1 - CLIP), 1 + CLIP)
                d = r - p
                loss = -min(ratio * advantage, clipped * advantage) + KL * (np.exp(d) - d - 1)
                unclipped = ratio * advantage <= clipped * advantage
                gradient = (-ratio * advantage if unclipped else 0.0) + KL * (1 - np.exp(d))
                losses.append(loss)
                gradients[g, e, t] = gradient
                count += 1
    return np.sum(losses) / count, {key: value / count for key, value in gradients.items()}


def test_loss_and_gradient_follow_the_formula():
    rng = np.random.default_rng(0)
    lengths = [[int(rng.integers(1, 9)) for _ in group] for group in REWARDS]

    def draw(scale):
        return [[rng.normal(-2, scale, n) for n in group] for group in lengths]

    logps, references = draw(0.5), draw(0.5)
    behaviours = [[x + rng.normal(0, 0.3, len(x)) for x in group] for group in logps]
    expected, gradients = _reference(REWARDS, lengths, logps, behaviours, references)

    rows = {name: [] for name in ("logps", "sampler_logprobs", "ref_logprobs", "advantages")}
    keys = []
    for g, group in enumerate(REWARDS):
        if group_status(group) != "trainable":
            continue
        (advantages,) = OBJECTIVE.advantages([group])
        for e, reward in enumerate(group):
            if reward is None:
                assert advantages[e] == 0
                continue
            for t in range(lengths[g][e]):
                keys.append((g, e, t))
                rows["logps"].append(logps[g][e][t])
                rows["sampler_logprobs"].append(behaviours[g][e][t])
                rows["ref_logprobs"].append(references[g][e][t])
                rows["advantages"].append(advantages[e])
    padding = 5
    batch = PackedBatch.empty(1, len(keys) + padding)
    for name in ("sampler_logprobs", "ref_logprobs", "advantages"):
        getattr(batch, name)[0, : len(keys)] = rows[name]
    batch.loss_mask[0, : len(keys)] = 1
    logp = np.zeros((1, len(keys) + padding), np.float32)
    logp[0, : len(keys)] = rows["logps"]

    def loss(logp):
        value, metrics = OBJECTIVE(logp, batch)
        return value / OBJECTIVE.denominator(batch), metrics

    (actual, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(logp))
    assert {g for g, _, _ in keys} == {0, 1}
    assert abs(actual - expected) < 1e-5
    for i, key in enumerate(keys):
        assert abs(gradient[0, i] - gradients[key]) < 1e-6, key
    assert np.abs(gradient[0, len(keys) :]).max() == 0
    clipped = sum(
        value == 0
        for value in (gradients[k] - _kl_part(k, logps, references, len(keys)) for k in keys)
    )
    assert 0 < clipped < len(keys)
    assert metrics["clip_fraction"] == clipped


def _kl_part(key, logps, references, count):
    g, e, t = key
    return KL * (1 - np.exp(references[g][e][t] - logps[g][e][t])) / count


def test_without_kl_the_reference_is_not_read():
    batch = PackedBatch.empty(1, 4)
    batch.loss_mask[:] = 1
    batch.ref_logprobs[:] = np.nan
    value, metrics = WITHOUT_KL(jnp.zeros((1, 4)), batch)
    assert np.isfinite(value) and metrics["kl"] == 0


def _one_token(logprob, behaviour, reference, advantage):
    """Loss and its gradient by the log-probability, without and with the KL term."""
    batch = PackedBatch.empty(1, 2)
    batch.loss_mask[0, 0] = 1
    batch.sampler_logprobs[0, 0], batch.ref_logprobs[0, 0] = behaviour, reference
    batch.advantages[0, 0] = advantage

    def loss(logp, objective):
        return objective(jnp.array([[logp, 0.0]]), batch)[0]

    both = (WITHOUT_KL, OBJECTIVE)
    return [jax.value_and_grad(loss)(jnp.float32(logprob), one) for one in both]


@pytest.mark.parametrize("x", [-3e4, -90.0, -19.0, -3.0, 3.0, 19.0])
def test_log_ratios_are_exact_up_to_a_ratio_that_means_nothing(x):
    (loss, gradient), _ = _one_token(-1.0, -1.0 - x, 0.0, -1.0)
    ratio = max(np.exp(x), 1 - CLIP)
    np.testing.assert_allclose(loss, ratio, rtol=1e-5)
    np.testing.assert_allclose(gradient, ratio if x > 0 else 0.0, rtol=1e-5)
    _, (penalty, gradient) = _one_token(-1.0, -1.0, x - 1.0, 0.0)
    np.testing.assert_allclose(penalty, KL * (np.exp(x) - x - 1), rtol=1e-5)
    np.testing.assert_allclose(gradient, KL * (1 - np.exp(x)), rtol=1e-5)


@pytest.mark.parametrize("x", [21.0, 90.0, 3e4])
def test_beyond_it_terms_are_bounded_and_have_no_gradient(x):
    (loss, gradient), _ = _one_token(-1.0, -1.0 - x, 0.0, -1.0)
    np.testing.assert_allclose(loss, np.exp(20), rtol=1e-5)
    assert gradient == 0
    _, (penalty, gradient) = _one_token(-1.0, -1.0, x - 1.0, 0.0)
    np.testing.assert_allclose(penalty, KL * (np.exp(20) - 21), rtol=1e-5)
    assert gradient == 0


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["sampler_logprobs", "ref_logprobs", "advantages"])
def test_no_bound_hides_a_number_that_is_not_finite(name, broken):
    batch = PackedBatch.empty(1, 4)
    batch.loss_mask[:] = batch.advantages[:] = 1
    getattr(batch, name)[0, 2] = broken
    value, metrics = OBJECTIVE(jnp.full((1, 4), -1.0), batch)
    assert not all(np.isfinite(x) for x in (value, *metrics.values()))


@pytest.mark.parametrize("rewards", [[1.0, None], [0.0, 0.0], [None, None]])
def test_groups_that_teach_nothing(rewards):
    assert group_status(rewards) in ("zero_variance", "insufficient")


def test_advantages_use_the_survivors_alone():
    (advantages,) = OBJECTIVE.advantages([[1.0, None, 0.0, -1.0]])
    expected = (np.array([1.0, 0.0, -1.0]) - 0) / np.std([1.0, 0.0, -1.0])
    np.testing.assert_allclose(advantages[[0, 2, 3]], expected, rtol=1e-5)
    assert advantages[1] == 0


def test_target_logprobs_in_chunks():
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(2, 16, 8)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(8, 30)), jnp.float32)
    batch = PackedBatch.empty(2, 16)
    batch.sources[:, :5] = rng.integers(0, 16, (2, 5))
    batch.targets[:, :5] = rng.integers(0, 30, (2, 5))
    batch.loss_mask[:, :5] = 1
    actual = target_logprobs(lambda h: h @ kernel, hidden, batch, 0.7, 4)
    logits = np.asarray(hidden, np.float64) @ np.asarray(kernel, np.float64) / 0.7
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for r in range(2):
        for i in range(5):
            assert abs(actual[r, i] - expected[r, batch.sources[r, i], batch.targets[r, i]]) < 1e-5
    assert np.abs(actual[:, 5:]).max() == 0


def _sample(rng, prompt, length, advantage=1.0):
    tokens = np.concatenate([prompt, rng.integers(0, 320, length)]).astype(np.int32)
    sampled = np.zeros(len(tokens), bool)
    sampled[len(prompt) :] = rng.random(length) < 0.7  # tools and users speak in between
    sampled[len(prompt)] = True
    logprobs = np.where(sampled, rng.normal(-2, 1, len(tokens)), 0).astype(np.float32)
    return Sample(TokenSequence(tokens, sampled, logprobs), advantage)


def test_packing_keeps_every_target_once():
    rng = np.random.default_rng(0)
    groups = []
    for _ in range(7):
        prompt = rng.integers(0, 320, rng.integers(3, 20))
        groups.append([_sample(rng, prompt, rng.integers(1, 25), rng.normal()) for _ in range(4)])
    batch = pack(groups, 64, rows_multiple=2)
    assert batch.tokens.shape[0] % 2 == 0
    packed = sorted(
        (
            int(batch.targets[r, i]),
            float(batch.sampler_logprobs[r, i]),
            float(batch.advantages[r, i]),
        )
        for r, i in zip(*np.nonzero(batch.loss_mask), strict=True)
    )
    given = sorted(
        (int(token), float(logprob), float(np.float32(sample.advantage)))
        for group in groups
        for sample in group
        for token, logprob, sampled in zip(
            sample.sequence.tokens, sample.sequence.logprobs, sample.sequence.sampled, strict=True
        )
        if sampled
    )
    assert packed == given
    separate = sum(len(s.sequence.tokens) for group in groups for s in group)
    assert batch.num_tokens < separate  # prompts are shared


def test_too_long_a_sequence_names_the_option():
    with pytest.raises(ValueError, match=r"learner\.row_length=8"):
        pack([[_sample(np.random.default_rng(0), np.arange(5), 10)]], 8)
