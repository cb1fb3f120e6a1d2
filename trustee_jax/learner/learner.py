"""The compiled updates: micro-batches accumulated inside jit, then one optimizer step."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from trustee_jax.errors import ConfigError
from trustee_jax.learner.config import LearnerConfig
from trustee_jax.learner.loss import Metrics, grpo_loss, target_logprobs
from trustee_jax.learner.packing import PackedBatch
from trustee_jax.models import LoRAParam, MeshRules, Transformer, param_shardings
from trustee_jax.models.attention import packed_attention
from trustee_jax.models.layers import Adapter
from trustee_jax.models.sharding import LEARNER_RULES


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that an update changes.

    Attributes:
      params: What is trained: the LoRA factors, or every parameter.
      optimizer: State of the optax chain.
      updates: int32, optimizer updates so far.
    """

    params: nnx.State
    optimizer: optax.OptState
    updates: jax.Array


def make_optimizer(config: LearnerConfig) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101) after clipping by global norm, with linear warm-up."""
    schedule = optax.linear_schedule(0.0, config.learning_rate, config.warmup_updates)
    rate = schedule if config.warmup_updates else config.learning_rate
    clip = (
        optax.clip_by_global_norm(config.max_grad_norm)
        if config.max_grad_norm
        else optax.identity()
    )
    return optax.chain(
        clip, optax.adamw(rate, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay)
    )


class Learner:
    """Trains one model on packed batches.

    With LoRA the factors are trained and the base, with adapters off, is the KL reference: no second
    copy. Without, every parameter is trained and `reference` supplies the initial policy.
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

        Frozen arrays are shared with the model. Trained ones are donated from update to update: LoRA
        factors are copied first, all parameters (full fine-tuning) are taken over from the model.

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
        self._rules = MeshRules.create(mesh, LEARNER_RULES)
        ways = mesh.shape["data"] * mesh.shape["fsdp"]
        if config.rows_per_micro_batch % ways:
            fix = f"use a multiple of the mesh's data x fsdp = {ways}"
            raise ConfigError("learner.rows_per_micro_batch", config.rows_per_micro_batch, fix)
        self._temperature = temperature
        self._graphdef, lora, base = nnx.split(model, LoRAParam, ...)
        self._has_lora = bool(jax.tree.leaves(lora))
        params, self._frozen = (lora, base) if self._has_lora else (base, lora)
        if config.kl_coef and not self._has_lora and reference is None:
            fix = "pass the initial parameters as reference, or set it to 0"
            raise ConfigError("learner.kl_coef", config.kl_coef, fix)
        self._reference = reference
        self._optimizer = make_optimizer(config)
        shardings = self.state_shardings(params)
        params = jax.device_put(params, shardings.params)
        if self._has_lora:
            params = jax.tree.map(jnp.copy, params)
        self.state = TrainState(
            params=params,
            optimizer=jax.jit(self._optimizer.init, out_shardings=shardings.optimizer)(params),
            updates=jax.device_put(np.int32(0), shardings.updates),
        )
        replicated = self._rules.replicated
        self._update = jax.jit(
            self.update_step, donate_argnums=0, out_shardings=(shardings, replicated)
        )
        self._score = jax.jit(self.score_step, static_argnums=3, out_shardings=replicated)

    def state_shardings(self, params: nnx.State) -> Any:
        """The layout of a TrainState with these (possibly abstract) params: moments like parameters."""
        replicated = self._rules.replicated
        sharded = param_shardings(params, self._rules)
        abstract = jax.eval_shape(self._optimizer.init, params)
        optimizer = optax.tree_utils.tree_map_params(
            self._optimizer,
            lambda _, sharding: sharding,
            abstract,
            sharded,
            transform_non_params=lambda _: replicated,
        )
        return TrainState(sharded, optimizer, replicated)

    def _logprobs(
        self, params: nnx.State, frozen: nnx.State, rows: PackedBatch, adapter: Adapter
    ) -> jax.Array:
        model = nnx.merge(self._graphdef, params, frozen)
        attend = packed_attention(rows.segments, rows.parents, self._rules)
        hidden, _ = model(rows.tokens, rows.positions, attend, rules=self._rules, adapter=adapter)
        # Targets are gathered from anywhere in a row, so rows are whole here.
        hidden = self._rules.constrain(hidden, "batch", None, "act_embed")

        def project(states: jax.Array) -> jax.Array:
            return self._rules.constrain(model.logits(states), "batch", None, "act_vocab")

        return target_logprobs(project, hidden, rows, self._temperature, self.config.logprob_chunk)

    def update_step(
        self, state: TrainState, frozen: nnx.State, batch: PackedBatch, count: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """One optimizer update; pure, to be jitted.

        Args:
          state: Before.
          frozen: Parameters that are not trained.
          batch: Arrays [M, R, T]: M micro-batches of R rows.
          count: int32, micro-batches that are not padding.
        """
        total = jnp.maximum(jnp.sum(batch.weights), 1.0)

        def loss(params: nnx.State, rows: PackedBatch) -> tuple[jax.Array, Metrics]:
            logprobs = self._logprobs(params, frozen, rows, True)
            value, metrics = grpo_loss(
                logprobs, rows, self.config.clip_epsilon, self.config.kl_coef
            )
            return value / total, metrics | {"loss": value}

        def accumulate(i: jax.Array, carry: tuple[nnx.State, Metrics]) -> tuple[nnx.State, Metrics]:
            grads, metrics = carry
            rows = jax.tree.map(lambda x: x[i], batch)
            (_, new_metrics), new_grads = jax.value_and_grad(loss, has_aux=True)(state.params, rows)
            merged = {
                name: jnp.maximum(metrics[name], value)
                if name.endswith("_max")
                else metrics[name] + value
                for name, value in new_metrics.items()
            }
            return jax.tree.map(jnp.add, grads, new_grads), merged

        names = (
            "loss",
            "kl",
            "clip_fraction",
            "ratio",
            "logprob_difference",
            "logprob_difference_max",
        )
        zeros = (jax.tree.map(jnp.zeros_like, state.params), {n: jnp.float32(0) for n in names})
        # The trip count is data, so that one compilation serves batches of different sizes.
        grads, metrics = jax.lax.fori_loop(0, count, accumulate, zeros)
        metrics = {n: v if n.endswith("_max") else v / total for n, v in metrics.items()}
        updates, optimizer = self._optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {
            "grad_norm": optax.global_norm(grads),
            "update_norm": optax.global_norm(updates),
        }
        return TrainState(params, optimizer, state.updates + 1), metrics

    def score_step(
        self,
        params: nnx.State,
        frozen: nnx.State,
        batch: PackedBatch,
        adapter: bool,
        count: jax.Array,
    ) -> jax.Array:
        """Log-probabilities of the targets, float32[M, R, T]; pure, to be jitted."""

        def score(i: jax.Array, out: jax.Array) -> jax.Array:
            rows = jax.tree.map(lambda x: x[i], batch)
            return out.at[i].set(self._logprobs(params, frozen, rows, adapter))

        return jax.lax.fori_loop(0, count, score, jnp.zeros(batch.weights.shape, jnp.float32))

    def _micro_batches(self, batch: PackedBatch) -> tuple[PackedBatch, np.int32]:
        """[rows, T] to [M, R, T], M padded to a power of two so that few shapes are compiled."""
        rows = self.config.rows_per_micro_batch
        count = len(batch.tokens) // rows
        padded = 1 << (count - 1).bit_length()
        sharding = self._rules.sharding((None, "batch", None), (padded, rows, 1))

        def shape(x: np.ndarray) -> jax.Array:
            x = np.pad(x, ((0, padded * rows - len(x)), (0, 0)))
            return jax.device_put(x.reshape(padded, rows, -1), sharding)

        return jax.tree.map(shape, batch), np.int32(count)

    def logprobs(self, batch: PackedBatch, *, adapter: bool = True) -> np.ndarray:
        """Log-probabilities of the targets under the present policy (or, adapter off, its base).

        Args:
          batch: A multiple of `rows_per_micro_batch` rows.
          adapter: Whether LoRA is on.

        Returns:
          float32[rows, T], 0 where padded.
        """
        micro, count = self._micro_batches(batch)
        values = self._score(self.state.params, self._frozen, micro, adapter, count)
        return np.asarray(values).reshape(-1, batch.tokens.shape[1])[: len(batch.tokens)]

    def add_reference(self, batch: PackedBatch) -> PackedBatch:
        """The batch with the initial policy's log-probabilities, unless the loss has no KL term."""
        if not self.config.kl_coef:
            return batch
        if self._has_lora:
            return dataclasses.replace(batch, reference=self.logprobs(batch, adapter=False))
        micro, count = self._micro_batches(batch)
        values = self._score(self._reference, self._frozen, micro, False, count)
        values = np.asarray(values).reshape(-1, batch.tokens.shape[1])[: len(batch.tokens)]
        return dataclasses.replace(batch, reference=values)

    def update(self, batch: PackedBatch) -> dict[str, float]:
        """One optimizer update on a batch of a multiple of `rows_per_micro_batch` rows.

        Returns:
          Means over targets of loss, kl, clip_fraction, ratio and logprob_difference (|learner -
          engine|), its maximum, and the global norms of gradient and update.
        """
        micro, count = self._micro_batches(batch)
        self.state, metrics = self._update(self.state, self._frozen, micro, count)
        return {name: float(value) for name, value in jax.device_get(metrics).items()}
