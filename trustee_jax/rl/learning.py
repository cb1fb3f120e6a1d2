"""A step's groups of episodes to updates of the policy."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from trustee_jax import chat
from trustee_jax.errors import NonFiniteError
from trustee_jax.rl.advantages import GroupStatus, group_status
from trustee_jax.rl.config import LearnerConfig
from trustee_jax.rl.learner import Learner
from trustee_jax.rl.objective import Objective
from trustee_jax.rl.packing import PackedBatch, Sample, pack

Display = Callable[[int], contextlib.AbstractContextManager[Callable[[int, int], None]]]
"""Shows so many updates; yields what is told updates that are done, and their tokens."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """What the learner sees of an episode.

    Attributes:
      sequences: Its tokens, with those that the policy sampled marked.
      reward: None if it is invalid.
      truncated: Whether it ended because a limit of tokens was reached.
    """

    sequences: Sequence[chat.TokenSequence]
    reward: float | None
    truncated: bool = False


def trajectories_status(
    group: Sequence[Trajectory], config: LearnerConfig, min_valid: int = 2
) -> GroupStatus:
    """What a group is good for under the learner's options; see `group_status`."""
    trained = [not (config.mask_truncated and one.truncated) for one in group]
    return group_status([one.reward for one in group], min_valid, trained)


def shuffled_rewards(
    groups: Sequence[Sequence[Trajectory]],
    rng: np.random.Generator,
    config: LearnerConfig,
    min_valid: int = 2,
) -> list[list[Trajectory]]:
    """A control: the rewards of what would be learnt from, dealt out anew among all of it.

    Groups that nothing would be learnt from stay as they are, so that as much is learnt as without.

    Args:
      groups: A step's trajectories by task.
      rng: Decides who gets which.
      config: Says what is learnt from.
      min_valid: Valid episodes that a group needs, at least 2.
    """
    dealt = [list(group) for group in groups]
    places = [
        (group, index)
        for group, trajectories in enumerate(groups)
        if trajectories_status(trajectories, config, min_valid) == "trainable"
        for index, one in enumerate(trajectories)
        if one.reward is not None
    ]
    for (group, index), other in zip(places, rng.permutation(len(places)), strict=True):
        from_group, from_index = places[other]
        reward = groups[from_group][from_index].reward
        dealt[group][index] = dataclasses.replace(groups[group][index], reward=reward)
    return dealt


def make_samples(
    groups: Sequence[Sequence[Trajectory]],
    objective: Objective,
    config: LearnerConfig,
    min_valid: int = 2,
) -> list[list[Sample]]:
    """The samples of the groups that are trained on.

    Args:
      groups: A step's trajectories by task.
      objective: Gives advantages.
      config: Options.
      min_valid: Valid episodes that a group needs, at least 2.
    """
    statuses = [trajectories_status(group, config, min_valid) for group in groups]
    compared = [i for i, status in enumerate(statuses) if status != "insufficient"]
    advantages = objective.advantages([[one.reward for one in groups[i]] for i in compared])
    samples = []
    for i, values in zip(compared, advantages, strict=True):
        if statuses[i] == "zero_variance" and config.zero_variance_groups == "drop":
            continue
        trained = [
            (one, float(value))
            for one, value in zip(groups[i], values, strict=True)
            if one.reward is not None and not (config.mask_truncated and one.truncated)
        ]
        if trained:
            samples.append([s for one, value in trained for s in _samples(one, value)])
    return samples


def success_samples(groups: Sequence[Sequence[Trajectory]]) -> list[list[Sample]]:
    """Samples for maximum likelihood: those of every trajectory, each token worth 1.

    Args:
      groups: Trajectories to be imitated, by task; groups without one are left out.
    """
    return [[s for one in group for s in _samples(one, 1.0)] for group in groups if group]


def _samples(trajectory: Trajectory, advantage: float) -> list[Sample]:
    length = sum(int(sequence.sampled.sum()) for sequence in trajectory.sequences)
    return [Sample(sequence, advantage, length) for sequence in trajectory.sequences]


