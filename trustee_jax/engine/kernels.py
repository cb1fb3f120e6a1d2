"""Which kernel attends to the cache: the accelerator's own, where it can."""

from __future__ import annotations

import importlib
from typing import Literal

import jax.numpy as jnp

from trustee_jax.engine.config import EngineConfig
from trustee_jax.models.config import ModelConfig
from trustee_jax.models.sharding import MeshRules

Kernel = Literal["xla", "ragged", "paged"]

_MODULES = {
    "ragged": "jax.experimental.pallas.ops.tpu.ragged_paged_attention",
    "paged": "jax.experimental.pallas.ops.gpu.paged_attention",
}
# Bytes that page tables may take of a TPU's scalar memory, 1 MiB, and a page of its vector memory.
_TABLES = 1_000_000
_PAGE = 2**21
# Bytes of keys that a program of a GPU takes at a time; two stages of keys and of values lie in its
# shared memory, of 100 KiB or more.
_BLOCK = 2**15
PAGED_TOKENS = 128
"""Keys that the kernel for GPUs takes at a time; more if a page has more."""


def misfit(
    kernel: Kernel, config: ModelConfig, dtype: jnp.dtype, engine: EngineConfig, rules: MeshRules
) -> str | None:
    """Why a kernel cannot serve the engine, as a remedy; None if it can.

    Args:
      kernel: Which one.
      config: The model's architecture.
      dtype: Of activations.
      engine: Shapes.
      rules: Mesh and table.
    """
    if kernel == "xla":
        return None
    needed = {"ragged": "tpu", "paged": "gpu"}[kernel]
    if (platform := rules.platform) != needed:
        return f"it needs a {needed.upper()}, not a {platform.upper()}"
    try:
        importlib.import_module(_MODULES[kernel])
    except ImportError:
        return "this version of jax has it no more"
    if engine.cache_dtype is not None:
        return f"it takes no scales: engine.cache_dtype is {engine.cache_dtype}"
    reason = _ragged_misfit if kernel == "ragged" else _paged_misfit
    return reason(config, dtype, engine, rules)


def choose(config: ModelConfig, dtype: jnp.dtype, engine: EngineConfig, rules: MeshRules) -> Kernel:
    """The platform's own kernel where it fits, else XLA; arguments as of `misfit`."""
    fitting: tuple[Kernel, ...] = ("ragged", "paged")
    return next((k for k in fitting if not misfit(k, config, dtype, engine, rules)), "xla")


def _ragged_misfit(
    config: ModelConfig, dtype: jnp.dtype, engine: EngineConfig, rules: MeshRules
) -> str | None:
    if config.head_dim != 128:
        return f"it takes heads of 128: the model's have {config.head_dim}"
    if dtype not in (jnp.bfloat16, jnp.float32):
        return f"it takes bfloat16 or float32: model.dtype is {dtype.name}"
    shape = (config.num_kv_heads, config.head_dim)
    kv_heads = rules.sharding(("act_kv_heads", None), shape).shard_shape(shape)[0]
    heads = config.num_heads // config.num_kv_heads * kv_heads
    if not _tiled(heads, kv_heads, dtype):
        return f"it cannot divide {heads} query and {kv_heads} key/value heads a device"
    if engine.page_size * 2 * kv_heads * config.head_dim * dtype.itemsize > _PAGE:
        return f"its pages are of at most 2 MiB: lower engine.page_size = {engine.page_size}"
    parts = rules.mesh.shape["data"] * rules.mesh.shape["fsdp"]
    rows = -(-max(engine.slots, engine.prefill_rows) // parts)
    if rows * -(-engine.pages_per_row // 128) * 128 * 4 > _TABLES:
        return (
            f"its tables of {rows} rows of {engine.pages_per_row} pages do not fit a device's "
            "scalar memory: raise engine.page_size, or lower engine.slots or engine.max_length"
        )
    return None


def _tiled(heads: int, kv_heads: int, dtype: jnp.dtype) -> bool:
    """Whether tiles divide a device's heads as the kernel needs it."""
    packing = 4 // dtype.itemsize
    rows, rest = divmod(2 * kv_heads, packing)
    if rest or (rows not in (1, 2, 4) and rows % 8):
        return False
    # Of many float32 heads it takes four at a time, whose queries must fill a tile.
    return rows <= 8 or packing > 1 or heads > kv_heads


def _paged_misfit(
    config: ModelConfig, dtype: jnp.dtype, engine: EngineConfig, rules: MeshRules
) -> str | None:
    for name, size in (("head_dim", config.head_dim), ("engine.page_size", engine.page_size)):
        if size < 16 or size & (size - 1):
            return f"it takes powers of two, 16 and more: {name} is {size}"
    block = max(PAGED_TOKENS, engine.page_size) * config.head_dim * dtype.itemsize
    if block > _BLOCK:
        return (
            f"it takes {PAGED_TOKENS} keys of a head or a page of them at a time, at most 32 KiB: "
            f"with engine.page_size = {engine.page_size} and {dtype.name} they are {block // 1024}"
        )
    return None
