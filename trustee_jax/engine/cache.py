"""The paged KV cache of a mesh, and attention that reads and writes it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from trustee_jax.engine.kernels import Kernel
from trustee_jax.engine.layouts import LAYOUTS, Pages, Vectors
from trustee_jax.models.config import ModelConfig
from trustee_jax.models.sharding import MeshRules
from trustee_jax.models.transformer import Attend


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
    """Keys and values of every page.

    Attributes:
      layers: Those of each layer (unrolled layers; on CPU a stacked buffer is copied at every
        step), or a single one with the pages of all layers, one layer after the other on each
        device (scanned layers).
    """

    layers: tuple[Pages, ...]


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
      kernel: What attends; the pages lie as it wants them.
    """

    config: ModelConfig
    pages: int
    page_size: int
    dtype: Any
    stacked: bool
    rules: MeshRules
    kernel: Kernel

    @property
    def parts(self) -> int:
        """Parts that rows and pages are divided into."""
        shape = self.rules.mesh.shape
        return int(shape["data"] * shape["fsdp"])

    @property
    def layout(self) -> type[Pages]:
        """Where in a buffer a vector is."""
        return LAYOUTS[self.kernel]

    def _shape(self, vectors: int, width: int) -> tuple[int, ...]:
        pages = self.pages * self.parts * (self.config.num_layers if self.stacked else 1)
        sizes = {
            "cache_batch": pages,
            "cache_length": self.page_size,
            "act_kv_heads": self.config.num_kv_heads * vectors,
            None: width,
        }
        return tuple(sizes[axis] for axis in self.layout.AXES)

    @property
    def sharding(self) -> NamedSharding:
        """Of every buffer; a head's key and value stay together."""
        return self.rules.sharding(self.layout.AXES, self._shape(1, self.config.head_dim))

    def abstract(self) -> KVCache:
        """The cache as ShapeDtypeStructs."""

        def buffer(width: int, dtype: Any) -> Any:
            shape = self._shape(self.layout.VECTORS, width)
            return jax.ShapeDtypeStruct(shape, dtype, sharding=self.sharding)

        scales = buffer(1, jnp.float32) if self.dtype == jnp.int8 else None
        vectors = Vectors(buffer(self.config.head_dim, self.dtype), scales)
        pages = self.layout(*[vectors] * (2 // self.layout.VECTORS))
        return KVCache((pages,) * (1 if self.stacked else self.config.num_layers))

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
            out, pages = self._over_parts(
                q, k, v, cache.layers[at], tables, offsets, counts, jnp.int32(base)
            )
            cache = KVCache((*cache.layers[:at], pages, *cache.layers[at + 1 :]))
            return out.reshape(batch, length, heads, dim), cache

        return attend

    def _over_parts(self, *args: Any) -> tuple[jax.Array, Pages]:
        """`_attend` where each part's rows and pages are."""
        run = functools.partial(_attend, platform=self.rules.platform)
        if self.rules.mesh.size == 1:
            return run(*args)
        q, k, *_ = args

        def spec(x: jax.Array, *axes: str | None) -> jax.sharding.PartitionSpec:
            return self.rules.sharding(axes, x.shape).spec

        row = spec(q, "cache_batch")
        new = spec(k, "cache_batch", None, "act_kv_heads", None)
        query = spec(q, "cache_batch", None, "act_kv_heads", None, None)
        pages = self.sharding.spec
        return jax.shard_map(
            run,
            mesh=self.rules.mesh,
            in_specs=(query, new, new, pages, row, row, row, jax.sharding.PartitionSpec()),
            out_specs=(query, pages),
            check_vma=False,
        )(*args)


def _attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pages: Pages,
    tables: jax.Array,
    offsets: jax.Array,
    counts: jax.Array,
    base: jax.Array,
    *,
    platform: str,
) -> tuple[jax.Array, Pages]:
    """Stores keys and values [B, T, KV, D], then attends; see `Pages.attend`."""
    length, page_size = q.shape[1], pages.size("cache_length")
    positions = offsets[:, None] + jnp.arange(length)
    at = base + jnp.take_along_axis(tables, positions // page_size, axis=1, mode="clip")
    at = jnp.where(jnp.arange(length) < counts[:, None], at, pages.size("cache_batch"))
    pages = pages.store(at, positions % page_size, k, v)
    return pages.attend(q, tables, offsets, counts, base, platform), pages


def copy_pages(
    spec: CacheSpec,
    cache: KVCache,
    sources: np.ndarray | jax.Array,
    targets: np.ndarray | jax.Array,
) -> KVCache:
    """Copies whole pages within each part, one after the other.

    Args:
      spec: Of the cache.
      cache: The cache.
      sources: int32[parts, N], pages counted within the part.
      targets: int32[parts, N]; a negative one is dropped.
    """
    layers = spec.config.num_layers if spec.stacked else 1
    axis = spec.layout.AXES.index("cache_batch")

    def copy(buffer: jax.Array, sources: jax.Array, targets: jax.Array) -> jax.Array:
        sources, targets = sources[0], targets[0]

        # Several pages at once would be gathered through a copy of the whole buffer (XLA on TPU).
        def one(i: jax.Array, buffer: jax.Array) -> jax.Array:
            base, pair = i // len(sources) * spec.pages, i % len(sources)
            source = base + sources[pair]
            page = lax.dynamic_slice_in_dim(buffer, source, 1, axis)
            target = jnp.where(targets[pair] < 0, source, base + targets[pair])
            return lax.dynamic_update_slice_in_dim(buffer, page, target, axis)

        return lax.fori_loop(0, layers * len(sources), one, buffer)

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
