"""Flash attention by the accelerator's own kernels, over packed rows.

`models.attention.packed_attention` is what calls them, and the reference that they are tested
against.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from trustee_jax.models.config import ModelConfig
from trustee_jax.models.sharding import MeshRules

Kernel = Literal["xla", "splash", "cudnn"]
Run = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""Queries [B, T, H, D], keys and values [B, T, K, D] to outputs [B, T, H, D]."""

_HEADS = ("batch", None, "act_heads", None)
_KV_HEADS = ("batch", None, "act_kv_heads", None)
# Both kernels read a mask of T x T from memory.
_LONGEST = 16384


def misfit(
    kernel: Kernel, config: ModelConfig, dtype: jnp.dtype, length: int, rules: MeshRules
) -> str | None:
    """Why a kernel cannot serve the learner, as a remedy; None if it can.

    Args:
      kernel: Which one.
      config: The model's architecture.
      dtype: Of activations.
      length: Of packed rows.
      rules: Mesh and table for activations.
    """
    if kernel == "xla":
        return None
    needed, dim = {"splash": "tpu", "cudnn": "gpu"}[kernel], config.head_dim
    if (platform := rules.platform) != needed:
        return f"it needs a {needed.upper()}, not a {platform.upper()}"
    multiple = 128 if kernel == "splash" else 2
    if length % multiple or length > _LONGEST:
        return (
            f"it takes rows of a multiple of {multiple}, at most {_LONGEST}: learner.row_length is "
            f"{length}"
        )
    if kernel == "splash" and dim % 128:
        return f"it takes heads of a multiple of 128: the model's have {dim}"
    if kernel == "cudnn" and (dim % 8 or dim > 128):
        return f"it takes heads of at most 128, a multiple of 8: the model's have {dim}"
    if kernel == "cudnn" and dtype != jnp.bfloat16:
        return f"it takes bfloat16: model.dtype is {dtype.name}"
    split = [
        rules.sharding(axes, (1, length, heads, dim)).spec[2]
        for axes, heads in ((_HEADS, config.num_heads), (_KV_HEADS, config.num_kv_heads))
    ]
    if split[0] != split[1]:
        tensor = rules.mesh.shape["tensor"]
        return f"mesh.tensor = {tensor} must divide the {config.num_kv_heads} key/value heads"
    return None


def choose(config: ModelConfig, dtype: jnp.dtype, length: int, rules: MeshRules) -> Kernel:
    """The platform's own kernel where it fits, else XLA; arguments as of `misfit`."""
    fitting: tuple[Kernel, ...] = ("splash", "cudnn")
    return next((k for k in fitting if not misfit(k, config, dtype, length, rules)), "xla")


def visible(
    segments: jax.Array,
    parents: jax.Array,
    keys: jax.Array,
    query_index: jax.Array,
    key_index: jax.Array,
) -> jax.Array:
    """The mask of packed rows.

    Args:
      segments: int32[B, Q], segments of the queries.
      parents: int32[B, Q], their parents.
      keys: int32[B, S], segments of the keys.
      query_index: int32[Q], places of the queries in their row.
      key_index: int32[S], places of the keys.

    Returns:
      bool[B, Q, S].
    """
    keys = keys[:, None]
    related = (segments[..., None] == keys) | (parents[..., None] == keys)
    return related & (keys > 0) & (key_index <= query_index[:, None])


def _mask(segments: jax.Array, parents: jax.Array) -> jax.Array:
    """bool[B, T, T], with padding seeing itself: a softmax over nothing is no number."""
    index = jnp.arange(segments.shape[1])
    mask = visible(segments, parents, segments, index, index)
    return mask | ((segments == 0)[..., None] & (index == index[:, None]))


def _shard(
    function: Callable[..., Any], rules: MeshRules, specs: tuple[Any, ...], out: Any
) -> Callable[..., Any]:
    """A function of whole arrays that runs on each device's part: GSPMD cannot divide kernels."""
    if rules.mesh.size == 1:
        return function
    return jax.shard_map(function, mesh=rules.mesh, in_specs=specs, out_specs=out, check_vma=False)


def _splash(segments: jax.Array, parents: jax.Array, rules: MeshRules) -> Run:
    """Splash attention with a mask that is data; interpreted on a CPU."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as masks

    length = segments.shape[1]
    size = next(size for size in (512, 256, 128) if length % size == 0)
    names = [f.name for f in dataclasses.fields(splash.BlockSizes) if f.name.startswith("block")]
    blocks: Any = dict.fromkeys(names, size)
    sizes = splash.BlockSizes(**blocks)
    rows = rules.sharding(("batch", None), segments.shape).spec
    batch = PartitionSpec(rows[0])

    def prepare(segments: jax.Array, parents: jax.Array) -> tuple[tuple[jax.Array, ...], ...]:
        mask = _mask(segments, parents)[:, None]
        both = (masks.process_dynamic_mask, masks.process_dynamic_mask_dkv)
        # The fields of a MaskInfo that are arrays.
        return tuple(
            jax.vmap(lambda m, process=process: tuple(process(m, (size, size))[0][:4]))(mask)
            for process in both
        )

    infos = _shard(prepare, rules, (rows, rows), batch)(segments, parents)

    mask_info: Any = masks.MaskInfo

    def one(inputs: Any) -> jax.Array:
        (forward, backward), q, k, v = inputs
        forward, backward = (mask_info(*info, None, True) for info in (forward, backward))
        kernel: Any = splash.SplashAttentionKernel(
            forward,
            forward,
            backward,
            block_sizes=sizes,
            is_mqa=False,
            save_residuals=False,
            mask_value=splash.DEFAULT_MASK_VALUE,
            attn_logits_soft_cap=None,
            residual_checkpoint_name=None,
            mask_function=None,
            interpret=rules.platform == "cpu",
        )
        q, k, v = (x.transpose(1, 0, 2) for x in (q, k, v))
        out: jax.Array = kernel(q * q.shape[-1] ** -0.5, k, v)
        return out.transpose(1, 0, 2)

    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        queries, keys = (
            rules.sharding(axes, x.shape).spec for axes, x in ((_HEADS, q), (_KV_HEADS, k))
        )
        mapped = _shard(
            lambda *inputs: jax.lax.map(one, inputs), rules, (batch, queries, keys, keys), queries
        )
        return mapped(infos, q, k, v)

    return run


def _cudnn(segments: jax.Array, parents: jax.Array, rules: MeshRules) -> Run:
    """Flash attention of cuDNN; the mask is added to the scores."""

    def local(
        segments: jax.Array, parents: jax.Array, q: jax.Array, k: jax.Array, v: jax.Array
    ) -> jax.Array:
        mask = _mask(segments, parents)[:, None]
        return jax.nn.dot_product_attention(
            q, k, v, mask=mask, is_causal=True, implementation="cudnn"
        )

    def run(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        rows = rules.sharding(("batch", None), segments.shape).spec
        queries, keys = (
            rules.sharding(axes, x.shape).spec for axes, x in ((_HEADS, q), (_KV_HEADS, k))
        )
        mapped = _shard(local, rules, (rows, rows, queries, keys, keys), queries)
        return mapped(segments, parents, q, k, v)

    return run


KERNELS: Mapping[str, Callable[[jax.Array, jax.Array, MeshRules], Run]] = {
    "splash": _splash,
    "cudnn": _cudnn,
}
"""By name, what makes of segments and parents, int32[B, T], the attention of all layers."""
