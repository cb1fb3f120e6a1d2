"""Attention in blocks equals attention at once, and segments see what they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustee_jax.models import attention


def _dense(q, k, v, segments, parents):
    """Straight from the definition, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    rows, length, heads, dim = q.shape
    out = np.zeros_like(q)
    for r in range(rows):
        for t in range(length):
            if not segments[r, t]:
                continue
            seen = [
                s
                for s in range(t + 1)
                if segments[r, s] and segments[r, s] in (segments[r, t], parents[r, t])
            ]
            for h in range(heads):
                keys = k[r, seen, h * k.shape[2] // heads]
                scores = keys @ q[r, t, h] / np.sqrt(dim)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                out[r, t, h] = weights @ v[r, seen, h * k.shape[2] // heads]
    return out


@pytest.mark.parametrize("block", [8, 512], ids=["blocks", "whole"])
def test_packed_attention(block, monkeypatch, tiny):
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)
    key = jax.random.split(jax.random.key(0), 3)
    q = jax.random.normal(key[0], (2, 32, 4, 8))
    k, v = (jax.random.normal(key[i], (2, 32, 2, 8)) for i in (1, 2))
    # A prompt (1) with two continuations (2, 3), an unrelated sequence (4), padding.
    segments = np.array([[1] * 6 + [2] * 7 + [3] * 5 + [4] * 8 + [0] * 6] * 2)
    parents = np.array([[0] * 6 + [1] * 12 + [0] * 14] * 2)
    attend = attention.packed_attention(jnp.array(segments), jnp.array(parents), tiny.rules)
    actual = np.asarray(attend(q, k, v, None, 0)[0])
    expected = _dense(q, k, v, segments, parents)
    np.testing.assert_allclose(actual[segments > 0], expected[segments > 0], atol=1e-5)
