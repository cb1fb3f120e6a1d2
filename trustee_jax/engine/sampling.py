"""Drawing tokens: temperature, top-k, top-p, masks and per-row keys."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from trustee_jax import streams

_EXCLUDED = -jnp.inf
# So many of a row's logits are selected first: few nuclei reach further, and the rest of the
# vocabulary is only searched where one does.
_FEW = 64
# The vocabulary is drawn from in so many parts. A mesh that cuts it by a power of two cuts between
# parts, each of which is then summed on one device.
_PARTS = 64


def unpack_bitmask(bits: jax.Array, vocab_size: int) -> jax.Array:
    """int32[B, ceil(V / 32)], bit i of word w for token 32 w + i, to bool[B, V]."""
    allowed = (bits[..., None] >> jnp.arange(32)) & 1
    return allowed.reshape(bits.shape[0], -1)[:, :vocab_size].astype(bool)


def likeliest(logits: jax.Array, temperature: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The likeliest tokens of each row, likeliest first.

    Args:
      logits: float32[B, V].
      temperature: float32[B]; 0 counts as 1.
      count: How many.

    Returns:
      int32[B, count] and their log-probabilities, float32[B, count], uncut.
    """
    scaled = logits / jnp.where(temperature > 0, temperature, 1.0)[:, None]
    values, tokens = jax.lax.top_k(scaled, count)
    return tokens, values - jax.nn.logsumexp(scaled, axis=-1, keepdims=True)


def cut_threshold(logits: jax.Array, top_k: jax.Array, top_p: jax.Array) -> jax.Array:
    """The smallest logit within the top k and, of what these leave, within the nucleus.

    A token belongs to the nucleus if the more likely ones do not reach top_p yet; the first always
    does (arXiv 1904.09751, eq. 2). Of several tokens with the same logit all are kept or none.

    Args:
      logits: float32[B, V]; -inf for what must not be drawn.
      top_k: int32[B], 0 for off.
      top_p: float32[B] above 0, 1 for off.

    Returns:
      float32[B], -inf where nothing is cut.
    """
    vocab_size = logits.shape[-1]
    size = min(_FEW, vocab_size)
    first = jax.lax.top_k(logits, size)[0]
    # Not first[:, :1]: XLA would slice what it then sorts instead of selecting.
    highest = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(logits - highest)
    k = jnp.where((top_k > 0) & (top_k < vocab_size), top_k, vocab_size)
    # No rounding of sums cuts where nothing is to be cut.
    p = jnp.where(top_p < 1, top_p, jnp.inf)

    last = jnp.take_along_axis(first, jnp.minimum(k, size)[:, None] - 1, axis=-1)[:, 0]
    kth = jnp.where(k <= size, last, _EXCLUDED)
    limit = p * jnp.sum(weights, axis=-1, where=logits >= kth[:, None])
    selected = jnp.where(first >= kth[:, None], jnp.exp(first - highest), 0.0)
    reached = jnp.cumsum(selected, axis=-1)
    kept = (first >= kth[:, None]) & (reached - selected < limit[:, None])
    near = jnp.min(first, axis=-1, where=kept, initial=jnp.inf)
    near = jnp.where((k > size) & (top_p >= 1), _EXCLUDED, near)
    # Otherwise the k-th logit, or the end of the nucleus, lies behind the selected ones.
    ends = (k <= size) | ((k == vocab_size) & ((top_p >= 1) | (reached[:, -1] >= limit)))

    def each(row: tuple[jax.Array, ...]) -> jax.Array:
        """The threshold of one row."""
        logits, k, p, near, ends = row
        return jax.lax.cond(ends, lambda: near, lambda: _search(logits[None], k[None], p[None])[0])

    # A row fits a CPU's cache, and a row that ends need not wait for others; elsewhere all rows are
    # searched at once.
    search = functools.partial(
        jax.lax.platform_dependent,
        logits,
        k,
        p,
        near,
        ends,
        cpu=lambda *rows: jax.lax.map(each, rows),
        default=lambda logits, k, p, near, ends: jnp.where(ends, near, _search(logits, k, p)),
    )
    return jax.lax.cond(jnp.all(ends), lambda: near, search)


def _search(logits: jax.Array, k: jax.Array, p: jax.Array) -> jax.Array:
    """`cut_threshold` for any k from 1 to V, and any p; inf for no nucleus."""
    none = jnp.full(k.shape, _EXCLUDED)
    kth = jax.lax.cond(
        jnp.any(k < logits.shape[-1]), lambda: _smallest(logits, 1.0, k), lambda: none
    )
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.where(logits >= kth[:, None], weights, 0.0)
    limit = p * jnp.sum(weights, axis=-1)
    nucleus = jax.lax.cond(jnp.any(p < 1), lambda: _smallest(logits, weights, limit), lambda: none)
    return jnp.maximum(kth, nucleus)


