"""Drawing tokens: temperature, top-k, top-p, masks and per-row keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from trustee_jax import streams

_EXCLUDED = -jnp.inf
# Up to here, selecting the top k is several times faster than sorting the vocabulary.
_FEW = 64


def unpack_bitmask(bits: jax.Array, vocab_size: int) -> jax.Array:
    """int32[B, ceil(V / 32)], bit i of word w for token 32 w + i, to bool[B, V]."""
    allowed = (bits[..., None] >> jnp.arange(32)) & 1
    return allowed.reshape(bits.shape[0], -1)[:, :vocab_size].astype(bool)


def cut_top_k_top_p(logits: jax.Array, top_k: jax.Array, top_p: jax.Array) -> jax.Array:
    """Sets the logits outside the top k, then outside the nucleus, to -inf.

    Args:
      logits: float32[B, V].
      top_k: int32[B], 0 for off.
      top_p: float32[B], 1 for off.
    """
    vocab_size = logits.shape[-1]
    whole = (top_k <= 0) & (top_p >= 1)

    def cut(size: int) -> jax.Array:
        """Looks at the `size` largest logits of each row."""
        if size < vocab_size:
            ordered = jax.lax.top_k(logits, size)[0]
        else:
            ordered = -jnp.sort(-logits, axis=-1, stable=False)
        k = jnp.where(top_k > 0, jnp.minimum(top_k, size), size)
        ordered = jnp.where(jnp.arange(size) < k[:, None], ordered, _EXCLUDED)
        probabilities = jax.nn.softmax(ordered, axis=-1)
        # A token belongs to the nucleus if those before it do not reach top_p yet; the first always
        # does.
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        kept = (before < top_p[:, None]) & (ordered > _EXCLUDED)
        threshold = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1)
        threshold = jnp.where(whole, _EXCLUDED, threshold)[:, None]
        return jnp.where(logits >= threshold, logits, _EXCLUDED)

    if vocab_size <= _FEW:
        return cut(vocab_size)
    # With a small k, which most presets have, the rest of the vocabulary has no say.
    few = jnp.all(whole | ((top_k > 0) & (top_k <= _FEW)))
    return jax.lax.cond(few, lambda: cut(_FEW), lambda: cut(vocab_size))


def sample(
    logits: jax.Array,
    keys: jax.Array,
    counts: jax.Array,
    temperature: jax.Array,
    top_k: jax.Array,
    top_p: jax.Array,
    allowed: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Draws one token per row by the Gumbel-max trick.

    Args:
      logits: float32[B, V].
      keys: uint32[B, 2], threefry key of each row's request.
      counts: int32[B], tokens that the request has drawn so far; folded into its key.
      temperature: float32[B]; 0 takes the most likely token.
      top_k: int32[B], 0 for off.
      top_p: float32[B], 1 for off.
      allowed: bool[B, V], tokens that may be drawn; None: all.

    Returns:
      int32[B] tokens and float32[B], their log-probabilities under softmax(logits / temperature).
    """
    greedy = temperature == 0
    scaled = logits / jnp.where(greedy, 1.0, temperature)[:, None]
    candidates = scaled if allowed is None else jnp.where(allowed, scaled, _EXCLUDED)
    # Sorting the vocabulary costs more than a decoding step of a small model: only if some row asks
    # for it.
    candidates = jax.lax.cond(
        jnp.any((top_k > 0) | (top_p < 1)),
        lambda x: cut_top_k_top_p(x, top_k, top_p),
        lambda x: x,
        candidates,
    )

    def noise(key: jax.Array, count: jax.Array) -> jax.Array:
        return jax.random.gumbel(streams.token_key(key, count), logits.shape[-1:], jnp.float32)

    gumbel = jax.vmap(noise)(keys, counts)
    tokens = jnp.argmax(candidates + jnp.where(greedy[:, None], 0.0, gumbel), axis=-1)
    chosen = jnp.take_along_axis(scaled, tokens[:, None], axis=-1)[:, 0]
    return tokens.astype(jnp.int32), chosen - jax.nn.logsumexp(scaled, axis=-1)
