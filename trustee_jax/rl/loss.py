"""The GRPO loss and the log-probabilities that it needs: pure functions over arrays."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from trustee_jax.rl.packing import PackedBatch

Metrics = dict[str, jax.Array]

# exp(20) = 5e8: the formulas are exact for whatever two policies that have to do with each other
# say of a token. The bound is the one in common use.
_MAX_LOG_RATIO = 20.0


def target_logprobs(
    project: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    batch: PackedBatch,
    temperature: float,
    chunk: int,
) -> jax.Array:
    """Log-probabilities of the targets, with the logits of only `chunk` of them per row at a time.

    Args:
      project: Hidden states [..., D] to float32 logits [..., V].
      hidden: [R, T, D].
      batch: Rows; `sources` says where each target is predicted.
      temperature: Divides the logits, as it did when the targets were sampled.
      chunk: Divides T.

    Returns:
      float32[R, T], 0 where `batch.weights` is 0.
    """
    rows, length = batch.targets.shape

    def logprobs(sources: jax.Array, targets: jax.Array) -> jax.Array:
        states = jnp.take_along_axis(hidden, sources[..., None], axis=1)
        logits = project(states) / temperature
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1)

    # Recomputed as a whole: inside the branch, a copy of `hidden` would be kept for every chunk.
    @jax.checkpoint
    def one(sources: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
        # Targets stand at the front of their rows: the chunks behind them cost nothing.
        values = jax.lax.cond(
            jnp.any(weights > 0),
            lambda: logprobs(sources, targets),
            lambda: jnp.zeros(targets.shape, jnp.float32),
        )
        return jnp.where(weights > 0, values, 0.0)

    def split(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x.reshape(rows, length // chunk, chunk), 1, 0)

    inputs = (split(batch.sources), split(batch.targets), split(batch.weights))
    _, values = jax.lax.scan(lambda _, chunk: (None, one(*chunk)), None, inputs)
    return jnp.moveaxis(values, 0, 1).reshape(rows, length)


def _ratio(log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """exp(x) and x, with x at most `_MAX_LOG_RATIO`: beyond it both are constant, without gradient.

    An infinite x stays so: it is no large ratio but a broken log-probability, and an update that is
    not finite is skipped. A very small one is exact: its exp is 0.
    """
    bounded = jnp.minimum(log_ratio, _MAX_LOG_RATIO)
    bounded = jnp.where(jnp.isinf(log_ratio), log_ratio, bounded)
    return jnp.exp(bounded), bounded


def grpo_loss(
    logprobs: jax.Array, batch: PackedBatch, clip_epsilon: float, kl_coef: float
) -> tuple[jax.Array, Metrics]:
    """Clipped policy gradient with a KL penalty, summed over targets.

    Per token, with ratio w = exp(logp - behaviour) and d = reference - logp:
    -min(w A, clip(w, 1 - eps, 1 + eps) A) + kl_coef (exp(d) - d - 1) (GRPO, arXiv 2402.03300, eq. 3
    and 4; the last term is the k3 estimator). Divided by the number of targets of the whole batch
    it is the token-level mean (DAPO, arXiv 2503.14476, eq. 8). log w and d count as far as 20; a
    token beyond that has no gradient of the term.

    Args:
      logprobs: float32[R, T] of the targets under the policy that is trained.
      batch: The same targets.
      clip_epsilon: eps.
      kl_coef: 0 leaves the penalty out.

    Returns:
      The sum over targets, and sums of metrics over targets; `logprob_difference_max` is a maximum.
    """
    difference = logprobs - batch.behaviour
    ratio, _ = _ratio(difference)
    clipped = jnp.clip(ratio, 1 - clip_epsilon, 1 + clip_epsilon)
    gain, clipped_gain = ratio * batch.advantages, clipped * batch.advantages
    inverse, delta = _ratio(batch.reference - logprobs)
    kl = jnp.where(batch.weights > 0, inverse - delta - 1, 0.0) if kl_coef else 0.0
    loss = -jnp.minimum(gain, clipped_gain) + kl_coef * kl
    absolute = jnp.abs(difference) * batch.weights
    metrics = {
        "kl": jnp.sum(kl * batch.weights),
        "clip_fraction": jnp.sum((clipped_gain < gain) * batch.weights),
        "ratio": jnp.sum(ratio * batch.weights),
        "logprob_difference": jnp.sum(absolute),
        "logprob_difference_max": jnp.max(absolute),
    }
    return jnp.sum(loss * batch.weights), metrics
