"""Attention in blocks equals attention at once, and segments see what they should."""

import math
import re

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


def _inputs(length, heads=4, kv_heads=2):
    """A prompt (1) with two continuations (2, 3), an unrelated sequence (4), padding."""
    key = jax.random.split(jax.random.key(0), 3)
    q = jax.random.normal(key[0], (2, length, heads, 8))
    k, v = (jax.random.normal(key[i], (2, length, kv_heads, 8)) for i in (1, 2))
    ends = np.array([6, 13, 18, 26, 32]) * length // 32
    sizes = np.diff(ends, prepend=0)
    segments = np.tile(np.repeat([1, 2, 3, 4, 0], sizes), (2, 1))
    parents = np.tile(np.repeat([0, 1, 1, 0, 0], sizes), (2, 1))
    return q, k, v, segments, parents


def _attend(q, k, v, segments, parents, rules):
    attend = attention.packed_attention(jnp.array(segments), jnp.array(parents), rules)
    return attend(q, k, v, None, 0)[0]


@pytest.mark.parametrize("length", [32, 33, 39, 7])
@pytest.mark.parametrize("block", [8, 512], ids=["blocks", "whole"])
def test_packed_attention(block, length, monkeypatch, tiny):
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)
    q, k, v, segments, parents = _inputs(length)
    actual = np.asarray(_attend(q, k, v, segments, parents, tiny.rules))
    expected = _dense(q, k, v, segments, parents)
    np.testing.assert_allclose(actual[segments > 0], expected[segments > 0], atol=1e-5)


def _loss_and_gradients(inputs, rules):
    """Of a sum over what is not padding, by q, k and v."""
    q, k, v, segments, parents = inputs
    weights = (segments > 0)[..., None, None]

    def loss(q, k, v):
        return jnp.sum(jnp.sin(_attend(q, k, v, segments, parents, rules)) * weights)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))), (q, k, v)


@pytest.mark.parametrize("length", [1000, 1544])
def test_no_length_needs_whole_scores(length, monkeypatch, tiny):
    """Also where 512 does not divide it: the same values and gradients in less than T x T."""
    inputs = _inputs(length, heads=1, kv_heads=1)
    function, arguments = _loss_and_gradients(inputs, tiny.rules)
    compiled = function.lower(*arguments).compile()
    shapes = re.findall(r"\b[a-z]+\d*\[([\d,]+)\]", compiled.as_text())
    sizes = {math.prod(map(int, shape.split(","))) for shape in shapes}
    rows = len(arguments[0])
    assert length * 8 * rows in sizes  # the expression finds arrays
    assert max(sizes) <= rows * attention.QUERY_BLOCK * length < rows * length**2
    monkeypatch.setattr(attention, "QUERY_BLOCK", length)
    whole, _ = _loss_and_gradients(inputs, tiny.rules)
    for a, b in zip(*map(jax.tree.leaves, (compiled(*arguments), whole(*arguments))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
