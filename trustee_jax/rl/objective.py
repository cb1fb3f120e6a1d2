"""The objective of an update: advantages and loss, put together from the options' parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from trustee_jax import plugins
from trustee_jax.errors import ConfigError, one_line
from trustee_jax.rl.advantages import BASELINES, SCALES
from trustee_jax.rl.loss import AGGREGATIONS, LOSSES, RATIOS, bounded_exp
from trustee_jax.rl.packing import PackedBatch

if TYPE_CHECKING:
    from trustee_jax.rl.config import LearnerConfig

Metrics = dict[str, jax.Array]

PARTS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "advantage_baseline": BASELINES,
    "advantage_scale": SCALES,
    "importance_ratio": RATIOS,
    "loss": LOSSES,
    "aggregation": AGGREGATIONS,
}
"""The tables that the options name functions of."""

# What a user's function of advantages is tried on: groups, and steps of them.
_REWARDS = tuple(np.linspace(-1, 1, size) for size in (2, 3, 4))
_STEPS = tuple(list(_REWARDS[:count]) for count in (1, 2, 3))
_TAKEN = (
    *("loss", "kl", "ratio", "logprob_difference", "tis_truncated", "grad_norm", "update_norm"),
    *("updates", "skipped", "skipped_updates", "tokens", "packing_fill"),
)


class Objective:
    """What an update minimises.

    Each part is a function of a table, or of a user's file (see `plugins.find`).
    """

    def __init__(self, config: LearnerConfig) -> None:
        """Finds the parts.

        Args:
          config: Options.

        Raises:
          ConfigError: There is no such part, or a user's function does not do what it must.
        """
        self._config = config
        self._baseline = _advantage_part(config, "advantage_baseline", _REWARDS)
        self._scale = _advantage_part(config, "advantage_scale", _STEPS)
        batch = jax.tree.map(jnp.asarray, PackedBatch.empty(1, 4))
        zeros = jnp.zeros((1, 4))
        self._ratio = _traced_part(config, "importance_ratio", lambda f: f(zeros, batch))
        self._loss = _traced_part(config, "loss", lambda f: f(zeros, zeros, batch, config))
        self._aggregation = _traced_part(config, "aggregation", lambda f: f(batch, config))
        _check_shares(config, jax.eval_shape(lambda: self._loss(zeros, zeros, batch, config))[1])

    def advantages(self, groups: Sequence[Sequence[float | None]]) -> list[np.ndarray]:
        """Advantages of a step's episodes: (reward - baseline) / scale.

        Both are of the valid episodes alone.

        Args:
          groups: The rewards of each task's episodes, of which two or more are valid; None where an
            episode is invalid.

        Returns:
          For each group float32[episodes], 0 for invalid episodes.

        Raises:
          ConfigError: A user's function gives no finite number for one of them.
        """
        if not groups:
            return []
        valid = [np.array([r for r in group if r is not None], np.float64) for group in groups]
        found = []
        for group, rewards, scale in zip(groups, valid, self._scale(valid), strict=True):
            advantages = np.zeros(len(group), np.float32)
            with np.errstate(all="ignore"):
                values = (rewards - self._baseline(rewards)) / scale
            advantages[[r is not None for r in group]] = values
            if not np.isfinite(advantages).all():
                spec = self._config.advantage_scale
                fix = (
                    f"with it advantages of the rewards {rewards.tolist()} are not finite: mend it"
                )
                raise ConfigError("learner.advantage_scale", spec, fix)
            found.append(advantages)
        return found

    def denominator(self, batch: PackedBatch) -> jax.Array:
        """What the sum of losses over all targets of an update is divided by, float32."""
        return jnp.maximum(jnp.sum(self._aggregation(batch, self._config)[1]), 1.0)

    def __call__(self, logprobs: jax.Array, batch: PackedBatch) -> tuple[jax.Array, Metrics]:
        """The loss, summed over targets as they are weighed, and metrics.

        Per target: `learner.loss` of the ratio exp(logp - old), where old is the sampler's; plus
        kl_coef (exp(d) - d - 1) with d = ref - logp (GRPO, arXiv 2402.03300, eq. 4, the k3
        estimator). With truncated importance sampling (Yao et al. 2025, fengyao.notion.site/
        off-policy-rl; TRL's `vllm_importance_sampling_mode="token_truncate"`) old is the learner's
        before the step's updates, and the loss, not the KL term, is multiplied by min(exp(old -
        sampler), cap). With a sampler whose weights are older than old's that is decoupled PPO
        (Hilton et al., arXiv 2110.00641; AReaL, 2505.24298), truncated: the weight corrects for the
        policy that sampled, the clipping stays around old. Log ratios and d count as far as 20;
        what is beyond has no gradient.

        Args:
          logprobs: float32[R, T] of the targets under the policy that is trained.
          batch: The same targets.

        Returns:
          The sum over targets, and sums of metrics over targets; one whose name ends in `_max` is a
          maximum.
        """
        config, mask = self._config, batch.loss_mask
        difference = log_ratio = logprobs - batch.sampler_logprobs
        if config.tis_cap is not None:
            log_ratio = logprobs - batch.old_logprobs
        ratio, _ = bounded_exp(self._ratio(log_ratio, batch))
        loss, shares = self._loss(logprobs, ratio, batch, config)
        # Whatever a user's loss makes of padding.
        loss = jnp.where(mask > 0, loss, 0.0)
        if config.tis_cap is not None:
            weight = jnp.exp(batch.old_logprobs - batch.sampler_logprobs)
            loss = loss * jnp.minimum(weight, config.tis_cap)
            shares = shares | {"tis_truncated": weight > config.tis_cap}
        inverse, delta = bounded_exp(batch.ref_logprobs - logprobs)
        kl = jnp.where(mask > 0, inverse - delta - 1, 0.0) if config.kl_coef else 0.0
        loss = loss + config.kl_coef * kl
        absolute = jnp.abs(difference) * mask
        metrics = {
            name: jnp.sum(jnp.where(mask > 0, share, 0.0)) for name, share in shares.items()
        } | {
            "kl": jnp.sum(kl * mask),
            "ratio": jnp.sum(ratio * mask),
            "logprob_difference": jnp.sum(absolute),
            "logprob_difference_max": jnp.max(absolute),
        }
        weights, _ = self._aggregation(batch, config)
        return jnp.sum(loss * weights), metrics


def _part(config: LearnerConfig, name: str, call: Callable[[Any], Any]) -> Callable[..., Any]:
    """The function that an option names; a user's must return what ours does of the same.

    Args:
      config: Options.
      name: The option.
      call: Calls a function as it will be.

    Raises:
      ConfigError: There is none, it raises, or what it returns is of another form.
    """
    spec, field, table = getattr(config, name), f"learner.{name}", PARTS[name]
    function = plugins.find(spec, table, field)
    if spec in table:
        return function
    ours, model = next(iter(table.items()))
    where = f"{ours!r} ({model.__module__}.{model.__name__})"
    try:
        form = _form(call(function))
    # It is a program: anything can go wrong in it.
    except Exception as error:
        raise ConfigError(
            field, spec, f"called like {where}, it raised {one_line(error)}"
        ) from error
    if form != (expected := _form(call(model))):
        fix = f"it must return what {where} does, here {expected}, not {form}"
        raise ConfigError(field, spec, fix)
    return function


def _advantage_part(
    config: LearnerConfig, name: str, examples: Sequence[Any]
) -> Callable[..., Any]:
    return _part(config, name, lambda f: tuple(map(f, examples)))


def _traced_part(
    config: LearnerConfig, name: str, call: Callable[[Any], Any]
) -> Callable[..., Any]:
    return _part(config, name, lambda f: jax.eval_shape(lambda: call(f)))


def _check_shares(config: LearnerConfig, shares: Mapping[Any, Any]) -> None:
    """Refuses metrics of a loss that are others' already, or would not be means."""
    for name in shares:
        if not isinstance(name, str) or name in _TAKEN or name.endswith("_max"):
            fix = f"it returns the share {name!r}; give it a name that no other metric has"
            raise ConfigError("learner.loss", config.loss, f"{fix}, not ending in _max")


def _form(value: Any) -> Any:
    """Shapes of what a part returns; a dict may have any names for arrays of one shape."""
    if isinstance(value, tuple | list):
        return tuple(map(_form, value))
    if isinstance(value, dict):
        return {"...": (1, 4)} if set(map(_form, value.values())) <= {(1, 4)} else dict
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)
