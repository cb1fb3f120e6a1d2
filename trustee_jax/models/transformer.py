"""One decoder-only Transformer for Llama, Qwen2 and Qwen3.

The model does not know who calls it: how keys and values are stored and who may attend to whom
comes in as an `attend` function (`engine.cache` reads and writes a KV cache, `models.attention`
serves packed training rows).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from trustee_jax.models.config import ModelConfig
from trustee_jax.models.layers import (
    Linear,
    LoRAConfig,
    ParamSpec,
    Quantization,
    RMSNorm,
    UseLora,
    apply_rope,
    matmul,
    rope_frequencies,
)
from trustee_jax.models.sharding import MeshRules

Remat = Literal["none", "blocks", "dots"]
"""What the backward pass computes again: nothing, whole blocks, or all of them but the outputs of
their linear layers."""

_POLICIES = {"blocks": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}


class Attend(Protocol):
    """Turns a layer's queries, keys and values into its output, through the caller's cache."""

    def __call__(
        self, q: jax.Array, k: jax.Array, v: jax.Array, cache: Any, layer: int | jax.Array
    ) -> tuple[jax.Array, Any]:
        """Attends.

        Args:
          q: [B, T, num_heads, head_dim], rotated.
          k: [B, T, num_kv_heads, head_dim], rotated.
          v: [B, T, num_kv_heads, head_dim].
          cache: The caller's pytree as left by the layer before.
          layer: Index of this layer; traced where layers are scanned.

        Returns:
          The output [B, T, num_heads, head_dim] and the cache.
        """


class Attention(nnx.Module):
    """Grouped-query self-attention with rotary positions, optional q/k/v biases and q/k norms."""

    def __init__(self, config: ModelConfig, spec: ParamSpec, lora: LoRAConfig | None):
        """Creates the four projections."""
        self.config = config
        query_dim = config.num_heads * config.head_dim
        kv_dim = config.num_kv_heads * config.head_dim

        def linear(
            name: str, in_dim: int, out_dim: int, axes: tuple[str, str], bias: bool
        ) -> Linear:
            adapter = lora if lora and name in lora.targets else None
            return Linear(spec, in_dim, out_dim, axes, bias=bias, lora=adapter)

        self.q = linear("q", config.embed_dim, query_dim, ("embed", "heads"), config.qkv_bias)
        self.k = linear("k", config.embed_dim, kv_dim, ("embed", "kv_heads"), config.qkv_bias)
        self.v = linear("v", config.embed_dim, kv_dim, ("embed", "kv_heads"), config.qkv_bias)
        self.o = linear("o", query_dim, config.embed_dim, ("heads", "embed"), False)
        self.q_norm = RMSNorm(spec, config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(spec, config.head_dim, config.norm_eps) if config.qk_norm else None

    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        attend: Attend,
        cache: Any,
        layer: int | jax.Array,
        use_lora: UseLora,
        rules: MeshRules,
    ) -> tuple[jax.Array, Any]:
        """Maps [B, T, D] to [B, T, D]."""
        batch, length, _ = x.shape
        head_dim = self.config.head_dim
        q = self.q(x, use_lora).reshape(batch, length, self.config.num_heads, head_dim)
        k = self.k(x, use_lora).reshape(batch, length, self.config.num_kv_heads, head_dim)
        v = self.v(x, use_lora).reshape(batch, length, self.config.num_kv_heads, head_dim)
        q = rules.constrain(q, "batch", None, "act_heads", None)
        k = rules.constrain(k, "batch", None, "act_kv_heads", None)
        v = rules.constrain(v, "batch", None, "act_kv_heads", None)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        frequencies = rope_frequencies(head_dim, self.config.rope_theta, self.config.rope_scaling)
        q = apply_rope(q, positions, frequencies)
        k = apply_rope(k, positions, frequencies)
        out, cache = attend(q, k, v, cache, layer)
        return self.o(out.reshape(batch, length, -1), use_lora), cache


class MLP(nnx.Module):
    """Gated MLP: down(silu(gate(x)) * up(x)) (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig, spec: ParamSpec, lora: LoRAConfig | None):
        """Creates the three projections."""

        def linear(name: str, in_dim: int, out_dim: int, axes: tuple[str, str]) -> Linear:
            return Linear(
                spec, in_dim, out_dim, axes, lora=lora if lora and name in lora.targets else None
            )

        self.gate = linear("gate", config.embed_dim, config.mlp_dim, ("embed", "mlp"))
        self.up = linear("up", config.embed_dim, config.mlp_dim, ("embed", "mlp"))
        self.down = linear("down", config.mlp_dim, config.embed_dim, ("mlp", "embed"))

    def __call__(self, x: jax.Array, use_lora: UseLora, rules: MeshRules) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]."""
        hidden = jax.nn.silu(self.gate(x, use_lora)) * self.up(x, use_lora)
        return self.down(rules.constrain(hidden, "batch", None, "act_mlp"), use_lora)


class Block(nnx.Module):
    """Pre-norm decoder block."""

    def __init__(self, config: ModelConfig, spec: ParamSpec, lora: LoRAConfig | None):
        """Creates attention, MLP and their norms."""
        self.attention_norm = RMSNorm(spec, config.embed_dim, config.norm_eps, "embed")
        self.attention = Attention(config, spec, lora)
        self.mlp_norm = RMSNorm(spec, config.embed_dim, config.norm_eps, "embed")
        self.mlp = MLP(config, spec, lora)

    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        attend: Attend,
        cache: Any,
        layer: int | jax.Array,
        use_lora: UseLora,
        rules: MeshRules,
    ) -> tuple[jax.Array, Any]:
        """Maps the residual stream [B, T, D] to the next."""
        out, cache = self.attention(
            self.attention_norm(x), positions, attend, cache, layer, use_lora, rules
        )
        x = rules.constrain(x + out, "batch", "length", "act_embed")
        x = x + self.mlp(self.mlp_norm(x), use_lora, rules)
        return rules.constrain(x, "batch", "length", "act_embed"), cache


def _run_block(
    graphdef: nnx.GraphDef,
    attend: Attend,
    layer: int | jax.Array,
    use_lora: UseLora,
    rules: MeshRules,
    state: nnx.State,
    x: jax.Array,
    positions: jax.Array,
    cache: Any,
) -> tuple[jax.Array, Any]:
    """A block as a function of its parameters, which `jax.checkpoint` and `lax.scan` need.

    `jax.checkpoint` traces its arguments, so what must stay Python (a constant `use_lora`, the
    number of the layer) is bound beforehand.
    """
    block: Block = nnx.merge(graphdef, state)
    return block(x, positions, attend, cache, layer, use_lora, rules)


class Transformer(nnx.Module):
    """Token ids in, final hidden states out; `logits` projects the positions that are wanted."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        rngs: nnx.Rngs | None,
        dtype: jax.typing.DTypeLike = jnp.float32,
        param_dtype: jax.typing.DTypeLike | None = None,
        scan_layers: bool = False,
        remat: Remat = "none",
        lora: LoRAConfig | None = None,
        quantization: Quantization | None = None,
    ):
        """Creates random parameters; `weights.load_params` fills in those of a checkpoint.

        Args:
          config: Architecture.
          rngs: Keys for the initialisation; None for an abstract model, with shapes for arrays
            (much faster than `nnx.eval_shape`, whose tracing is quadratic in the number of keys
            drawn).
          dtype: Of activations.
          param_dtype: Of base parameters; `dtype` if None. LoRA factors are float32.
          scan_layers: One stacked block run by `lax.scan` (compile time does not grow with depth)
            instead of a list of blocks (much faster decoding on CPU).
          remat: What the backward pass computes again instead of keeping it.
          lora: Adapters, or None.
          quantization: "int8": matrices of the base have int8 values and a float32 scale for each
            output (of the embedding: for each token). They cannot be trained.
        """
        param_dtype = jnp.dtype(param_dtype or dtype)
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.scan_layers = scan_layers
        self.remat = remat
        spec = ParamSpec(rngs, param_dtype, quantization=quantization)
        self.embed = Embed(spec, config.vocab_size, config.embed_dim)
        self.layers: Block | nnx.List
        if scan_layers:
            self.layers = Block(config, dataclasses.replace(spec, stack=config.num_layers), lora)
        else:
            self.layers = nnx.List(Block(config, spec, lora) for _ in range(config.num_layers))
        self.final_norm = RMSNorm(spec, config.embed_dim, config.norm_eps, "embed")
        self.unembed = (
            None
            if config.tied_embeddings
            else Linear(spec, config.embed_dim, config.vocab_size, ("embed", "vocab"))
        )

    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        attend: Attend,
        *,
        rules: MeshRules,
        cache: Any = None,
        use_lora: UseLora = True,
    ) -> tuple[jax.Array, Any]:
        """Runs every layer.

        Args:
          tokens: int32[B, T].
          positions: int32[B, T], rotary position of each token.
          attend: Attention over the caller's cache or mask.
          rules: Mesh and table for activations.
          cache: Passed through `attend` from layer to layer.
          use_lora: bool[B] or bool: rows that use LoRA.

        Returns:
          Final hidden states [B, T, D] of `dtype`, normalised, and the cache.
        """
        x = rules.constrain(self.embed(tokens, self.dtype), "batch", "length", "act_embed")
        if isinstance(self.layers, Block):
            x, cache = self._scan(x, positions, attend, cache, use_lora, rules)
        else:
            for i, block in enumerate(self.layers):
                graphdef, state = nnx.split(block)
                run = functools.partial(_run_block, graphdef, attend, i, use_lora, rules)
                x, cache = self._checkpoint(run)(state, x, positions, cache)
        return self.final_norm(x), cache

    def _scan(
        self,
        x: jax.Array,
        positions: jax.Array,
        attend: Attend,
        cache: Any,
        use_lora: UseLora,
        rules: MeshRules,
    ) -> tuple[jax.Array, Any]:
        graphdef, stacked = nnx.split(self.layers)

        # The cache travels in the carry, where XLA updates it in place; as scanned input and output
        # it would be copied.
        def body(
            carry: tuple[jax.Array, Any], inputs: tuple[nnx.State, jax.Array]
        ) -> tuple[tuple[jax.Array, Any], None]:
            state, layer = inputs
            x, cache = carry
            run = functools.partial(_run_block, graphdef, attend, layer, use_lora, rules)
            return run(state, x, positions, cache), None

        (x, cache), _ = jax.lax.scan(
            self._checkpoint(body, prevent_cse=False),
            (x, cache),
            (stacked, jnp.arange(self.config.num_layers)),
        )
        return x, cache

    def _checkpoint(self, run: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        if self.remat == "none":
            return run
        return jax.checkpoint(run, policy=_POLICIES[self.remat], **options)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Projects hidden states [..., D] to float32 logits [..., V]."""
        if self.unembed is None:
            return self.embed.logits(hidden)
        return self.unembed.project(hidden, jnp.float32)


class Embed(nnx.Module):
    """Token embedding."""

    def __init__(self, spec: ParamSpec, vocab_size: int, embed_dim: int):
        """Creates embedding [vocab_size, embed_dim]; int8 has `embedding_scale` [vocab_size]."""
        init = jax.nn.initializers.normal(0.02)
        self.embedding, self.embedding_scale = spec.matrix(
            init, (vocab_size, embed_dim), ("vocab", "embed")
        )

    def __call__(self, tokens: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Looks up int[B, T] -> [B, T, D] of `dtype`."""
        rows = self.embedding[...][tokens]
        if self.embedding_scale is None:
            return rows.astype(dtype)
        scale = self.embedding_scale[...][tokens]
        return (rows.astype(jnp.float32) * scale[..., None]).astype(dtype)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Projects [..., D] to float32 [..., V] by the embedding, transposed."""
        scale = None if self.embedding_scale is None else self.embedding_scale[...]
        return matmul(hidden, self.embedding[...], scale, dtype=jnp.float32)