def update_policy(
    learner: Learner,
    groups: Sequence[Sequence[Trajectory]],
    display: Display,
    *,
    min_valid: int = 2,
    min_groups: int = 1,
    skipped: int = 0,
    meanwhile: Callable[[Callable[[], None]], None] = lambda dispatch: None,
    in_parts: bool = False,
    imitate: int = 0,
) -> tuple[dict[str, float], int]:
    """Updates the policy by a step's groups.

    Args:
      learner: Is updated.
      groups: A step's trajectories by task.
      display: Shows the progress.
      min_valid: Valid episodes that a group needs, at least 2.
      min_groups: Groups to train on without which there is no update.
      skipped: Updates that were left out in a row up to now.
      meanwhile: Called when all updates are under way; with `in_parts`, before that. Its time is
        not in seconds/learning, which is what learning adds to the step, but in the time that
        tokens_per_second/learning is worked out from: the host cannot tell when the device was
        done.
      in_parts: Let `meanwhile` dispatch the updates: it gets a function that dispatches the next
        micro-batch, if one is left. A device works in the order of dispatches: what is dispatched
        in between need not wait for whole updates.
      imitate: Above 0, the groups hold successes alone, which are learnt by likelihood, in so many
        passes: with advantage 1, at log-probabilities that the learner computes itself before each
        update. At ratio 1 its gradient is that of the mean log-likelihood. For trajectories that
        were sampled in another context than that which they are learnt in.

    Returns:
      Metrics, and the updates that were left out in a row now. learner/updates and
      learner/skipped_updates count the updates that were done and left out; means are over the
      former, so that no metric is infinite or NaN. learner/packing_fill is the part of the packed
      rows that is not padding.

    Raises:
      NonFiniteError: Too many updates in a row were left out.
    """
    start = time.monotonic()
    config = learner.config
    if imitate:
        samples = success_samples(groups)
    else:
        samples = make_samples(groups, learner.objective, config, min_valid)
        samples = samples if len(samples) >= min_groups else []
    updates = min(config.updates_per_step, len(samples))
    # Groups stay whole: their episodes share a prompt.
    shares = [samples[i::updates] for i in range(updates)]
    if imitate:
        shares *= imitate
        updates = len(shares)
    with display(updates) as advance:
        pending: list[tuple[PackedBatch, dict[str, jax.Array]]] = []
        work = _updates(learner, shares, pending, in_parts, imitate > 0)
        if not in_parts:
            collections.deque(work, maxlen=0)
        left = time.monotonic()
        meanwhile(lambda: next(work, None))
        elsewhere = time.monotonic() - left
        collections.deque(work, maxlen=0)
        tokens = sum(batch.num_tokens for batch, _ in pending)
        places = sum(batch.tokens.size for batch, _ in pending)
        results: list[dict[str, float]] = []
        for _, values in pending:
            results.append({k: float(v) for k, v in jax.device_get(values).items()})
            advance(len(results), tokens * len(results) // updates)
    skipped = _count_skipped(results, skipped, config)
    scalars = _scalars(results, tokens, time.monotonic() - start, elsewhere)
    if places:
        scalars["learner/packing_fill"] = tokens / places
    return scalars, skipped


def _updates(
    learner: Learner,
    shares: Sequence[Sequence[Sequence[Sample]]],
    pending: list[tuple[PackedBatch, dict[str, jax.Array]]],
    in_parts: bool,
    imitate: bool,
) -> Iterator[None]:
    """Dispatches an update for every share, and adds its batch and metrics to `pending`.

    Yields:
      When a part of it is under way: a micro-batch, or without `in_parts` all of an update.
    """
    # One is packed while the device computes the update before it.
    batches: Iterator[PackedBatch] = (
        pack(share, learner.config.row_length, learner.rows) for share in shares
    )
    if imitate:
        batches = (_at_present(learner, batch) for batch in batches)
    elif learner.config.tis_cap is not None:
        # All of them before the first update.
        scored = []
        for batch in batches:
            if in_parts:
                old = yield from learner.logprobs_in_parts(batch)
            else:
                old = learner.logprobs(batch)
            scored.append(dataclasses.replace(batch, old_logprobs=old))
        batches = iter(scored)
    for batch in batches:
        if in_parts:
            metrics = yield from learner.update_in_parts(batch)
        else:
            metrics = learner.update(batch)
            yield
        pending.append((batch, metrics))


def _at_present(learner: Learner, batch: PackedBatch) -> PackedBatch:
    """The batch as if the present policy had sampled it."""
    present = learner.logprobs(batch)
    return dataclasses.replace(batch, sampler_logprobs=present, old_logprobs=present)


def _scalars(
    results: Sequence[dict[str, float]], tokens: int, seconds: float, elsewhere: float
) -> dict[str, float]:
    """Metrics of a step's updates; of the seconds, those elsewhere were not learning's own."""
    done = [result for result in results if not result["skipped"]]
    scalars = {
        "learner/updates": float(len(done)),
        "learner/skipped_updates": float(len(results) - len(done)),
        "learner/tokens": float(tokens),
        "seconds/learning": seconds - elsewhere,
        "tokens_per_second/learning": tokens / seconds,
    }
    for name in (n for n in done[0] if n != "skipped") if done else ():
        scalars[f"learner/{name}"] = sum(result[name] for result in done) / len(done)
    if done:
        # Before the first update both sides have the same weights, unless the engine's are stale:
        # what is left is rounding.
        for name in ("logprob_difference", "logprob_difference_max"):
            scalars[f"learner/{name}"] = done[0][name]
    return scalars


def _count_skipped(results: Sequence[dict[str, float]], skipped: int, config: LearnerConfig) -> int:
    """Updates that were left out in a row; too many end the run."""
    for result in results:
        skipped = skipped + 1 if result["skipped"] else 0
        if skipped >= config.max_skipped_updates:
            what = [name for name, value in result.items() if not math.isfinite(value)]
            raise NonFiniteError(
                f"{skipped} updates in a row were left out, because their numbers are not finite "
                f"({', '.join(what) or 'the state after them'}): training has diverged. Lower "
                f"learner.learning_rate = {config.learning_rate!r} and train in another workdir; "
                "the checkpoints of this one stay"
            )
    return skipped
