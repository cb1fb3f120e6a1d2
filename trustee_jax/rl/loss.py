"""The parts of a loss and the log-probabilities that it needs: pure functions over arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from trustee_jax.rl.packing import PackedBatch

if TYPE_CHECKING:
    from trustee_jax.rl.config import LearnerConfig

Shares = dict[str, jax.Array]
"""Further numbers of each target, [R, T], whose means become metrics, by name."""

Ratio = Callable[[jax.Array, PackedBatch], jax.Array]
"""float32[R, T] logp - old logp of the targets, and the batch, to the log of the ratio of each."""

Loss = Callable[[jax.Array, jax.Array, PackedBatch, "LearnerConfig"], tuple[jax.Array, Shares]]
"""float32[R, T] log-probabilities and importance ratios of the targets, the batch (with
`advantages`) and the options to the loss of each target, without KL term, and its shares."""

Aggregation = Callable[[PackedBatch, "LearnerConfig"], tuple[jax.Array, jax.Array]]
"""A batch and the options to what each target's loss is multiplied by, and to what, summed over all
targets of the update, the sum of that is divided by; both float32[R, T]."""

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
      float32[R, T], 0 where `batch.loss_mask` is 0.
    """
    rows, length = batch.targets.shape
    # Weights are arguments, so that nothing of their size is kept for each chunk.
    project, weights = jax.closure_convert(project, hidden[:, :chunk])

    def split(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(jnp.asarray(x).reshape(rows, length // chunk, chunk), 1, 0)

    chunks = (split(batch.sources), split(batch.targets), split(batch.loss_mask))

    def logprobs(
        states: jax.Array, weights: Sequence[jax.Array], targets: jax.Array, mask: jax.Array
    ) -> jax.Array:
        logits = project(states, *weights) / temperature
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        return jnp.where(mask > 0, chosen - jax.nn.logsumexp(logits, axis=-1), 0.0)

    def gather(hidden: jax.Array, sources: jax.Array) -> jax.Array:
        return jnp.take_along_axis(hidden, sources[..., None], axis=1)

    # Targets stand at the front of their rows: the chunks behind them cost nothing.
    @jax.custom_vjp
    def values(hidden: jax.Array, weights: Sequence[jax.Array]) -> jax.Array:
        def one(_: None, chunk: tuple[jax.Array, ...]) -> tuple[None, jax.Array]:
            sources, targets, mask = chunk
            return None, jax.lax.cond(
                jnp.any(mask > 0),
                lambda: logprobs(gather(hidden, sources), weights, targets, mask),
                lambda: jnp.zeros(targets.shape, jnp.float32),
            )

        return jax.lax.scan(one, None, chunks)[1]

    def forward(hidden: Any, weights: Any) -> tuple[jax.Array, tuple[Any, ...]]:
        arrays = [weight.value for weight in weights]
        # The structure tells which weights want a gradient.
        wanted = [0 if weight.perturbed else None for weight in weights]
        return values(hidden.value, arrays), (hidden.value, arrays, wanted)

    def backward(residuals: tuple[Any, ...], grad: jax.Array) -> tuple[Any, ...]:
        hidden, weights, wanted = residuals

        def one(carry: Any, inputs: Any) -> tuple[Any, None]:
            sources, targets, mask, upstream = inputs

            def add() -> Any:
                def of(states: jax.Array, changing: Sequence[Any]) -> jax.Array:
                    every = [b if a is None else a for a, b in zip(changing, weights, strict=True)]
                    return logprobs(states, every, targets, mask)

                changing = [
                    None if no is None else weight
                    for no, weight in zip(wanted, weights, strict=True)
                ]
                _, transpose = jax.vjp(of, gather(hidden, sources), changing)
                states, new = transpose(upstream)
                row = jnp.arange(rows)[:, None]
                total = carry[0].at[row, sources].add(states.astype(jnp.float32))
                return total, jax.tree.map(jnp.add, carry[1], new)

            return jax.lax.cond(jnp.any(mask > 0), add, lambda: carry), None

        zeros = [
            None if no is None else jnp.zeros_like(weight)
            for no, weight in zip(wanted, weights, strict=True)
        ]
        start = (jnp.zeros(hidden.shape, jnp.float32), zeros)
        (total, changes), _ = jax.lax.scan(one, start, (*chunks, grad))
        return total.astype(hidden.dtype), changes

    values.defvjp(forward, backward, symbolic_zeros=True)
    return jnp.moveaxis(values(hidden, weights), 0, 1).reshape(rows, length)


def bounded_exp(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """exp(x) and x, with x at most 20: beyond it both are constant, without gradient.

    An infinite x stays so: it is no large ratio but a broken log-probability, and an update that is
    not finite is skipped. A very small one is exact: its exp is 0.
    """
    bounded = jnp.minimum(x, _MAX_LOG_RATIO)
    bounded = jnp.where(jnp.isinf(x), x, bounded)
    return jnp.exp(bounded), bounded


def token_ratio(log_ratio: jax.Array, batch: PackedBatch) -> jax.Array:
    """Each token's own ratio (GRPO, arXiv 2402.03300, eq. 3)."""
    return log_ratio


def sequence_ratio(log_ratio: jax.Array, batch: PackedBatch) -> jax.Array:
    """The geometric mean of the ratios of a sequence's targets (GSPO, arXiv 2507.18071, eq. 7).

    A sequence is what was sampled in one context: an episode is one, or several where earlier
    thoughts were cut out of its context.
    """
    segments = log_ratio.shape[1] + 1

    def row(x: jax.Array, mask: jax.Array, sequences: jax.Array) -> jax.Array:
        total = jax.ops.segment_sum(jnp.where(mask > 0, x, 0.0), sequences, segments)
        count = jax.ops.segment_sum(mask, sequences, segments)
        return (total / jnp.maximum(count, 1.0))[sequences]

    return jax.vmap(row)(log_ratio, *map(jnp.asarray, (batch.loss_mask, batch.sequences)))


def clip(
    logprobs: jax.Array, ratio: jax.Array, batch: PackedBatch, config: LearnerConfig
) -> tuple[jax.Array, Shares]:
    """The clipped surrogate of PPO (arXiv 1707.06347, eq. 7): the gain counts up to a bound.

    It is -min(w A, clip(w, 1 - low, 1 + high) A). With high above low it is DAPO's Clip-Higher
    (arXiv 2503.14476, sec. 3.1).
    """
    low, high = config.clip_epsilon, config.clip_epsilon_high
    clipped = jnp.clip(ratio, 1 - low, 1 + (low if high is None else high))
    gain, clipped_gain = ratio * batch.advantages, clipped * batch.advantages
    return -jnp.minimum(gain, clipped_gain), {"clip_fraction": clipped_gain < gain}


def reinforce(
    logprobs: jax.Array, ratio: jax.Array, batch: PackedBatch, config: LearnerConfig
) -> tuple[jax.Array, Shares]:
    """REINFORCE, -A logp, which takes the samples for the present policy's (arXiv 2402.14740).

    That they are in the first update of a step alone: set `learner.updates_per_step` to 1.
    """
    return -batch.advantages * logprobs, {}


def token_mean(batch: PackedBatch, config: LearnerConfig) -> tuple[jax.Array, jax.Array]:
    """Every target weighs the same (DAPO, arXiv 2503.14476, eq. 8 and sec. 3.3)."""
    return batch.loss_mask, batch.loss_mask


def sequence_mean(batch: PackedBatch, config: LearnerConfig) -> tuple[jax.Array, jax.Array]:
    """Every episode weighs the same: mean over its targets (GRPO, arXiv 2402.03300, eq. 3)."""
    weights = batch.loss_mask / jnp.maximum(batch.lengths, 1.0)
    return weights, weights


def fixed_length(batch: PackedBatch, config: LearnerConfig) -> tuple[jax.Array, jax.Array]:
    """An episode weighs as many targets as it has (Dr. GRPO, arXiv 2503.20783).

    The sum over them is divided by a constant, `learner.fixed_length`.
    """
    constant = config.row_length if config.fixed_length is None else config.fixed_length
    return batch.loss_mask / constant, batch.loss_mask / jnp.maximum(batch.lengths, 1.0)


RATIOS: Mapping[str, Ratio] = {"token": token_ratio, "sequence": sequence_ratio}
"""By the name that `learner.importance_ratio` gives."""

LOSSES: Mapping[str, Loss] = {"clip": clip, "reinforce": reinforce}
"""By the name that `learner.loss` gives."""

AGGREGATIONS: Mapping[str, Aggregation] = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "fixed_length": fixed_length,
}
"""By the name that `learner.aggregation` gives."""
