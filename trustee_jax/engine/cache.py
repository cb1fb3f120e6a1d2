"""The paged KV cache, and attention that reads and writes it."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from trustee_jax.models.config import ModelConfig
from trustee_jax.models.sharding import MeshRules
from trustee_jax.models.transformer import Attend

_AXES = ("cache_batch", "act_kv_heads", None, None)
_MASKED = -1e30
_SMALLEST = 1e-30


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pages:
    """Vectors of every page.

    Attributes:
      vectors: [pages, kv_heads, page_size, head_dim], of the model's dtype or int8.
      scales: float32[pages, kv_heads, page_size, 1], of int8 vectors; else None.
    """

    vectors: jax.Array
    scales: jax.Array | None = None

    def store(self, pages: jax.Array, slots: jax.Array, new: jax.Array) -> Pages:
        """The same with some vectors replaced.

        Args:
          pages: int32[...]; those beyond the last are dropped.
          slots: int32[...], places in the pages.
          new: [..., kv_heads, head_dim].
        """
        if self.scales is None:
            new = new.astype(self.vectors.dtype)
            return Pages(self.vectors.at[pages, :, slots].set(new, mode="drop"))
        new = new.astype(jnp.float32)
        scales = jnp.max(jnp.abs(new), axis=-1, keepdims=True) / 127
        rounded = jnp.round(new / jnp.maximum(scales, _SMALLEST)).astype(jnp.int8)
        return Pages(
            self.vectors.at[pages, :, slots].set(rounded, mode="drop"),
            self.scales.at[pages, :, slots].set(scales, mode="drop"),
        )

    def load(self, pages: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Whole pages, int32[B, N], as [B, kv_heads, N * page_size, head_dim]."""
        found = self.vectors[pages].astype(dtype)
        if self.scales is not None:
            found *= self.scales[pages].astype(dtype)
        batch, count, heads, size, dim = found.shape
        return found.swapaxes(1, 2).reshape(batch, heads, count * size, dim)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of every page.

    Attributes:
      keys: Those of each layer (unrolled layers; on CPU a stacked buffer is copied at every step),
        or a single one with the pages of all layers, one layer after the other on each device
        (scanned layers).
      values: Likewise.
    """

    keys: tuple[Pages, ...]
    values: tuple[Pages, ...]


@dataclasses.dataclass(frozen=True)
class CacheSpec:
    """Shape and layout of a cache.

    The pages are divided over the mesh's data and fsdp axes, and so are the requests: a request's
    pages lie where its row is computed, and its table counts from that part's first page.

    Attributes:
      config: Of the model.
      pages: Pages of each part.
      page_size: Tokens in a page.
      dtype: Of keys and values; int8 with scales.
      stacked: Whether one buffer holds all layers.
      rules: Mesh and table.
    """

    config: ModelConfig
    pages: int
    page_size: int
    dtype: Any
    stacked: bool
    rules: MeshRules

    @property
    def parts(self) -> int:
        """Parts that rows and pages are divided into."""
        shape = self.rules.mesh.shape
        return int(shape["data"] * shape["fsdp"])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one buffer."""
        pages = self.pages * self.parts * (self.config.num_layers if self.stacked else 1)
        return (pages, self.config.num_kv_heads, self.page_size, self.config.head_dim)

    @property
    def sharding(self) -> NamedSharding:
        """Of every buffer."""
        return self.rules.sharding(_AXES, self.shape)

    def abstract(self) -> KVCache:
        """The cache as ShapeDtypeStructs."""

        def buffer(width: int, dtype: Any) -> Any:
            shape = (*self.shape[:-1], width)
            return jax.ShapeDtypeStruct(shape, dtype, sharding=self.sharding)

        scales = buffer(1, jnp.float32) if self.dtype == jnp.int8 else None
        pages = Pages(buffer(self.config.head_dim, self.dtype), scales)
        layers = (pages,) * (1 if self.stacked else self.config.num_layers)
        return KVCache(layers, layers)

    def zeros(self) -> KVCache:
        """An empty cache."""
        return jax.tree.map(
            lambda buffer: jnp.zeros(buffer.shape, buffer.dtype, device=buffer.sharding),
            self.abstract(),
        )

    def attention(self, tables: jax.Array, offsets: jax.Array, counts: jax.Array) -> Attend:
        """Attention of each row's new tokens to all before them, which are in its pages.

        Args:
          tables: int32[B, pages_per_row], the pages of each row's context.
          offsets: int32[B], position of each row's first new token.
          counts: int32[B], new tokens of each row; those behind are padding, which is not stored
            and whose output means nothing.
        """

        def attend(
            q: jax.Array, k: jax.Array, v: jax.Array, cache: KVCache, layer: int | jax.Array
        ) -> tuple[jax.Array, KVCache]:
            at = 0 if self.stacked else int(layer)
            base = layer * self.pages if self.stacked else 0
            batch, length, heads, dim = q.shape
            q = q.reshape(batch, length, k.shape[2], heads // k.shape[2], dim)
            out, keys, values = self._over_parts(
                q, k, v, cache.keys[at], cache.values[at], tables, offsets, counts, jnp.int32(base)
            )
            cache = KVCache(
                (*cache.keys[:at], keys, *cache.keys[at + 1 :]),
                (*cache.values[:at], values, *cache.values[at + 1 :]),
            )
            return out.reshape(batch, length, heads, dim), cache

        return attend

    def _over_parts(self, *args: Any) -> tuple[jax.Array, Pages, Pages]:
        """`_attend` where each part's rows and pages are."""
        device = self.rules.mesh.devices.flat[0]
        run = functools.partial(_attend, on_cpu=device.platform == "cpu")
        if self.rules.mesh.size == 1:
            return run(*args)
        q, k, _, keys, *_ = args

        def spec(x: jax.Array, *axes: str | None) -> jax.sharding.PartitionSpec:
            return self.rules.sharding(axes, x.shape).spec

        row = spec(q, "cache_batch")
        new = spec(k, "cache_batch", None, "act_kv_heads", None)
        query = spec(q, "cache_batch", None, "act_kv_heads", None, None)
        pages = spec(keys.vectors, *_AXES)
        return jax.shard_map(
            run,
            mesh=self.rules.mesh,
            in_specs=(query, new, new, pages, pages, row, row, row, jax.sharding.PartitionSpec()),
            out_specs=(query, pages, pages),
            check_vma=False,
        )(*args)


def _attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    keys: Pages,
    values: Pages,
    tables: jax.Array,
    offsets: jax.Array,
    counts: jax.Array,
    base: jax.Array,
    *,
    on_cpu: bool,
) -> tuple[jax.Array, Pages, Pages]:
    """Stores keys and values, then attends.

    Args:
      q: [B, T, KV, G, D].
      k: [B, T, KV, D].
      v: Likewise.
      keys: P pages.
      values: Likewise.
      tables: int32[B, pages_per_row].
      offsets: int32[B].
      counts: int32[B].
      base: int32[], what is added to the tables' pages.
      on_cpu: Chooses the sizes of blocks.

    Returns:
      [B, T, KV, G, D], keys and values.
    """
    batch, length = q.shape[:2]
    page_size = keys.vectors.shape[2]
    positions = offsets[:, None] + jnp.arange(length)
    pages = base + jnp.take_along_axis(tables, positions // page_size, axis=1, mode="clip")
    pages = jnp.where(jnp.arange(length) < counts[:, None], pages, keys.vectors.shape[0])
    slots = positions % page_size
    keys, values = keys.store(pages, slots, k), values.store(pages, slots, v)

    # Each block of rows runs to the end of its longest: rows of like length belong together.
    lengths = jnp.where(counts > 0, offsets + counts, 0)
    rows = math.gcd(batch, 8) if length == 1 else 1
    if not on_cpu or rows == batch:
        rows = batch
    span = 1 if on_cpu else max(1, min(512 // page_size, tables.shape[1]))
    attend = functools.partial(
        attend_pages, keys=keys, values=values, base=base, pages_at_once=span
    )
    if rows == batch:
        return attend(q, tables, offsets, lengths), keys, values
    order = jnp.argsort(-lengths) if rows > 1 else jnp.arange(batch)

    def split(x: jax.Array) -> jax.Array:
        return x[order].reshape(batch // rows, rows, *x.shape[1:])

    out = lax.map(lambda block: attend(*block), tuple(map(split, (q, tables, offsets, lengths))))
    return out.reshape(q.shape)[jnp.argsort(order)], keys, values


def attend_pages(
    q: jax.Array,
    tables: jax.Array,
    offsets: jax.Array,
    lengths: jax.Array,
    *,
    keys: Pages,
    values: Pages,
    base: jax.Array,
    pages_at_once: int,
) -> jax.Array:
    """Softmax attention over pages, in one pass (the online softmax of arXiv 2205.14135, alg. 1).

    A query's result does not depend, in any bit, on the other rows, nor on how long they are.

    Args:
      q: [B, T, KV, G, D].
      tables: int32[B, pages_per_row].
      offsets: int32[B], position of the first query.
      lengths: int32[B], tokens in the cache, the queries' own included; 0 for an idle row.
      keys: P pages.
      values: Likewise.
      base: int32[], what is added to the tables' pages.
      pages_at_once: Pages of each row in a step.

    Returns:
      [B, T, KV, G, D] of q's dtype; finite, but without meaning, for idle rows.
    """
    batch, length, kv_heads, groups, dim = q.shape
    page_size = keys.vectors.shape[2]
    span = pages_at_once * page_size
    padding = -tables.shape[1] % pages_at_once
    tables = jnp.pad(tables, ((0, 0), (0, padding))) + base
    queries = q.transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, groups * length, dim)
    positions = jnp.tile(offsets[:, None] + jnp.arange(length), (1, groups))[:, None, :, None]

    def step(
        i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        maximum, total, out = carry
        at = lax.dynamic_slice_in_dim(tables, i * pages_at_once, pages_at_once, 1)
        scores = jnp.einsum(
            "bktd,bksd->bkts", queries, keys.load(at, q.dtype), preferred_element_type=jnp.float32
        )
        visible = i * span + jnp.arange(span) <= positions
        scores = jnp.where(visible, scores * dim**-0.5, _MASKED)
        new_maximum = jnp.maximum(maximum, jnp.max(scores, -1))
        weights = jnp.exp(scores - new_maximum[..., None])
        correction = jnp.exp(maximum - new_maximum)
        product = jnp.einsum(
            "bkts,bksd->bktd",
            weights.astype(q.dtype),
            values.load(at, q.dtype),
            preferred_element_type=jnp.float32,
        )
        return (
            new_maximum,
            total * correction + jnp.sum(weights, -1),
            out * correction[..., None] + product,
        )

    shape = queries.shape[:-1]
    start = (
        jnp.full(shape, _MASKED, jnp.float32),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros(queries.shape, jnp.float32),
    )
    steps = (jnp.max(lengths) + span - 1) // span
    _, total, out = lax.fori_loop(0, steps, step, start)
    out = out / jnp.maximum(total, 1e-30)[..., None]
    out = out.reshape(batch, kv_heads, groups, length, dim).transpose(0, 3, 1, 2, 4)
    return out.astype(q.dtype)


def copy_pages(
    spec: CacheSpec,
    cache: KVCache,
    sources: np.ndarray | jax.Array,
    targets: np.ndarray | jax.Array,
) -> KVCache:
    """Copies whole pages within each part.

    Args:
      spec: Of the cache.
      cache: The cache.
      sources: int32[parts, N], pages counted within the part.
      targets: int32[parts, N]; a negative one is dropped.
    """
    layers = spec.config.num_layers if spec.stacked else 1

    def copy(buffer: jax.Array, sources: jax.Array, targets: jax.Array) -> jax.Array:
        sources, targets = sources[0], targets[0]

        def layer(i: jax.Array | int, buffer: jax.Array) -> jax.Array:
            pages = buffer[i * spec.pages + sources]
            at = jnp.where(targets < 0, buffer.shape[0], i * spec.pages + targets)
            return buffer.at[at].set(pages, mode="drop")

        # All layers at once would be gathered through a copy of the whole buffer (XLA on TPU).
        return lax.fori_loop(0, layers, layer, buffer) if spec.stacked else layer(0, buffer)

    if spec.rules.mesh.size > 1:
        which = spec.rules.sharding(("cache_batch", None), (spec.parts, 1)).spec
        pages = spec.sharding.spec
        copy = jax.shard_map(
            copy,
            mesh=spec.rules.mesh,
            in_specs=(pages, which, which),
            out_specs=pages,
            check_vma=False,
        )
    pairs = jnp.asarray(sources), jnp.asarray(targets)
    return jax.tree.map(lambda buffer: copy(buffer, *pairs), cache)
