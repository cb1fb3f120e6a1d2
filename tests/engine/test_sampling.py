"""Which tokens may be drawn, against the logits processors of transformers."""

import jax
import numpy as np
import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from trustee_jax.engine.sampling import cut_threshold, draw, sample

FEW = [(0, 1.0), (1, 1.0), (20, 0.95), (50, 0.5), (64, 1.0), (64, 0.9)]
MANY = [*FEW, (65, 0.9), (300, 1.0), (0, 0.7), (5000, 0.3)]


def expected(logits: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    scores = torch.tensor(logits[None])
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    return scores[0].numpy() > -np.inf


@pytest.mark.parametrize("allowed", [1.0, 0.1, 0.02])
@pytest.mark.parametrize("vocab_size", [40, 64, 65, 997])
@pytest.mark.parametrize("options", [FEW, MANY])
def test_kept_tokens(options, vocab_size, allowed):
    """Whether selecting 64 logits is enough, or all are sorted; with and without a mask."""
    rng = np.random.default_rng(vocab_size)
    logits = 3 * rng.standard_normal((len(options), vocab_size), np.float32)
    masked = rng.random(logits.shape) >= allowed
    masked[:, 7] = False
    logits[masked] = -np.inf
    top_k, top_p = (np.array(column) for column in zip(*options, strict=True))
    thresholds = jax.jit(cut_threshold)(logits, top_k.astype(np.int32), top_p.astype(np.float32))
    for row, (k, p) in enumerate(options):
        kept = logits[row] >= max(np.asarray(thresholds)[row], np.finfo(np.float32).min)
        np.testing.assert_array_equal(kept, expected(logits[row], k, p), err_msg=f"{k} {p}")


def test_a_nucleus_beyond_the_first_logits_is_found():
    """A flat distribution, of which the selected logits are a small part; ties stay together."""
    logits = np.float32([np.linspace(0, 0.1, 5000), np.repeat([0.0, 1.0], 2500)])
    top_p = np.float32([0.5, 0.9])
    found = np.asarray(jax.jit(cut_threshold)(logits, np.zeros(2, np.int32), top_p))
    np.testing.assert_array_equal(logits[0] >= found[0], expected(logits[0], 0, 0.5))
    assert found[1] == 0.0


@pytest.mark.parametrize("vocab_size", [5, 64, 1000, 1187])
def test_draws_have_the_weights_as_their_distribution(vocab_size):
    """Within five standard deviations and ten draws; what has no weight is never drawn."""
    rng = np.random.default_rng(vocab_size)
    weights = rng.random(vocab_size, np.float32) ** 4
    weights[rng.random(vocab_size) < 0.3] = 0
    weights[-1] = 0
    count = 200_000
    uniform = rng.random((count, 2), np.float32)
    drawn = jax.jit(jax.vmap(lambda u: draw(weights[None], u[None])[0]))(uniform)
    shares = np.bincount(drawn, minlength=vocab_size) / count
    expected = weights / weights.sum(dtype=np.float64)
    assert np.all(np.abs(shares - expected) <= 5 * np.sqrt(expected / count) + 10 / count)
    assert not shares[weights == 0].any()


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_draw_what_has_weight(uniform):
    weights = np.zeros((3, 1000), np.float32)
    weights[0, 17], weights[1, [3, 900]], weights[2, 999] = 1e-30, (1e-8, 1.0), 3e38 / 1000
    first, last = np.argmax(weights > 0, axis=-1), 999 - np.argmax(weights[:, ::-1] > 0, axis=-1)
    found = np.asarray(draw(weights, np.full((3, 2), uniform, np.float32)))
    np.testing.assert_array_equal(found, last if uniform else first)


def test_logits_that_are_no_numbers_draw_a_token_of_the_vocabulary():
    assert 0 <= draw(np.full((1, 1187), np.nan, np.float32), np.float32([[0.5, 0.5]]))[0] < 1187


def test_a_sample_depends_on_its_own_row_alone():
    """Whatever company it has, greedy or not; greedy rows take the first of the highest logits."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((6, 500)).astype(np.float32)
    logits[0, [30, 70]] = 9.0
    keys = rng.integers(0, 2**32, (6, 2), dtype=np.uint32)
    options = (np.arange(6, dtype=np.int32), np.float32([0, 1, 1, 0.5, 2, 1]),
               np.int32([0, 0, 5, 100, 0, 0]), np.float32([1, 1, 0.9, 1, 0.3, 1]),
               rng.random((6, 500)) < 0.8)  # fmt: skip
    options[-1][0] = True
    tokens, logprobs = jax.jit(sample)(logits, keys, *options)
    assert tokens[0] == 30
    for row in range(6):
        one = slice(row, row + 1)
        alone = sample(logits[one], keys[one], *(option[one] for option in options))
        assert alone[0] == tokens[row] and options[-1][row, tokens[row]]
        assert abs(alone[1][0] - logprobs[row]) < 1e-6
    scaled = torch.tensor(logits / np.where(options[1] == 0, 1, options[1])[:, None])
    expected = torch.log_softmax(scaled, -1).numpy()[range(6), tokens]
    np.testing.assert_allclose(logprobs, expected, atol=1e-5)
