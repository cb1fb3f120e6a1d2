"""Attention in blocks equals attention at once, and segments see what they should."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from trustee_jax.models import MeshRules, ModelConfig, attention, kernels
from trustee_jax.models.sharding import LEARNER_RULES


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
    monkeypatch.setattr(attention, "CPU_BLOCK", block)
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
    """Also where the block does not divide it: the same values and gradients in less than T x T."""
    inputs = _inputs(length, heads=1, kv_heads=1)
    function, arguments = _loss_and_gradients(inputs, tiny.rules)
    compiled = function.lower(*arguments).compile()
    shapes = re.findall(r"\b[a-z]+\d*\[([\d,]+)\]", compiled.as_text())
    sizes = {math.prod(map(int, shape.split(","))) for shape in shapes}
    rows = len(arguments[0])
    assert length * 8 * rows in sizes  # the expression finds arrays
    assert max(sizes) <= rows * 512 * length < rows * length**2
    monkeypatch.setattr(attention, "CPU_BLOCK", length)
    whole, _ = _loss_and_gradients(inputs, tiny.rules)
    for a, b in zip(*map(jax.tree.leaves, (compiled(*arguments), whole(*arguments))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_blocks_that_nobody_sees_are_not_computed(tiny):
    """Two prompts with two continuations each, and padding: 17 pairs of blocks of 36."""
    segments = np.repeat([[1, 2, 3, 4, 5, 6, 0, 0]], 128, axis=1)
    parents = np.repeat([[0, 1, 1, 0, 4, 4, 0, 0]], 128, axis=1)
    blocks = attention._plan(jnp.array(segments), jnp.array(parents), 8)
    seen = [sorted(row[:n]) for row, n in zip(blocks.order, blocks.counts, strict=True)]
    assert seen == [[0], [0, 1], [0, 2], [3], [3, 4], [3, 5], [], []]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 2)], ids=["one", "four"])
def test_splash_computes_what_xla_does(shape, tiny):
    """Interpreted; heads and rows divided over a mesh, too."""
    rules = MeshRules.create(tiny.make_mesh(*shape), LEARNER_RULES)
    q, k, v, segments, parents = _inputs(256)
    weights = (segments > 0)[..., None, None]

    def loss(q, k, v, kernel):
        attend = attention.packed_attention(jnp.array(segments), jnp.array(parents), rules, kernel)
        out = attend(q, k, v, None, 0)[0]
        return jnp.sum(jnp.sin(out) * weights), out

    results = []
    for kernel in ("xla", "splash"):
        run = jax.value_and_grad(functools.partial(loss, kernel=kernel), (0, 1, 2), has_aux=True)
        (_, out), gradients = jax.jit(run)(q, k, v)
        results.append((out * weights, *gradients))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


MODEL = ModelConfig("qwen3", 320, 64, 2, 8, 2, 128, 96)


@pytest.mark.parametrize(
    ("kernel", "platform", "changes", "words"),
    [
        ("splash", "tpu", {}, None),
        ("cudnn", "gpu", {}, None),
        ("splash", "cpu", {}, "it needs a TPU, not a CPU"),
        ("cudnn", "tpu", {}, "it needs a GPU, not a TPU"),
        ("splash", "tpu", {"length": 8200}, "a multiple of 128"),
        ("splash", "tpu", {"length": 2**17}, "at most 16384"),
        ("cudnn", "gpu", {"dtype": jnp.dtype("float32")}, "model.dtype is float32"),
        ("cudnn", "gpu", {"config": dataclasses.replace(MODEL, head_dim=256)}, "at most 128"),
        ("splash", "tpu", {"tensor": 8}, "mesh.tensor = 8 must divide the 2 key/value heads"),
    ],
)
def test_a_kernel_that_does_not_fit_says_why(kernel, platform, changes, words, monkeypatch, tiny):
    monkeypatch.setattr(MeshRules, "platform", platform)
    options = {"config": MODEL, "dtype": jnp.dtype("bfloat16"), "length": 8192, "tensor": 1}
    options |= changes
    mesh = tiny.make_mesh(1, 1, options.pop("tensor"))
    arguments = (*options.values(), MeshRules.create(mesh, LEARNER_RULES))
    reason = kernels.misfit(kernel, *arguments)
    assert reason is None if words is None else words in reason
    own = {"tpu": "splash", "gpu": "cudnn"}.get(platform)
    assert kernels.choose(*arguments) == (own if changes == {} and own else "xla")


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 2)], ids=["one", "four"])
def test_cudnn_lowers_for_a_gpu(shape, monkeypatch, tiny):
    rules = MeshRules.create(tiny.make_mesh(*shape), LEARNER_RULES)
    # As if there were an H100 here.
    for name, value in (
        ("check_cudnn_version", 91300),
        ("check_compute_capability", True),
        ("is_cuda_compute_capability_equal", False),
    ):
        monkeypatch.setattr(fused_attention_stablehlo, name, lambda *_, value=value: value)
    q = jnp.zeros((2, 128, 8, 64), jnp.bfloat16)
    segments = jnp.ones((2, 128), jnp.int32)

    def loss(q, k, v):
        attend = attention.packed_attention(segments, segments, rules, "cudnn")
        return jnp.sum(attend(q, k, v, None, 0)[0].astype(jnp.float32))

    traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(q, q[:, :, :4], q[:, :, :4])
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaScaleBiasSoftmax" in text and "fmhaScaleBiasSoftmaxBackward" in text
