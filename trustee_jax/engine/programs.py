"""The compiled programs of the engine, one shape each.

Rows are inserted by `admit` and end on the device itself (stop token or length), so decoding can be
dispatched again before the host has seen which rows ended. `decode` draws several tokens of every
row; where the host must say which tokens are allowed, `forward` computes logits while it finds
out, and `draw` takes one token of them.
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

from trustee_jax.engine import kernels
from trustee_jax.engine.cache import CacheSpec, KVCache, copy_pages
from trustee_jax.engine.config import EngineConfig
from trustee_jax.engine.sampling import likeliest, sample, unpack_bitmask
from trustee_jax.errors import ConfigError
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
      tops: bool, whether the likeliest tokens are reported.
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
    tops: Array

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
            tops=np.zeros(slots, bool),
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
      top_tokens: int32, with a last axis of `EngineConfig.top_logprobs`: the likeliest tokens.
      top_logprobs: float32, their log-probabilities. Both are 0 where no row wants them; None
        once they are left on the device.
    """

    tokens: jax.Array
    logprobs: jax.Array
    valid: jax.Array
    reported_logits: jax.Array
    top_tokens: jax.Array | None
    top_logprobs: jax.Array | None


def prefill(
    graphdef: nnx.GraphDef,
    rules: MeshRules,
    spec: CacheSpec,
    params: nnx.State,
    cache: KVCache,
    tables: jax.Array,
    offsets: jax.Array,
    counts: jax.Array,
    tokens: jax.Array,
    use_lora: jax.Array,
) -> KVCache:
    """Writes the keys and values of pieces of prompts.

    Args:
      graphdef: Of the model.
      rules: Mesh and table.
      spec: Of the cache.
      params: Of the model.
      cache: To be updated.
      tables: int32[P, pages_per_row], pages of each piece's prompt. Pieces of one prompt see those
        before them, in the same call too.
      offsets: int32[P], position of each piece's first token.
      counts: int32[P], tokens of each piece; those behind are padding.
      tokens: int32[P, C].
      use_lora: bool[P].
    """
    model: Transformer = nnx.merge(graphdef, params)
    positions = offsets[:, None] + jnp.arange(tokens.shape[1])
    attend = spec.attention(tables, offsets, counts)
    _, cache = model(tokens, positions, attend, rules=rules, cache=cache, use_lora=use_lora)
    return cache


def admit(rows: Rows, slots: jax.Array, new: Rows) -> Rows:
    """Inserts rows at `slots` (int32[P]; slots beyond the last are dropped)."""
    return jax.tree.map(lambda old, value: old.at[slots].set(value, mode="drop"), rows, new)


def forward(
    graphdef: nnx.GraphDef,
    rules: MeshRules,
    spec: CacheSpec,
    params: nnx.State,
    cache: KVCache,
    rows: Rows,
    tables: jax.Array,
    enabled: jax.Array,
) -> tuple[KVCache, jax.Array]:
    """The logits of every row's next token.

    Args:
      graphdef: Of the model.
      rules: Mesh and table.
      spec: Of the cache.
      params: Of the model.
      cache: To be updated with the keys and values of the rows' present tokens.
      rows: The rows.
      tables: int32[slots, pages_per_row].
      enabled: bool[slots], rows that take part; those that have ended do not.

    Returns:
      The cache, and float32[slots, V]; those of other rows mean nothing.
    """
    model: Transformer = nnx.merge(graphdef, params)
    counts = (rows.active & enabled).astype(jnp.int32)
    attend = spec.attention(tables, rows.position, counts)
    hidden, cache = model(
        rows.token[:, None],
        rows.position[:, None],
        attend,
        rules=rules,
        cache=cache,
        use_lora=rows.use_lora,
    )
    return cache, rules.constrain(model.logits(hidden[:, 0]), "batch", "act_vocab")


def draw(
    tops: int, rows: Rows, logits: jax.Array, enabled: jax.Array, bits: jax.Array | None
) -> tuple[Rows, DecodeOutput]:
    """Draws one token of every row and advances it.

    Args:
      tops: How many of the likeliest tokens are reported.
      rows: To be advanced.
      logits: float32[slots, V], from `forward`.
      enabled: bool[slots], rows that take part.
      bits: int32[slots, ceil(V / 32)], tokens that each row may draw; None: any.

    Returns:
      The rows, and an output of one step.
    """
    allowed = None if bits is None else unpack_bitmask(bits, logits.shape[-1])
    taking_part = rows.active & enabled
    # Nothing is searched for a row that has ended.
    tokens, logprobs = sample(
        logits,
        rows.key,
        rows.num_generated,
        jnp.where(taking_part, rows.temperature, 1.0),
        jnp.where(taking_part, rows.top_k, 0),
        jnp.where(taking_part, rows.top_p, 1.0),
        allowed,
    )
    reported = jnp.take_along_axis(logits, rows.reported, axis=-1)
    top = jax.lax.cond(
        jnp.any(rows.tops & taking_part),
        lambda: likeliest(logits, rows.temperature, tops),
        lambda: (jnp.zeros((len(logits), tops), jnp.int32), jnp.zeros((len(logits), tops))),
    )
    output = DecodeOutput(
        *(x[None] for x in (tokens, logprobs, taking_part, reported, *top)),
    )
    one = taking_part.astype(jnp.int32)
    ended = jnp.any(tokens[:, None] == rows.stop_ids, axis=-1)
    ended |= rows.num_generated + one >= rows.limit
    rows = dataclasses.replace(
        rows,
        token=jnp.where(taking_part, tokens, rows.token),
        position=rows.position + one,
        num_generated=rows.num_generated + one,
        active=rows.active & ~(taking_part & ended),
    )
    return rows, output


