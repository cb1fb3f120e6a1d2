"""Attention over packed training rows, in blocks of queries."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from trustee_jax.models.sharding import MeshRules
from trustee_jax.models.transformer import Attend

# Most queries in a block: attention keeps scores of [B, H, BLOCK, T] float32, whatever T is.
QUERY_BLOCK = 512
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


def packed_attention(segments: jax.Array, parents: jax.Array, rules: MeshRules) -> Attend:
    """Causal attention within segments and to their parents.

    A token sees the earlier tokens of its own segment and all earlier tokens of its segment's
    parent. Completions that share a prompt are segments with the prompt as parent, so the prompt is
    computed once for the whole group.

    Args:
      segments: int32[B, T], id of each token's segment, 0 for padding.
      parents: int32[B, T], id of the segment that it continues, 0 for none.
      rules: Mesh and table for activations.
    """

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, cache: Any, layer: int | jax.Array
    ) -> tuple[jax.Array, Any]:
        del layer
        batch, length, heads, dim = q.shape
        k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
        index = jnp.arange(length)

        def block(q: jax.Array, segment: jax.Array, parent: jax.Array, row: jax.Array) -> jax.Array:
            related = (segment[..., None] == segments[:, None]) | (
                parent[..., None] == segments[:, None]
            )
            mask = related & (segments > 0)[:, None] & (index <= row[:, None])
            return grouped_query_attention(q, k, v, mask)

        if length <= QUERY_BLOCK:
            return block(q, segments, parents, index), cache
        # Blocks as equal as can be: any length is padded by fewer queries than there are blocks.
        blocks = -(-length // QUERY_BLOCK)
        size = -(-length // blocks)
        padding = blocks * size - length

        def split(x: jax.Array) -> jax.Array:
            x = jnp.pad(x, ((0, 0), (0, padding), *[(0, 0)] * (x.ndim - 2)))
            return jnp.moveaxis(x.reshape(batch, blocks, size, *x.shape[2:]), 1, 0)

        rows = jnp.arange(blocks * size).reshape(blocks, size)
        out = jax.lax.map(
            lambda args: jax.checkpoint(block)(*args),
            (split(q), split(segments), split(parents), rows),
        )
        out = jnp.moveaxis(out, 0, 1).reshape(batch, blocks * size, heads, dim)[:, :length]
        return rules.constrain(out, "batch", None, "act_heads", None), cache

    return attend