def _smallest(logits: jax.Array, weights: jax.Array | float, limit: jax.Array) -> jax.Array:
    """The smallest number of each row with less than `limit` of weight on the logits above it.

    Halves the float32 numbers in their order, which is that of their bits: 32 sums over the
    vocabulary instead of a sort.

    Args:
      logits: float32[B, V].
      weights: float32[B, V], not negative, or one number for all.
      limit: float32[B] or int32[B].
    """

    def ordered(bits: jax.Array) -> jax.Array:
        """Bits of a float32 as an int32 of the same order, and back."""
        return jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)

    def number(order: jax.Array) -> jax.Array:
        return jax.lax.bitcast_convert_type(ordered(order), jnp.float32)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        above = jnp.where(logits > number(middle)[:, None], weights, 0.0)
        small = jnp.sum(above, axis=-1) < limit
        return jnp.where(small, low, middle), jnp.where(small, middle, high)

    high = ordered(jax.lax.bitcast_convert_type(jnp.max(logits, axis=-1), jnp.int32))
    low = jnp.full_like(high, -0x7F800001)  # the order of -inf
    return number(jax.lax.fori_loop(0, 32, halve, (low, high))[1])


def draw(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """Draws one index per row, each with a probability proportional to its weight.

    By the inverse of the cumulative distribution, of parts of the vocabulary first and then within
    one, each with a number of its own: one alone, of 23 bits, would tell too few tokens apart.

    Args:
      weights: float32[B, V], not negative, at least one of each row positive.
      uniform: float32[B, 2] in [0, 1); zeros take the first positive one.

    Returns:
      int32[B]; an index of weight 0 is never drawn.
    """
    rows, size = weights.shape
    parts = jnp.pad(weights, ((0, 0), (0, -size % _PARTS))).reshape(rows, _PARTS, -1)
    part = _draw(jnp.sum(parts, axis=-1), uniform[:, 0])
    inside = jnp.take_along_axis(parts, part[:, None, None], axis=1)[:, 0]
    index = part * parts.shape[-1] + _draw(inside, uniform[:, 1])
    # Without a positive weight (the logits are NaN) it could lie behind the last one.
    return jnp.minimum(index, size - 1)


def _draw(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """`draw` of few weights: the first positive one whose cumulative sum exceeds its share."""
    sums = jnp.cumsum(weights, axis=-1)
    positive = weights > 0
    beyond = positive & (sums > (uniform * sums[:, -1])[:, None])
    # Rounding may leave none beyond.
    last = weights.shape[-1] - 1 - jnp.argmax(positive[:, ::-1], axis=-1)
    found = jnp.where(jnp.any(beyond, axis=-1), jnp.argmax(beyond, axis=-1), last)
    return found.astype(jnp.int32)


def sample(
    logits: jax.Array,
    keys: jax.Array,
    counts: jax.Array,
    temperature: jax.Array,
    top_k: jax.Array,
    top_p: jax.Array,
    allowed: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Draws one token per row, which depends on that row alone.

    Args:
      logits: float32[B, V].
      keys: uint32[B, 2], threefry key of each row's request.
      counts: int32[B], tokens that the request has drawn so far; folded into its key.
      temperature: float32[B]; 0 takes the most likely token, the first of several.
      top_k: int32[B], 0 for off.
      top_p: float32[B], 1 for off.
      allowed: bool[B, V], tokens that may be drawn; None for all.

    Returns:
      int32[B] tokens and float32[B], their log-probabilities under softmax(logits / temperature).
    """
    greedy = temperature == 0
    scaled = logits / jnp.where(greedy, 1.0, temperature)[:, None]
    candidates = scaled if allowed is None else jnp.where(allowed, scaled, _EXCLUDED)
    highest = jnp.max(candidates, axis=-1, keepdims=True)
    weights = jnp.exp(candidates - highest)
    # A greedy row has nothing to cut but all that is not its highest logit.
    top_k, top_p = jnp.where(greedy, 0, top_k), jnp.where(greedy, 1.0, top_p)
    cuts = (top_k > 0) | (top_p < 1)

    def kept() -> jax.Array:
        threshold = jax.lax.cond(
            jnp.any(cuts),
            lambda: cut_threshold(candidates, top_k, top_p)[:, None],
            lambda: jnp.full_like(highest, _EXCLUDED),
        )
        threshold = jnp.where(greedy[:, None], highest, threshold)
        return jnp.where(candidates >= threshold, weights, 0.0)

    def uniform(key: jax.Array, count: jax.Array) -> jax.Array:
        return jax.random.uniform(streams.token_key(key, count), (2,))

    # Nothing as long as the vocabulary is read that no row asks for.
    weights = jax.lax.cond(jnp.any(cuts | greedy), kept, lambda: weights)
    tokens = draw(weights, jnp.where(greedy[:, None], 0.0, jax.vmap(uniform)(keys, counts)))
    # Not jax.nn.logsumexp: without a mask, these are the exponentials from above.
    peak = jnp.max(scaled, axis=-1, keepdims=True)
    total = jnp.sum(jnp.exp(scaled - peak), axis=-1)
    chosen = jnp.take_along_axis(scaled, tokens[:, None], axis=-1)
    return tokens, (chosen - peak)[:, 0] - jnp.log(total)