def decode(
    graphdef: nnx.GraphDef,
    rules: MeshRules,
    spec: CacheSpec,
    steps: int,
    tops: int,
    params: nnx.State,
    cache: KVCache,
    rows: Rows,
    tables: jax.Array,
    enabled: jax.Array,
) -> tuple[KVCache, Rows, DecodeOutput]:
    """Up to `steps` times `forward` and `draw`, until no row is left; see there."""
    draw_any = functools.partial(draw, tops, bits=None)
    abstract = jax.eval_shape(draw_any, rows, _abstract_logits(graphdef, params, rows), enabled)
    output = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape[1:]), x.dtype), abstract[1])

    def step(
        carry: tuple[jax.Array, KVCache, Rows, DecodeOutput],
    ) -> tuple[jax.Array, KVCache, Rows, DecodeOutput]:
        i, cache, rows, output = carry
        cache, logits = forward(graphdef, rules, spec, params, cache, rows, tables, enabled)
        rows, new = draw_any(rows, logits, enabled)
        output = jax.tree.map(lambda all_steps, x: all_steps.at[i].set(x[0]), output, new)
        return i + 1, cache, rows, output

    def proceed(carry: tuple[jax.Array, KVCache, Rows, DecodeOutput]) -> jax.Array:
        return (carry[0] < steps) & jnp.any(carry[2].active & enabled)

    _, cache, rows, output = jax.lax.while_loop(proceed, step, (jnp.int32(0), cache, rows, output))
    return cache, rows, output


def _abstract_logits(graphdef: nnx.GraphDef, params: nnx.State, rows: Rows) -> jax.ShapeDtypeStruct:
    model: Transformer = nnx.merge(graphdef, params)
    return jax.ShapeDtypeStruct((rows.token.shape[0], model.config.vocab_size), jnp.float32)


def _choose_kernel(model: Transformer, config: EngineConfig, rules: MeshRules) -> kernels.Kernel:
    arguments = (model.config, model.dtype, config, rules)
    if config.attention == "auto":
        return kernels.choose(*arguments)
    if reason := kernels.misfit(config.attention, *arguments):
        fix = f'write "auto" or "xla": {reason}'
        raise ConfigError("engine.attention", config.attention, fix)
    return config.attention


@dataclasses.dataclass(frozen=True)
class Programs:
    """The jitted programs of one model on one mesh, and its cache's layout; caches are donated.

    Attributes:
      rules: Mesh and table while decoding (one token a row).
      cache: Shape and layout of the cache.
      slots: Rows of `forward`, `draw` and `decode`.
      prefill_rows: Rows of `prefill`.
      prefill: `prefill`, with the mesh's table for many tokens a row.
      admit: `admit`.
      forward: `forward`.
      draw: `draw`.
      decode: `decode`.
      copy: `copy_pages`.
    """

    rules: MeshRules
    cache: CacheSpec
    slots: int
    prefill_rows: int
    prefill: jax.stages.Wrapped
    admit: jax.stages.Wrapped
    forward: jax.stages.Wrapped
    draw: jax.stages.Wrapped
    decode: jax.stages.Wrapped
    copy: jax.stages.Wrapped

    @classmethod
    def create(cls, model: Transformer, mesh: Mesh, config: EngineConfig) -> Programs:
        """Binds what is static.

        Args:
          model: Its parameters may be shapes (jax.ShapeDtypeStruct).
          mesh: Where they run.
          config: Shapes.

        Raises:
          ConfigError: `attention` does not fit the platform, the model or other options.
        """
        graphdef, _ = nnx.split(model)
        rules = MeshRules.create(mesh, ENGINE_RULES)
        prefill_rules = MeshRules.create(mesh, LEARNER_RULES)
        parts = mesh.shape["data"] * mesh.shape["fsdp"]
        # What the longest request needs must be there in every part.
        pages = max(-(-config.pages // parts), config.pages_per_row)
        dtype = jnp.dtype(config.cache_dtype or model.dtype)
        cache = CacheSpec(
            model.config,
            pages,
            config.page_size,
            dtype,
            model.scan_layers,
            rules,
            _choose_kernel(model, config, rules),
        )
        small = rules.replicated
        return cls(
            rules=rules,
            cache=cache,
            slots=-(-config.slots // parts) * parts,
            prefill_rows=-(-config.prefill_rows // parts) * parts,
            prefill=jax.jit(
                functools.partial(prefill, graphdef, prefill_rules, cache),
                donate_argnums=1,
                out_shardings=cache.sharding,
            ),
            admit=jax.jit(admit, donate_argnums=0, out_shardings=small),
            forward=jax.jit(
                functools.partial(forward, graphdef, rules, cache),
                donate_argnums=1,
                out_shardings=(cache.sharding, None),
            ),
            draw=jax.jit(
                functools.partial(draw, config.top_logprobs), donate_argnums=0, out_shardings=small
            ),
            decode=jax.jit(
                functools.partial(
                    decode, graphdef, rules, cache, config.decode_steps, config.top_logprobs
                ),
                donate_argnums=(1, 2),
                out_shardings=(cache.sharding, small, small),
            ),
            copy=jax.jit(
                functools.partial(copy_pages, cache),
                donate_argnums=0,
                out_shardings=cache.sharding,
            ),
        )
