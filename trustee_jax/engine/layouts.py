"""How keys and values lie in pages, and attention over them, for each kernel.

`attend_pages` is the reference that the kernels are tested against.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import lax

from trustee_jax.engine.kernels import PAGED_TOKENS
from trustee_jax.models.sharding import Axes

_MASKED = -1e30
_SMALLEST = 1e-30


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Vectors:
    """Keys, values or both.

    Attributes:
      values: [..., head_dim], of the model's dtype or int8.
      scales: float32[..., 1], of int8 vectors; else None.
    """

    values: jax.Array
    scales: jax.Array | None = None

    def put(self, at: tuple[Any, ...], new: jax.Array) -> Vectors:
        """The same with new vectors at some index; those beyond the last are dropped."""
        if self.scales is None:
            new = new.astype(self.values.dtype)
            return Vectors(self.values.at[at].set(new, mode="drop"))
        new = new.astype(jnp.float32)
        scales = jnp.max(jnp.abs(new), axis=-1, keepdims=True) / 127
        rounded = jnp.round(new / jnp.maximum(scales, _SMALLEST)).astype(jnp.int8)
        return Vectors(
            self.values.at[at].set(rounded, mode="drop"),
            self.scales.at[at].set(scales, mode="drop"),
        )

    def take(self, at: tuple[Any, ...], dtype: jnp.dtype) -> jax.Array:
        """The vectors at some index."""
        found = self.values[at].astype(dtype)
        return found if self.scales is None else found * self.scales[at].astype(dtype)


class Pages(abc.ABC):
    """Keys and values in pages: a dataclass of Vectors, one for keys and one for values, or both.

    Attributes:
      AXES: Logical axes of every buffer: "cache_batch" counts pages, "cache_length" tokens of one.
      VECTORS: Vectors of a token and head in a buffer: 1, or 2 for a key beside its value.
    """

    AXES: ClassVar[Axes]
    VECTORS: ClassVar[int] = 1

    def size(self, axis: str) -> int:
        """Of a logical axis."""
        buffer: jax.Array = jax.tree.leaves(self)[0]
        return buffer.shape[self.AXES.index(axis)]

    @abc.abstractmethod
    def store(self, pages: jax.Array, slots: jax.Array, k: jax.Array, v: jax.Array) -> Self:
        """The same with some vectors replaced.

        Args:
          pages: int32[B, T]; those beyond the last are dropped.
          slots: int32[B, T], places in the pages.
          k: [B, T, KV, D].
          v: Likewise.
        """

    @abc.abstractmethod
    def load(self, pages: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        """Keys and values of whole pages, int32[B, N], as [B, KV, N * page_size, D]."""

    def attend(
        self,
        q: jax.Array,
        tables: jax.Array,
        offsets: jax.Array,
        counts: jax.Array,
        base: jax.Array,
        platform: str,
    ) -> jax.Array:
        """Softmax attention of new tokens, which are stored, to all up to each; here by XLA.

        A query's result does not depend, in any bit, on the other rows, nor on how long they are.
        By the ragged kernel it may depend on where its piece of the prompt begins.

        Args:
          q: [B, T, KV, G, D].
          tables: int32[B, pages_per_row].
          offsets: int32[B], position of the first query.
          counts: int32[B], queries of each row; those behind are padding.
          base: int32[], the layer's first page, which tables count from.
          platform: Chooses the sizes of blocks; on a CPU the GPU's kernel is interpreted.

        Returns:
          [B, T, KV, G, D] of q's dtype; finite, but without meaning, for padding.
        """
        return _attend_by_xla(self, q, tables, offsets, counts, base, platform)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class XlaPages(Pages):
    """[pages, KV, page_size, D] each; XLA's own operations, on every platform.

    Attributes:
      keys: Of every token.
      values: Likewise.
    """

    AXES = ("cache_batch", "act_kv_heads", "cache_length", None)

    keys: Vectors
    values: Vectors

    def store(self, pages: jax.Array, slots: jax.Array, k: jax.Array, v: jax.Array) -> Self:
        """See `Pages`."""
        at = (pages, slice(None), slots)
        return type(self)(self.keys.put(at, k), self.values.put(at, v))

    def load(self, pages: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        """See `Pages`."""

        def flat(vectors: Vectors) -> jax.Array:
            found = vectors.take((pages,), dtype).swapaxes(1, 2)
            return found.reshape(*found.shape[:2], -1, found.shape[-1])

        return flat(self.keys), flat(self.values)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PagedPages(Pages):
    """[KV, pages, page_size, D] each; decoding by the Pallas kernel for GPUs, prompts by XLA.

    Attributes:
      keys: Of every token.
      values: Likewise.
    """

    AXES = ("act_kv_heads", "cache_batch", "cache_length", None)

    keys: Vectors
    values: Vectors

    def store(self, pages: jax.Array, slots: jax.Array, k: jax.Array, v: jax.Array) -> Self:
        """See `Pages`."""
        at = (slice(None), pages, slots)
        k, v = (jnp.moveaxis(x, 2, 0) for x in (k, v))
        return type(self)(self.keys.put(at, k), self.values.put(at, v))

    def load(self, pages: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        """See `Pages`."""

        def flat(vectors: Vectors) -> jax.Array:
            found = vectors.take((slice(None), pages), dtype).swapaxes(0, 1)
            return found.reshape(*found.shape[:2], -1, found.shape[-1])

        return flat(self.keys), flat(self.values)

    def attend(
        self,
        q: jax.Array,
        tables: jax.Array,
        offsets: jax.Array,
        counts: jax.Array,
        base: jax.Array,
        platform: str,
    ) -> jax.Array:
        """See `Pages`."""
        if q.shape[1] > 1:
            return super().attend(q, tables, offsets, counts, base, platform)
        from jax.experimental.pallas.ops.gpu.paged_attention import paged_attention

        # Up to 16 programs share a row.
        at_once = max(1, PAGED_TOKENS // self.size("cache_length"))
        splits = min(16, -(-tables.shape[1] // at_once))
        tables = jnp.pad(tables, ((0, 0), (0, -tables.shape[1] % (splits * at_once)))) + base
        out: jax.Array = paged_attention(
            q.reshape(q.shape[0], -1, q.shape[-1]) * q.shape[-1] ** -0.5,
            self.keys.values,
            self.values.values,
            tables,
            jnp.where(counts > 0, offsets + counts, 0),
            pages_per_compute_block=at_once,
            k_splits=splits,
            interpret=platform == "cpu",
        )
        return out.reshape(q.shape)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RaggedPages(Pages):
    """[pages, page_size, 2 KV, D], each key before its value; the Pallas kernel for TPUs.

    Attributes:
      both: Keys and values of every token.
    """

    AXES = ("cache_batch", "cache_length", "act_kv_heads", None)
    VECTORS = 2

    both: Vectors

    def store(self, pages: jax.Array, slots: jax.Array, k: jax.Array, v: jax.Array) -> Self:
        """See `Pages`."""
        both = jnp.stack([k, v], axis=3).reshape(*k.shape[:2], -1, k.shape[-1])
        return type(self)(self.both.put((pages, slots), both))

    def load(self, pages: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        """See `Pages`."""
        found = self.both.take((pages,), dtype)
        found = found.reshape(found.shape[0], -1, *found.shape[3:]).swapaxes(1, 2)
        return found[:, ::2], found[:, 1::2]

    def attend(
        self,
        q: jax.Array,
        tables: jax.Array,
        offsets: jax.Array,
        counts: jax.Array,
        base: jax.Array,
        platform: str,
    ) -> jax.Array:
        """See `Pages`."""
        from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ragged_paged_attention

        batch, length, _, _, dim = q.shape
        # The kernel aligns a row's last query with its last key: padding counts for both. Idle
        # rows look at what lies in some page.
        lengths = jnp.where(counts > 0, offsets, 0) + length
        out: jax.Array = ragged_paged_attention(
            q.reshape(batch * length, -1, dim),
            self.both.values,
            lengths,
            tables + base,
            jnp.arange(batch + 1) * length,
            jnp.full(1, batch),
            sm_scale=dim**-0.5,
            num_kv_pages_per_block=min(tables.shape[1], self._pages_per_block),
            # A block's queries all compute what one row needs.
            num_queries_per_block=min(batch * length, 8 if length == 1 else 32),
        )
        return out.reshape(q.shape)

    @property
    def _pages_per_block(self) -> int:
        """1,024 tokens, as far as two blocks take 4 MiB of VMEM and 128 pages."""
        vectors = self.both.values
        bytes_per_token = math.prod(vectors.shape[2:]) * vectors.dtype.itemsize
        tokens = min(1024, 2**21 // bytes_per_token)
        return max(1, min(128, tokens // self.size("cache_length")))


LAYOUTS: Mapping[str, type[Pages]] = {"xla": XlaPages, "paged": PagedPages, "ragged": RaggedPages}
"""By the name of the kernel."""


def _attend_by_xla(
    pages: Pages,
    q: jax.Array,
    tables: jax.Array,
    offsets: jax.Array,
    counts: jax.Array,
    base: jax.Array,
    platform: str,
) -> jax.Array:
    """`attend_pages` in blocks of rows: each runs to the end of its longest."""
    batch, length = q.shape[:2]
    lengths = jnp.where(counts > 0, offsets + counts, 0)
    # Rows of like length belong together.
    rows = math.gcd(batch, 8) if length == 1 else 1
    if platform != "cpu" or rows == batch:
        rows = batch
    page_size = pages.size("cache_length")
    span = 1 if platform == "cpu" else max(1, min(512 // page_size, tables.shape[1]))
    attend = functools.partial(attend_pages, pages=pages, base=base, pages_at_once=span)
    if rows == batch:
        return attend(q, tables, offsets, lengths)
    order = jnp.argsort(-lengths) if rows > 1 else jnp.arange(batch)

    def split(x: jax.Array) -> jax.Array:
        return x[order].reshape(batch // rows, rows, *x.shape[1:])

    out = lax.map(lambda block: attend(*block), tuple(map(split, (q, tables, offsets, lengths))))
    return out.reshape(q.shape)[jnp.argsort(order)]


def attend_pages(
    q: jax.Array,
    tables: jax.Array,
    offsets: jax.Array,
    lengths: jax.Array,
    *,
    pages: Pages,
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
      pages: Keys and values.
      base: int32[], what is added to the tables' pages.
      pages_at_once: Pages of each row in a step.

    Returns:
      [B, T, KV, G, D] of q's dtype; finite, but without meaning, for idle rows.
    """
    batch, length, kv_heads, groups, dim = q.shape
    span = pages_at_once * pages.size("cache_length")
    padding = -tables.shape[1] % pages_at_once
    tables = jnp.pad(tables, ((0, 0), (0, padding))) + base
    queries = q.transpose(0, 2, 3, 1, 4).reshape(batch, kv_heads, groups * length, dim)
    positions = jnp.tile(offsets[:, None] + jnp.arange(length), (1, groups))[:, None, :, None]

    def step(
        i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        maximum, total, out = carry
        at = lax.dynamic_slice_in_dim(tables, i * pages_at_once, pages_at_once, 1)
        keys, values = pages.load(at, q.dtype)
        scores = jnp.einsum("bktd,bksd->bkts", queries, keys, preferred_element_type=jnp.float32)
        visible = i * span + jnp.arange(span) <= positions
        scores = jnp.where(visible, scores * dim**-0.5, _MASKED)
        new_maximum = jnp.maximum(maximum, jnp.max(scores, -1))
        weights = jnp.exp(scores - new_maximum[..., None])
        correction = jnp.exp(maximum - new_maximum)
        product = jnp.einsum(
            "bkts,bksd->bktd",
            weights.astype(q.dtype),
            values,
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
    out = out / jnp.maximum(total, _SMALLEST)[..., None]
    out = out.reshape(batch, kv_heads, groups, length, dim).transpose(0, 3, 1, 2, 4)
    return out.astype(q.dtype)
