"""Attention over packed training rows."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trustee_jax.models.kernels import KERNELS, Kernel, Run, visible
from trustee_jax.models.sharding import MeshRules
from trustee_jax.models.transformer import Attend

# Most tokens in a block: attention keeps scores of [B, H, BLOCK, BLOCK] float32, whatever T is.
BLOCK = 512
CPU_BLOCK = 128
_MASKED = -1e30


def grouped_query_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax attention with query heads in groups over key/value heads, softmax in float32.

    Args:
      q: [B, T, H, D].
      k: [B, K, S, D] with H a multiple of K (the cache's layout).
      v: [B, K, S, D].
      mask: bool[B, T, S], True where a query may look.

    Returns:
      [B, T, H, D] of q's dtype. A query with an empty mask gets the mean of the values: finite, and
      never read.
    """
    batch, length, heads, dim = q.shape
    groups = heads // k.shape[1]
    q = q.reshape(batch, length, k.shape[1], groups, dim).transpose(0, 2, 3, 1, 4)
    q = q.reshape(batch, k.shape[1], groups * length, dim)
    scores = jnp.einsum("bktd,bksd->bkts", q, k, preferred_element_type=jnp.float32) * dim**-0.5
    scores = scores.reshape(batch, k.shape[1], groups, length, -1)
    scores = jnp.where(mask[:, None, None], scores, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    weights = weights.reshape(batch, k.shape[1], groups * length, -1)
    out = jnp.einsum("bkts,bksd->bktd", weights, v)
    out = out.reshape(batch, k.shape[1], groups, length, dim).transpose(0, 3, 1, 2, 4)
    return out.reshape(batch, length, heads, dim)


def packed_attention(
    segments: jax.Array, parents: jax.Array, rules: MeshRules, kernel: Kernel = "xla"
) -> Attend:
    """Causal attention within segments and to their parents.

    A token sees the earlier tokens of its own segment and all earlier tokens of its segment's
    parent. Completions that share a prompt are segments with the prompt as parent, so the prompt is
    computed once for the whole group. Padding sees nothing, or itself alone: its output is finite
    and never read.

    Args:
      segments: int32[B, T], id of each token's segment, 0 for padding.
      parents: int32[B, T], id of the segment that it continues, 0 for none.
      rules: Mesh and table for activations.
      kernel: What computes it; `models.kernels.misfit` says where it can.
    """
    if kernel == "xla":
        block = CPU_BLOCK if rules.platform == "cpu" else BLOCK
        run = _blockwise(segments, parents, block)
    else:
        run = KERNELS[kernel](segments, parents, rules)

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, cache: Any, layer: int | jax.Array
    ) -> tuple[jax.Array, Any]:
        del layer
        return rules.constrain(run(q, k, v), "batch", None, "act_heads", None), cache

    return attend


class _Blocks(NamedTuple):
    """Which pairs of blocks attention computes, and what tells the mask within one.

    Attributes:
      segments: int32[B, T].
      parents: int32[B, T].
      order: int32[N, N], for each block of queries first the blocks of keys that it sees.
      counts: int32[N], how many those are.
    """

    segments: jax.Array
    parents: jax.Array
    order: jax.Array
    counts: jax.Array

    @property
    def size(self) -> int:
        """Tokens of a block."""
        return self.segments.shape[1] // len(self.counts)

    def mask(self, i: jax.Array, j: jax.Array) -> jax.Array:
        """bool[B, 1, 1, size, size] of block i of queries and block j of keys."""
        segment, parent = _block(self.segments, i, self.size), _block(self.parents, i, self.size)
        index = jnp.arange(self.size)
        keys = _block(self.segments, j, self.size)
        seen = visible(segment, parent, keys, i * self.size + index, j * self.size + index)
        return seen[:, None, None]


def _block(x: jax.Array, i: jax.Array, size: int, axis: int = 1) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, i * size, size, axis)


def _plan(segments: jax.Array, parents: jax.Array, blocks: int) -> _Blocks:
    rows, length = segments.shape
    size = length // blocks

    def seen(i: jax.Array) -> jax.Array:
        segment, parent = _block(segments, i, size), _block(parents, i, size)
        index = jnp.arange(length)
        mask = visible(segment, parent, segments, i * size + jnp.arange(size), index)
        return mask.reshape(rows, size, blocks, size).any((0, 1, 3))

    needed = jax.lax.map(seen, jnp.arange(blocks))
    order = jnp.argsort(~needed, axis=1, stable=True)
    return _Blocks(segments, parents, order, needed.sum(1))


