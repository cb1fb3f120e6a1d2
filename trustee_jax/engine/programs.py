"""The compiled programs of the engine: prefill, admit, decode.

Rows are inserted by `admit` and leave on the device itself (stop token or length), so decoding can
be dispatched again before the host has seen which rows ended.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from trustee_jax.engine.cache import CacheSpec, KVCache, cached_attention, copy_slots
from trustee_jax.engine.config import EngineConfig
from trustee_jax.engine.sampling import sample, unpack_bitmask
from trustee_jax.models.sharding import ENGINE_RULES, LEARNER_RULES, MeshRules
from trustee_jax.models.transformer import Transformer

MAX_STOP_IDS = 8
MAX_REPORTED = 12
Array = Any  # np.ndarray on the host, jax.Array on the device


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """State of the decoding rows; every field has a leading axis of slots.

    Attributes:
      token: int32, the token to feed next.
      position: int32, where it goes in the cache.
      active: bool, whether the row is decoding.
      num_generated: int32, tokens drawn so far.
      limit: int32, tokens it may draw.
      use_lora: bool, whether LoRA is on.
      temperature: float32.
      top_k: int32.
      top_p: float32.
      key: uint32[slots, 2].
      stop_ids: int32[slots, MAX_STOP_IDS], padded with -1.
      reported: int32[slots, MAX_REPORTED], tokens whose logits are reported, padded with 0.
    """

    token: Array
    position: Array
    active: Array
    num_generated: Array
    limit: Array
    use_lora: Array
    temperature: Array
    top_k: Array
    top_p: Array
    key: Array
    stop_ids: Array
    reported: Array

    @classmethod
    def zeros(cls, slots: int) -> Rows:
        """Rows of which none is active, in host memory."""
        return cls(
            token=np.zeros(slots, np.int32),
            position=np.zeros(slots, np.int32),
            active=np.zeros(slots, bool),
            num_generated=np.zeros(slots, np.int32),
            limit=np.zeros(slots, np.int32),
            use_lora=np.zeros(slots, bool),
            temperature=np.zeros(slots, np.float32),
            top_k=np.zeros(slots, np.int32),
            top_p=np.ones(slots, np.float32),
            key=np.zeros((slots, 2), np.uint32),
            stop_ids=np.full((slots, MAX_STOP_IDS), -1, np.int32),
            reported=np.zeros((slots, MAX_REPORTED), np.int32),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeOutput:
    """What a decoding dispatch produced, [steps, slots] each.

    Attributes:
      tokens: int32.
      logprobs: float32.
      valid: bool, False where the row was not active in that step.
      reported_logits: float32, with a last axis of MAX_REPORTED: logits of the row's `reported`.
    """

    tokens: jax.Array
    logprobs: jax.Array
    valid: jax.Array
    reported_logits: jax.Array


def prefill(
    graphdef: nnx.GraphDef,
    rules: MeshRules,
    params: nnx.State,
    cache: KVCache,
    slots: jax.Array,
    offsets: jax.Array,
    tokens: jax.Array,
    use_lora: jax.Array,
) -> KVCache:
    """Writes the keys and values of one chunk per row.

    Args:
      graphdef: Of the model.
      rules: Mesh and table.
      params: Of the model.
      cache: To be updated.
      slots: int32[P]. A slot may repeat only with the same contents.
      offsets: int32[P], position of each row's first token.
      tokens: int32[P, C]. Padding at the end leaves garbage beyond the row's end, which is
        overwritten before it is seen.
      use_lora: bool[P].
    """
    model: Transformer = nnx.merge(graphdef, params)
    positions = offsets[:, None] + jnp.arange(tokens.shape[1])
    attend = cached_attention(slots, offsets, 0)
    _, cache = model(tokens, positions, attend, rules=rules, cache=cache, use_lora=use_lora)
    return cache


def admit(rows: Rows, slots: jax.Array, new: Rows) -> Rows:
    """Inserts rows at `slots` (int32[P]; slots beyond the last are dropped)."""
    return jax.tree.map(lambda old, value: old.at[slots].set(value, mode="drop"), rows, new)


def decode(
    graphdef: nnx.GraphDef,
    rules: MeshRules,
    max_steps: int,
    params: nnx.State,
    cache: KVCache,
    rows: Rows,
    halted: jax.Array,
    bits: jax.Array,
    steps: jax.Array,
) -> tuple[KVCache, Rows, DecodeOutput]:
    """Decodes up to `steps` tokens for every active row.

    Args:
      graphdef: Of the model.
      rules: Mesh and table.
      max_steps: Static bound of `steps`.
      params: Of the model.
      cache: To be updated.
      rows: To be advanced.
      halted: bool[slots], rows that the host ends now (a schema that is complete).
      bits: int32[slots, ceil(V / 32)], tokens that each row may draw.
      steps: int32, dispatch length; 1 where `bits` matters, since it holds for one token.
    """
    model: Transformer = nnx.merge(graphdef, params)
    total = rows.token.shape[0]
    vocab_size = model.config.vocab_size
    rows = dataclasses.replace(rows, active=rows.active & ~halted)
    allowed = unpack_bitmask(bits, vocab_size)
    shape = (max_steps, total)
    output = DecodeOutput(
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros(shape, bool),
        jnp.zeros((*shape, MAX_REPORTED), jnp.float32),
    )

    def step(
        carry: tuple[jax.Array, KVCache, Rows, DecodeOutput],
    ) -> tuple[jax.Array, KVCache, Rows, DecodeOutput]:
        i, cache, rows, output = carry
        # Idle rows write nowhere: their offset lies outside the cache.
        offsets = jnp.where(rows.active, rows.position, cache.length)
        hidden, cache = model(
            rows.token[:, None],
            rows.position[:, None],
            cached_attention(None, offsets, total),
            rules=rules,
            cache=cache,
            use_lora=rows.use_lora,
        )
        logits = model.logits(hidden[:, 0])
        logits = rules.constrain(logits, "batch", "act_vocab")
        tokens, logprobs = sample(
            logits, rows.key, rows.num_generated, rows.temperature, rows.top_k, rows.top_p, allowed
        )
        output = DecodeOutput(
            output.tokens.at[i].set(tokens),
            output.logprobs.at[i].set(logprobs),
            output.valid.at[i].set(rows.active),
            output.reported_logits.at[i].set(jnp.take_along_axis(logits, rows.reported, axis=-1)),
        )
        one = rows.active.astype(jnp.int32)
        stopped = jnp.any(tokens[:, None] == rows.stop_ids, axis=-1)
        rows = dataclasses.replace(
            rows,
            token=jnp.where(rows.active, tokens, rows.token),
            position=rows.position + one,
            num_generated=rows.num_generated + one,
            active=rows.active & ~stopped & (rows.num_generated + one < rows.limit),
        )
        return i + 1, cache, rows, output

    def proceed(carry: tuple[jax.Array, KVCache, Rows, DecodeOutput]) -> jax.Array:
        return (carry[0] < steps) & jnp.any(carry[2].active)

    _, cache, rows, output = jax.lax.while_loop(proceed, step, (jnp.int32(0), cache, rows, output))
    return cache, rows, output


@dataclasses.dataclass(frozen=True)
class Programs:
    """The jitted programs of one model on one mesh, and its cache's layout; caches are donated.

    Attributes:
      rules: Mesh and table while decoding (one token a row).
      cache: Shape and layout of the cache.
      prefill: `prefill`, with the mesh's table for many tokens a row.
      admit: `admit`.
      decode: `decode`.
      copy: `copy_slots`.
    """

    rules: MeshRules
    cache: CacheSpec
    prefill: jax.stages.Wrapped
    admit: jax.stages.Wrapped
    decode: jax.stages.Wrapped
    copy: jax.stages.Wrapped

    @classmethod
    def create(cls, model: Transformer, mesh: Mesh, config: EngineConfig) -> Programs:
        """Binds what is static.

        Args:
          model: Its parameters may be shapes (jax.ShapeDtypeStruct).
          mesh: Where they run.
          config: Shapes.
        """
        graphdef, _ = nnx.split(model)
        rules = MeshRules.create(mesh, ENGINE_RULES)
        prefill_rules = MeshRules.create(mesh, LEARNER_RULES)
        cache = CacheSpec(model.config, config.slots, model.dtype, model.scan_layers, rules)
        small = rules.replicated
        return cls(
            rules=rules,
            cache=cache,
            prefill=jax.jit(
                functools.partial(prefill, graphdef, prefill_rules),
                donate_argnums=1,
                out_shardings=cache.sharding,
            ),
            admit=jax.jit(admit, donate_argnums=0, out_shardings=small),
            decode=jax.jit(
                functools.partial(decode, graphdef, rules, config.decode_steps),
                donate_argnums=(1, 2),
                out_shardings=(cache.sharding, small, small),
            ),
            copy=jax.jit(copy_slots, donate_argnums=0, out_shardings=cache.sharding),
        )
