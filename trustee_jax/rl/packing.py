"""Episodes to packed rows in which the prompt of a group stands once.

A row holds segments. The prompt that a group's episodes share is one segment, each episode's
continuation another, with the prompt as its parent: it attends to the prompt and to itself, and its
positions go on from the prompt's end. Attention, loss and gradient are exactly those of one row per
episode, without computing the prompt once for each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from trustee_jax import chat

Array = Any  # np.ndarray on the host, jax.Array on the device


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A sequence and what its sampled tokens are worth.

    Attributes:
      sequence: Tokens, with those that the policy sampled marked.
      advantage: Of each sampled token.
      episode_length: Sampled tokens of all sequences of its episode; None: this is the only one.
    """

    sequence: chat.TokenSequence
    advantage: float
    episode_length: int | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """Rows for the learner; every array is [rows, length].

    The second half describes the tokens to be trained ("targets"), moved to the front of each row:
    target i of a row is predicted from the token at index `sources[i]`.

    Attributes:
      tokens: int32, 0 where padded.
      positions: int32, rotary positions.
      segments: int32, from 1; 0 where padded.
      parents: int32, the segment that a segment continues, or 0.
      sources: int32.
      targets: int32, token ids.
      sequences: int32, from 1, the segment that a target stands in; 0 for padding.
      lengths: float32, targets of a target's episode; 0 for padding.
      loss_mask: float32, 1 for a target, 0 for padding.
      advantages: float32.
      sampler_logprobs: float32, log-probabilities that the targets were sampled at.
      old_logprobs: float32, log-probabilities under the learner's policy before the step's updates
        (0 until they are computed, which only truncated importance sampling needs).
      ref_logprobs: float32, log-probabilities under the initial policy (0 until they are computed).
    """

    tokens: Array
    positions: Array
    segments: Array
    parents: Array
    sources: Array
    targets: Array
    sequences: Array
    lengths: Array
    loss_mask: Array
    advantages: Array
    sampler_logprobs: Array
    old_logprobs: Array
    ref_logprobs: Array

    @classmethod
    def empty(cls, rows: int, length: int) -> PackedBatch:
        """All padding."""
        shape = (rows, length)
        names = [field.name for field in dataclasses.fields(cls)]
        integers = names[: names.index("lengths")]
        return cls(**{n: np.zeros(shape, np.int32 if n in integers else np.float32) for n in names})

    @property
    def num_tokens(self) -> int:
        """Tokens that are computed, padding aside."""
        return int((self.segments > 0).sum())


@dataclasses.dataclass(frozen=True, eq=False)
class _Unit:
    """Samples of one group that go into one row, and the length of the prompt that they share."""

    samples: tuple[Sample, ...]
    shared: int

    @property
    def length(self) -> int:
        return self.shared + sum(len(s.sequence.tokens) - self.shared for s in self.samples)


def _shared_prompt(samples: Sequence[Sample]) -> int:
    """Length of the longest common prefix, no further than any sequence's first sampled token."""
    shared = min(sample.sequence.prompt_length for sample in samples)
    first = samples[0].sequence.tokens
    for sample in samples[1:]:
        different = np.flatnonzero(first[:shared] != sample.sequence.tokens[:shared])
        shared = int(different[0]) if len(different) else shared
    return shared


def _units(group: Sequence[Sample], row_length: int) -> Iterable[_Unit]:
    """Divides a group into units that fit a row."""
    rest = list(group)
    while rest:
        count = len(rest)
        while _Unit(tuple(rest[:count]), _shared_prompt(rest[:count])).length > row_length:
            count -= 1
        yield _Unit(tuple(rest[:count]), _shared_prompt(rest[:count]))
        rest = rest[count:]


def pack(
    groups: Sequence[Sequence[Sample]], row_length: int, rows_multiple: int = 1
) -> PackedBatch:
    """Packs the samples of several groups, first-fit decreasing.

    Args:
      groups: Samples by task. Sequences without a sampled token are left out.
      row_length: Tokens per row.
      rows_multiple: The number of rows is padded to a multiple of this.

    Raises:
      ValueError: A sequence is longer than a row, or starts with a sampled token.
    """
    rows: list[list[_Unit]] = []
    space: list[int] = []
    units: list[_Unit] = []
    for group in groups:
        kept = [sample for sample in group if sample.sequence.sampled.any()]
        for sample in kept:
            length = len(sample.sequence.tokens)
            if length > row_length:
                raise ValueError(
                    f"a sequence has {length} tokens; set learner.row_length={row_length} to at "
                    f"least that"
                )
            if sample.sequence.prompt_length == 0:
                raise ValueError("a sequence starts with a sampled token: nothing predicts it")
        units += _units(kept, row_length)
    for unit in sorted(units, key=lambda unit: -unit.length):
        row = next((i for i, free in enumerate(space) if free >= unit.length), len(rows))
        if row == len(rows):
            rows.append([])
            space.append(row_length)
        rows[row].append(unit)
        space[row] -= unit.length
    batch = PackedBatch.empty(max(1, -(-len(rows) // rows_multiple)) * rows_multiple, row_length)
    for row, content in enumerate(rows):
        _fill(batch, row, content)
    return batch


def _fill(batch: PackedBatch, row: int, units: Iterable[_Unit]) -> None:
    """Writes the units of one row."""
    at = segment = target = 0
    for unit in units:
        shared = unit.shared
        parent = segment = segment + 1
        prompt_end = at + shared
        batch.tokens[row, at:prompt_end] = unit.samples[0].sequence.tokens[:shared]
        batch.positions[row, at:prompt_end] = np.arange(shared)
        batch.segments[row, at:prompt_end] = segment
        at = prompt_end
        for sample in unit.samples:
            sequence = sample.sequence
            segment += 1
            length = len(sequence.tokens) - shared
            span = slice(at, at + length)
            batch.tokens[row, span] = sequence.tokens[shared:]
            batch.positions[row, span] = np.arange(shared, shared + length)
            batch.segments[row, span] = segment
            batch.parents[row, span] = parent
            trained = np.flatnonzero(sequence.sampled[shared:])
            # The first token of a continuation is predicted from the last of the shared prompt.
            sources = np.where(trained > 0, at + trained - 1, prompt_end - 1)
            to = slice(target, target + len(trained))
            batch.sources[row, to] = sources
            batch.targets[row, to] = sequence.tokens[shared:][trained]
            batch.sequences[row, to] = segment
            batch.lengths[row, to] = sample.episode_length or len(trained)
            batch.loss_mask[row, to] = 1.0
            batch.advantages[row, to] = sample.advantage
            batch.sampler_logprobs[row, to] = sequence.logprobs[shared:][trained]
            at, target = at + length, target + len(trained)
