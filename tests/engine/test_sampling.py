"""Which tokens may be drawn, against the logits processors of transformers."""

import jax
import numpy as np
import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from trustee_jax.engine.sampling import cut_top_k_top_p

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
    cut = jax.jit(cut_top_k_top_p)(logits, top_k.astype(np.int32), top_p.astype(np.float32))
    for row, (k, p) in enumerate(options):
        kept = np.asarray(cut[row]) > -np.inf
        np.testing.assert_array_equal(kept, expected(logits[row], k, p), err_msg=f"{k} {p}")
        np.testing.assert_array_equal(np.asarray(cut[row])[kept], logits[row][kept])
