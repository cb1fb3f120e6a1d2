"""The learner: its state, and updates of it by batches of any size."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from trustee_jax.errors import ConfigError
from trustee_jax.models import Transformer
from trustee_jax.rl.config import LearnerConfig
from trustee_jax.rl.objective import Objective
from trustee_jax.rl.packing import PackedBatch
from trustee_jax.rl.programs import Programs, TrainState, split_trainable

# A batch is padded to so many micro-batches, beyond it to a power of two: programs are compiled
# once, and what is not computed costs 52 bytes a token.
MICRO_BATCHES = 32


class Learner:
    """Trains one model on packed batches.

    With LoRA the factors are trained and the base, with adapters off, is the KL reference: no
    second copy. Without, every parameter is trained and `reference` supplies the initial policy.
    """

    def __init__(
        self,
        model: Transformer,
        mesh: Mesh,
        config: LearnerConfig,
        *,
        temperature: float = 1.0,
        reference: nnx.State | None = None,
    ):
        """Creates the optimizer's state.

        Frozen arrays are shared with the model. Trained ones are donated from update to update:
        LoRA factors are copied first, all parameters (full fine-tuning) are taken over from the
        model.

        Args:
          model: With LoRA, or float32 parameters to be trained in full.
          mesh: Where it runs.
          config: Options.
          temperature: At which the policy samples.
          reference: Parameters of the initial policy, for full fine-tuning with a KL term.

        Raises:
          ConfigError: `rows_per_micro_batch` does not fit the mesh, or a reference is missing.
        """
        self.config = config
        self._programs = Programs(model, mesh, config, temperature)
        _, params, self._frozen = split_trainable(model)
        self._has_lora = bool(jax.tree.leaves(self._frozen))
        if config.kl_coef and not self._has_lora and reference is None:
            fix = "pass the initial parameters as reference, or set it to 0"
            raise ConfigError("learner.kl_coef", config.kl_coef, fix)
        self._reference = reference
        shardings = self._programs.state_shardings()
        params = jax.device_put(params, shardings.params)
        if self._has_lora:
            params = jax.tree.map(jnp.copy, params)
        self.state = TrainState(
            params=params,
            optimizer=jax.jit(self._programs.init_optimizer, out_shardings=shardings.optimizer)(
                params
            ),
        )

    @property
    def rows(self) -> int:
        """Packed rows of a micro-batch: every batch has a multiple of them."""
        return self._programs.rows

    def _micro_batches(
        self, batch: PackedBatch, least: int = MICRO_BATCHES
    ) -> tuple[PackedBatch, np.int32]:
        """[rows, T] to [M, R, T], M padded so that nearly all updates have one shape."""
        rows = self.rows
        count = len(batch.tokens) // rows
        padded = max(least, 1 << (count - 1).bit_length())
        sharding = self._programs.batch_sharding(padded)

        def shape(x: np.ndarray) -> jax.Array:
            x = np.pad(x, ((0, padded * rows - len(x)), (0, 0)))
            return jax.device_put(x.reshape(padded, rows, -1), sharding)

        return jax.tree.map(shape, batch), np.int32(count)

    def logprobs(self, batch: PackedBatch, *, use_lora: bool = True) -> np.ndarray:
        """Log-probabilities of the targets under the present policy (or, LoRA off, its base).

        Args:
          batch: A multiple of `rows` rows.
          use_lora: Whether LoRA is on.

        Returns:
          float32[rows, T], 0 where padded.
        """
        micro, count = self._micro_batches(batch)
        values = self._programs.score(self.state.params, self._frozen, micro, use_lora, count)
        return np.asarray(values).reshape(-1, batch.tokens.shape[1])[: len(batch.tokens)]

    def logprobs_in_parts(self, batch: PackedBatch) -> Generator[None, None, np.ndarray]:
        """`logprobs` a micro-batch at a time: yields when one is under way, returns them."""
        values = []
        for rows in self._parts(batch):
            micro, count = self._micro_batches(rows, least=1)
            values.append(self._programs.score(self.state.params, self._frozen, micro, True, count))
            yield
        return np.concatenate([np.asarray(part)[0] for part in values])

    def _parts(self, batch: PackedBatch) -> Iterator[PackedBatch]:
        for i in range(0, len(batch.tokens), self.rows):
            yield jax.tree.map(lambda x, i=i: x[i : i + self.rows], batch)

    @property
    def objective(self) -> Objective:
        """What an update minimises."""
        return self._programs.objective

    def update(self, batch: PackedBatch) -> dict[str, jax.Array]:
        """One optimizer update on a batch of a multiple of `rows` rows.

        If anything about it is not finite (a log-probability, the loss, a gradient, the state after
        it), it is left out and the state stays as it is, bit for bit.

        The log-probabilities under the initial policy are computed first where the loss has a KL
        term. Nothing waits for the device: the host is free while it computes, and reading a value
        of the result waits for it.

        Returns:
          The loss as it is aggregated; means over targets of kl, ratio, what the loss adds (e.g.
          clip_fraction) and logprob_difference (|learner - engine|), and its maximum; the global
          norms of gradient and update; and skipped, which is 1 if the update was left out (the
          others may then be infinite or NaN). float32 scalars.
        """
        micro, count = self._with_reference(batch)
        self.state, metrics = self._programs.update(self.state, self._frozen, micro, count)
        return metrics

    def update_in_parts(self, batch: PackedBatch) -> Generator[None, None, dict[str, jax.Array]]:
        """`update` a micro-batch at a time, so that the device does other work in between.

        The same but for rounding. Until it has returned, the state is as before, and nothing else
        may change it.

        Returns:
          What `update` does.

        Yields:
          When a micro-batch is under way.
        """
        programs = self._programs
        micro, _ = self._micro_batches(batch)
        sums, total, denominator = programs.begin(self.state.params, micro)
        for rows in self._parts(batch):
            micro, _ = self._with_reference(rows, least=1)
            sums = programs.accumulate(self.state.params, self._frozen, micro, denominator, sums)
            yield
        self.state, metrics = programs.finish(self.state, sums, total, denominator)
        return metrics

    def _with_reference(
        self, batch: PackedBatch, least: int = MICRO_BATCHES
    ) -> tuple[PackedBatch, np.int32]:
        """`_micro_batches`, scored under the initial policy where the loss has a KL term."""
        micro, count = self._micro_batches(batch, least)
        if self.config.kl_coef:
            initial = self.state.params if self._has_lora else self._reference
            values = self._programs.score(initial, self._frozen, micro, False, count)
            values = jax.device_put(values, self._programs.batch_sharding(len(values)))
            micro = dataclasses.replace(micro, ref_logprobs=values)
        return micro, count
