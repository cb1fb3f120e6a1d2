"""The compiled programs of the learner: one update, and log-probabilities under a policy."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from trustee_jax.errors import ConfigError
from trustee_jax.models import LoRAParam, MeshRules, Transformer, kernels, param_shardings
from trustee_jax.models.attention import packed_attention
from trustee_jax.models.layers import UseLora
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.rl.config import LearnerConfig
from trustee_jax.rl.loss import target_logprobs
from trustee_jax.rl.objective import Metrics, Objective
from trustee_jax.rl.packing import PackedBatch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that an update changes.

    Attributes:
      params: What is trained: the LoRA factors, or every parameter.
      optimizer: State of the optax chain.
    """

    params: nnx.State
    optimizer: optax.OptState


Sums = tuple[nnx.State, Metrics]  # gradients, and metrics of the targets so far


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


def all_finite(tree: Any) -> jax.Array:
    """bool: whether no number in the tree's arrays is infinite or NaN."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def split_trainable(model: Transformer) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """The graph, the parameters that are trained (the LoRA factors, or all), and the others."""
    graphdef, *states = nnx.split(model, LoRAParam, ...)
    lora, base = states
    return (graphdef, lora, base) if jax.tree.leaves(lora) else (graphdef, base, lora)


class Programs:
    """What a learner compiles for one model on one mesh; nothing here needs or holds arrays.

    Attributes:
      config: Options.
      objective: What an update minimises.
      rows: Packed rows of a micro-batch.
      update: `update_step`, jitted; the state is donated.
      begin: `begin_step`, jitted; with `accumulate` and `finish`, an update in parts.
      accumulate: `accumulate_step`, jitted; the sums are donated.
      finish: `finish_step`, jitted; the state is donated.
      score: `score_step`, jitted.
    """

    def __init__(
        self, model: Transformer, mesh: Mesh, config: LearnerConfig, temperature: float = 1.0
    ):
        """Divides the parameters and jits the programs.

        Args:
          model: Its parameters may be shapes (jax.ShapeDtypeStruct).
          mesh: Where they run.
          config: Options.
          temperature: At which the policy samples.

        Raises:
          ConfigError: `rows_per_micro_batch` does not fit the mesh, or `attention` the platform,
            the model or `row_length`.
        """
        self.config = config
        self.objective = Objective(config)
        self._rules = MeshRules.create(mesh, LEARNER_RULES)
        ways = mesh.shape["data"] * mesh.shape["fsdp"]
        self.rows = ways if config.rows_per_micro_batch is None else config.rows_per_micro_batch
        if self.rows % ways:
            fix = f"use a multiple of the mesh's data x fsdp = {ways}, or leave it out"
            raise ConfigError("learner.rows_per_micro_batch", self.rows, fix)
        self._attention = self._choose_attention(model)
        self._temperature = temperature
        self._optimizer = make_optimizer(config)
        self._graphdef, trained, _ = split_trainable(model)
        self._trained = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), trained)
        shardings, replicated = self.state_shardings(), self._rules.replicated
        self.update = jax.jit(
            self.update_step, donate_argnums=0, out_shardings=(shardings, replicated)
        )
        sums = (shardings.params, replicated)
        self.begin = jax.jit(self.begin_step, out_shardings=(sums, replicated, replicated))
        self.accumulate = jax.jit(self.accumulate_step, donate_argnums=4, out_shardings=sums)
        self.finish = jax.jit(
            self.finish_step, donate_argnums=0, out_shardings=(shardings, replicated)
        )
        self.score = jax.jit(self.score_step, static_argnums=3, out_shardings=replicated)

    def _choose_attention(self, model: Transformer) -> kernels.Kernel:
        kernel, row_length = self.config.attention, self.config.row_length
        arguments = (model.config, model.dtype, row_length, self._rules)
        if kernel == "auto":
            return kernels.choose(*arguments)
        if reason := kernels.misfit(kernel, *arguments):
            raise ConfigError("learner.attention", kernel, f'write "auto" or "xla": {reason}')
        return kernel

    def init_optimizer(self, params: nnx.State) -> optax.OptState:
        """The optimizer's state before the first update; pure, to be jitted."""
        return self._optimizer.init(params)

    def batch_sharding(self, micro_batches: int) -> jax.sharding.NamedSharding:
        """The layout of a batch's arrays [micro_batches, rows, length]."""
        shape = (micro_batches, self.rows, 1)
        return self._rules.sharding((None, "batch", None), shape)

    def state_shardings(self) -> Any:
        """The layout of a TrainState, as one: moments like parameters."""
        replicated = self._rules.replicated
        sharded = param_shardings(self._trained, self._rules)
        abstract = jax.eval_shape(self._optimizer.init, self._trained)
        optimizer = optax.tree_utils.tree_map_params(
            self._optimizer,
            lambda _, sharding: sharding,
            abstract,
            sharded,
            transform_non_params=lambda _: replicated,
        )
        return TrainState(sharded, optimizer)

    def abstract_state(self) -> TrainState:
        """A TrainState of shapes with their layout."""
        state = jax.eval_shape(
            lambda params: TrainState(params, self.init_optimizer(params)), self._trained
        )
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            state,
            self.state_shardings(),
        )

    def _logprobs(
        self, params: nnx.State, frozen: nnx.State, rows: PackedBatch, use_lora: UseLora
    ) -> jax.Array:
        model = nnx.merge(self._graphdef, params, frozen)
        attend = packed_attention(rows.segments, rows.parents, self._rules, self._attention)
        hidden, _ = model(rows.tokens, rows.positions, attend, rules=self._rules, use_lora=use_lora)
        # Targets are gathered from anywhere in a row, so rows are whole here.
        hidden = self._rules.constrain(hidden, "batch", None, "act_embed")

        def project(states: jax.Array) -> jax.Array:
            return self._rules.constrain(model.logits(states), "batch", None, "act_vocab")

        return target_logprobs(project, hidden, rows, self._temperature, self.config.logprob_chunk)

    def update_step(
        self, state: TrainState, frozen: nnx.State, batch: PackedBatch, count: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """One optimizer update, see `finish_step`; pure, to be jitted.

        Args:
          state: Before.
          frozen: Parameters that are not trained.
          batch: Arrays [M, R, T]: M micro-batches of R rows.
          count: int32, micro-batches that are not padding.

        Returns:
          What `finish_step` does.
        """
        zeros, total, denominator = self.begin_step(state.params, batch)

        def accumulate(i: jax.Array, sums: Sums) -> Sums:
            rows = jax.tree.map(lambda x: x[i], batch)
            return self._accumulate(state.params, frozen, rows, denominator, sums)

        # The trip count is data, so that one compilation serves batches of different sizes.
        sums = jax.lax.fori_loop(0, count, accumulate, zeros)
        return self.finish_step(state, sums, total, denominator)

    def begin_step(
        self, params: nnx.State, batch: PackedBatch
    ) -> tuple[Sums, jax.Array, jax.Array]:
        """Zeros to add up, the number of targets, and what losses are divided by; pure."""
        total = jnp.maximum(jnp.sum(batch.loss_mask), 1.0)
        denominator = self.objective.denominator(batch)
        first = jax.tree.map(lambda x: x[0], batch)
        names = ("loss", *jax.eval_shape(self.objective, first.sampler_logprobs, first)[1])
        zeros = (jax.tree.map(jnp.zeros_like, params), {n: jnp.float32(0) for n in names})
        return zeros, total, denominator

    def accumulate_step(
        self,
        params: nnx.State,
        frozen: nnx.State,
        batch: PackedBatch,
        denominator: jax.Array,
        sums: Sums,
    ) -> Sums:
        """The sums with one micro-batch [1, R, T] more; pure, to be jitted."""
        rows = jax.tree.map(lambda x: x[0], batch)
        return self._accumulate(params, frozen, rows, denominator, sums)

    def _accumulate(
        self,
        params: nnx.State,
        frozen: nnx.State,
        rows: PackedBatch,
        denominator: jax.Array,
        sums: Sums,
    ) -> Sums:
        def loss(params: nnx.State) -> tuple[jax.Array, Metrics]:
            logprobs = self._logprobs(params, frozen, rows, True)
            value, metrics = self.objective(logprobs, rows)
            return value / denominator, metrics | {"loss": value}

        grads, metrics = sums
        (_, new_metrics), new_grads = jax.value_and_grad(loss, has_aux=True)(params)
        merged = {
            name: jnp.maximum(metrics[name], value)
            if name.endswith("_max")
            else metrics[name] + value
            for name, value in new_metrics.items()
        }
        return jax.tree.map(jnp.add, grads, new_grads), merged

    def finish_step(
        self, state: TrainState, sums: Sums, total: jax.Array, denominator: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """Moves the state by an update's sums, unless something about it is not finite; pure.

        It is then left out as if there had been no batch: parameters, moments and the count that
        the warm-up goes by stay as they are, bit for bit. (`optax.apply_if_finite` looks at the
        gradients alone, and lets them through after some in a row.)

        Args:
          state: Before.
          sums: Gradient of the loss, and sums of metrics over all targets.
          total: Targets.
          denominator: What the sum of losses is divided by.

        Returns:
          The state after it, and metrics; "skipped" is 1 where the state has stayed, else 0 and all
          others are finite.
        """
        grads, metrics = sums
        over = dict.fromkeys(metrics, total) | {"loss": denominator}
        metrics = {n: v if n.endswith("_max") else v / over[n] for n, v in metrics.items()}
        metrics["grad_norm"] = optax.global_norm(grads)

        def advance() -> tuple[TrainState, jax.Array]:
            updates, optimizer = self._optimizer.update(grads, state.optimizer, state.params)
            params = optax.apply_updates(state.params, updates)
            return TrainState(params, optimizer), optax.global_norm(updates)

        # Reduced at once, and computed again in the branch: kept for it, the new state would lie
        # beside the old one.
        ahead, metrics["update_norm"] = advance()
        finite = all_finite((ahead, metrics))
        after = jax.lax.cond(finite, lambda: advance()[0], lambda: state)
        return after, metrics | {"skipped": 1.0 - finite}

    def score_step(
        self,
        params: nnx.State,
        frozen: nnx.State,
        batch: PackedBatch,
        use_lora: bool,
        count: jax.Array,
    ) -> jax.Array:
        """Log-probabilities of the targets, float32[M, R, T]; pure, to be jitted."""

        def score(i: jax.Array, out: jax.Array) -> jax.Array:
            rows = jax.tree.map(lambda x: x[i], batch)
            return out.at[i].set(self._logprobs(params, frozen, rows, use_lora))

        return jax.lax.fori_loop(0, count, score, jnp.zeros(batch.loss_mask.shape, jnp.float32))