def _blockwise(segments: jax.Array, parents: jax.Array, block: int) -> Run:
    """Flash attention (arXiv 2205.14135) in XLA: only pairs of blocks that see each other.

    Siblings, unrelated segments, later keys and padding cost nothing where they fill blocks, and
    scores exist for one pair at a time, also in the backward pass.
    """
    length = segments.shape[1]
    if length <= block:
        index = jnp.arange(length)
        mask = visible(segments, parents, segments, index, index)
        return lambda q, k, v: grouped_query_attention(
            q, k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), mask
        )
    # Blocks as equal as can be: any length is padded by fewer tokens than there are blocks.
    count = -(-length // block)
    padding = -length % count

    def pad(x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, padding), *[(0, 0)] * (x.ndim - 2)))

    blocks = _plan(pad(segments), pad(parents), count)

    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        batch, _, heads, dim = q.shape
        q, k, v = pad(q), pad(k).transpose(0, 2, 1, 3), pad(v).transpose(0, 2, 1, 3)
        q = q.reshape(batch, -1, k.shape[1], heads // k.shape[1], dim).transpose(0, 2, 3, 1, 4)
        out = _attention(q, k, v, blocks).transpose(0, 3, 1, 2, 4)
        return out.reshape(batch, -1, heads, dim)[:, :length]

    return run


def _flat(x: jax.Array) -> jax.Array:
    """[B, K, G, T, N] to [B, K, G * T, N]: a product a key/value head, not one a query head."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


_product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    scores = _product("bktd,bksd->bkts", _flat(q), k) * q.shape[-1] ** -0.5
    return scores.reshape(*q.shape[:-1], -1)


@jax.custom_vjp
def _attention(q: jax.Array, k: jax.Array, v: jax.Array, blocks: _Blocks) -> jax.Array:
    """Queries [B, K, G, T, D] over keys and values [B, K, T, D]."""
    return _forward(q, k, v, blocks)[0]


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, blocks: _Blocks
) -> tuple[jax.Array, tuple[Any, ...]]:
    size = blocks.size

    def block(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        queries = _block(q, i, size, 3)

        def step(n: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            highest, total, out = carry
            j = blocks.order[i, n]
            mask = blocks.mask(i, j)
            scores = jnp.where(mask, _scores(queries, _block(k, j, size, 2)), _MASKED)
            above = jnp.maximum(highest, scores.max(-1))
            weights = jnp.where(mask, jnp.exp(scores - above[..., None]), 0.0)
            shrink = jnp.exp(highest - above)
            values = _block(v, j, size, 2)
            new = _product("bkts,bksd->bktd", _flat(weights.astype(v.dtype)), values)
            out = out * shrink[..., None] + new.reshape(out.shape)
            return above, total * shrink + weights.sum(-1), out

        zeros = jnp.zeros(queries.shape, jnp.float32)
        start = (zeros[..., 0] + _MASKED, zeros[..., 0], zeros)
        highest, total, out = jax.lax.fori_loop(0, blocks.counts[i], step, start)
        total = jnp.maximum(total, jnp.finfo(jnp.float32).tiny)  # padding sees nothing
        return (out / total[..., None]).astype(q.dtype), highest + jnp.log(total)

    outs, sums = jax.lax.map(block, jnp.arange(len(blocks.counts)))
    out = jnp.moveaxis(outs, 0, 3).reshape(q.shape)
    return out, (q, k, v, blocks, out, jnp.moveaxis(sums, 0, 3).reshape(q.shape[:-1]))


def _backward(residuals: tuple[Any, ...], grad: jax.Array) -> tuple[Any, ...]:
    """The gradients from the sums of the softmax (arXiv 2205.14135, algorithm 4)."""
    q, k, v, blocks, out, sums = residuals
    size = blocks.size
    # What the softmax's gradient subtracts: sum over keys of weight times its gradient.
    means = jnp.sum(grad.astype(jnp.float32) * out.astype(jnp.float32), -1)

    def block(carry: tuple[jax.Array, jax.Array], i: jax.Array) -> tuple[Any, jax.Array]:
        queries, out_grad = _block(q, i, size, 3), _block(grad, i, size, 3)
        total, mean = _block(sums, i, size, 3)[..., None], _block(means, i, size, 3)[..., None]

        def step(n: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            dq, dk, dv = carry
            j = blocks.order[i, n]
            keys, values = _block(k, j, size, 2), _block(v, j, size, 2)
            weights = jnp.exp(_scores(queries, keys) - total)
            weights = jnp.where(blocks.mask(i, j), weights, 0.0)
            dweights = _product("bktd,bksd->bkts", _flat(out_grad), values)
            dscores = weights * (dweights.reshape(weights.shape) - mean) * q.shape[-1] ** -0.5
            dscores, weights = _flat(dscores.astype(q.dtype)), _flat(weights.astype(q.dtype))

            def add(x: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
                new = _block(x, j, size, 2) + _product("bkts,bktd->bksd", left, _flat(right))
                return jax.lax.dynamic_update_slice_in_dim(x, new, j * size, 2)

            dq += _product("bkts,bksd->bktd", dscores, keys).reshape(dq.shape)
            return dq, add(dk, dscores, queries), add(dv, weights, out_grad)

        start = (jnp.zeros(queries.shape, jnp.float32), *carry)
        dq, dk, dv = jax.lax.fori_loop(0, blocks.counts[i], step, start)
        return (dk, dv), dq.astype(q.dtype)

    zeros = jnp.zeros(k.shape, jnp.float32)
    (dk, dv), dqs = jax.lax.scan(block, (zeros, zeros), jnp.arange(len(blocks.counts)))
    dq = jnp.moveaxis(dqs, 0, 3).reshape(q.shape)
    return dq, dk.astype(k.dtype), dv.astype(v.dtype), None


_attention.defvjp(_forward, _backward)
