"""The KV cache, and attention that reads and writes it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from trustee_jax.models.attention import grouped_query_attention
from trustee_jax.models.config import ModelConfig
from trustee_jax.models.sharding import MeshRules
from trustee_jax.models.transformer import Attend

_AXES = ("cache_batch", "act_kv_heads", "cache_length", None)
_DROP = lax.GatherScatterMode.FILL_OR_DROP


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of every slot.

    Attributes:
      keys: One [slots, kv_heads, length, head_dim] buffer per layer (unrolled layers; on CPU a
        stacked buffer is copied at every step), or a single [layers, slots, kv_heads, length,
        head_dim] (scanned layers).
      values: Likewise.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]

    @property
    def stacked(self) -> bool:
        """Whether one buffer holds all layers."""
        return self.keys[0].ndim == 5

    @property
    def length(self) -> int:
        """Positions per slot."""
        return self.keys[0].shape[-2]

    def buffer(self, buffers: tuple[jax.Array, ...], layer: int | jax.Array) -> jax.Array:
        """[slots, kv_heads, length, head_dim] of one layer."""
        return buffers[0][layer] if self.stacked else buffers[layer]

    def write(
        self,
        layer: int | jax.Array,
        slots: jax.Array,
        offsets: jax.Array,
        k: jax.Array,
        v: jax.Array,
    ) -> KVCache:
        """Stores a chunk of each row; rows whose chunk would leave the cache are dropped.

        Args:
          layer: Which layer.
          slots: int32[P], slot of each row.
          offsets: int32[P], position of each row's first token.
          k: [P, C, kv_heads, head_dim].
          v: Likewise.
        """
        # One scatter window per row: on CPU a scatter is a loop over windows, on TPU it partitions
        # over the slots.
        indices = jnp.stack([slots, offsets], axis=-1)
        inserted: tuple[int, ...] = (0,)
        operand_dims: tuple[int, ...] = (0, 2)
        if self.stacked:
            indices = jnp.concatenate([jnp.full_like(indices[:, :1], layer), indices], axis=-1)
            inserted, operand_dims = (0, 1), (0, 1, 3)
        numbers = lax.ScatterDimensionNumbers(
            update_window_dims=(1, 2, 3),
            inserted_window_dims=inserted,
            scatter_dims_to_operand_dims=operand_dims,
        )

        def store(buffers: tuple[jax.Array, ...], new: jax.Array) -> tuple[jax.Array, ...]:
            at = 0 if self.stacked else int(layer)
            updates = new.transpose(0, 2, 1, 3).astype(buffers[at].dtype)
            stored = lax.scatter(buffers[at], indices, updates, numbers, mode=_DROP)
            return (*buffers[:at], stored, *buffers[at + 1 :])

        return KVCache(store(self.keys, k), store(self.values, v))


@dataclasses.dataclass(frozen=True)
class CacheSpec:
    """Shape and layout of a cache.

    Attributes:
      config: Of the model.
      slots: Rows.
      dtype: Of keys and values.
      stacked: Whether one buffer holds all layers.
      rules: Mesh and table.
    """

    config: ModelConfig
    slots: int
    dtype: Any
    stacked: bool
    rules: MeshRules

    def shape(self, length: int) -> tuple[int, ...]:
        """Of one buffer with `length` positions per slot."""
        shape = (self.slots, self.config.num_kv_heads, length, self.config.head_dim)
        return (self.config.num_layers, *shape) if self.stacked else shape

    @property
    def sharding(self) -> NamedSharding:
        """Of every buffer."""
        axes = ("layers", *_AXES) if self.stacked else _AXES
        return self.rules.sharding(axes, self.shape(1))

    def abstract(self, length: int) -> KVCache:
        """The cache as ShapeDtypeStructs."""
        buffer = jax.ShapeDtypeStruct(self.shape(length), self.dtype, sharding=self.sharding)
        buffers = (buffer,) * (1 if self.stacked else self.config.num_layers)
        return KVCache(buffers, buffers)  # type: ignore[arg-type]

    def zeros(self, length: int) -> KVCache:
        """An empty cache."""
        return jax.tree.map(
            lambda buffer: jnp.zeros(buffer.shape, buffer.dtype, device=buffer.sharding),
            self.abstract(length),
        )


def grow(cache: KVCache, length: int) -> KVCache:
    """The same contents with more positions per slot; `cache` is used up."""

    def pad(buffer: jax.Array) -> jax.Array:
        widths = [(0, 0)] * buffer.ndim
        widths[-2] = (0, length - buffer.shape[-2])
        grown = jax.jit(jnp.pad, static_argnums=1, out_shardings=buffer.sharding)(
            buffer, tuple(widths)
        )
        # At once, or the whole old cache would be there beside the whole new one.
        buffer.delete()
        return grown

    return jax.tree.map(pad, cache)


def copy_slots(
    cache: KVCache, sources: np.ndarray | jax.Array, targets: np.ndarray | jax.Array
) -> KVCache:
    """Copies whole slots; targets outside the cache are dropped.

    Args:
      cache: The cache.
      sources: int32[N].
      targets: int32[N].
    """

    def copy(buffer: jax.Array) -> jax.Array:
        rows = jnp.take(buffer, sources, axis=0, mode="clip")
        return buffer.at[targets].set(rows, mode="drop")

    def copy_layer(layer: jax.Array, buffer: jax.Array) -> jax.Array:
        rows = jnp.take(buffer[layer], sources, axis=0, mode="clip")
        return buffer.at[layer, targets].set(rows, mode="drop")

    if not cache.stacked:
        return jax.tree.map(copy, cache)
    # All layers at once would be gathered through a copy of the whole buffer (XLA on TPU).
    return jax.tree.map(lambda x: jax.lax.fori_loop(0, x.shape[0], copy_layer, x), cache)


def cached_attention(slots: jax.Array | None, offsets: jax.Array, total_slots: int) -> Attend:
    """Attention of new tokens to everything cached before them.

    Args:
      slots: int32[P], slot of each row; None if row i is slot i (decoding).
      offsets: int32[P], position of each row's first new token. Beyond the cache: nothing is
        written.
      total_slots: Number of slots, for `slots=None`.
    """
    where = jnp.arange(total_slots) if slots is None else slots

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, cache: KVCache, layer: int | jax.Array
    ) -> tuple[jax.Array, KVCache]:
        cache = cache.write(layer, where, offsets, k, v)
        keys, values = cache.buffer(cache.keys, layer), cache.buffer(cache.values, layer)
        if slots is not None:
            keys, values = keys[slots], values[slots]
        positions = offsets[:, None] + jnp.arange(q.shape[1])
        mask = jnp.arange(cache.length) <= positions[..., None]
        return grouped_query_attention(q, keys, values, mask), cache

    return attend
