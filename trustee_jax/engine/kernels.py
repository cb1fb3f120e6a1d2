"""Which kernel attends to the cache: the accelerator's own, where it can."""

from __future__ import annotations

import importlib.util
from typing import Literal

import jax.numpy as jnp

from trustee_jax.engine.config import EngineConfig
from trustee_jax.models.config import ModelConfig
from trustee_jax.models.sharding import MeshRules

Kernel = Literal["xla", "ragged", "paged"]

_PAGED = "jax.experimental.pallas.ops.gpu.paged_attention"


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
    if config.head_dim % 128:
        return f"it takes heads of a multiple of 128: the model's have {config.head_dim}"
    if dtype not in (jnp.bfloat16, jnp.float32):
        return f"it takes bfloat16 or float32: model.dtype is {dtype.name}"
    return None


def _paged_misfit(
    config: ModelConfig, dtype: jnp.dtype, engine: EngineConfig, rules: MeshRules
) -> str | None:
    if importlib.util.find_spec(_PAGED) is None:
        return "this version of jax has it no more"
    for name, size in (("head_dim", config.head_dim), ("engine.page_size", engine.page_size)):
        if size < 16 or size & (size - 1):
            return f"it takes powers of two, 16 and more: {name} is {size}"
    return None
