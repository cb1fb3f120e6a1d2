"""Options of the learner."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from trustee_jax import plugins
from trustee_jax.errors import ConfigError
from trustee_jax.rl.objective import PARTS


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """The objective and its optimizer.

    The defaults are those of the TRUSTEE reference run, but for what `config.REFERENCE` sets back.
    The objective's parts are functions of the tables in `rl/advantages.py` and `rl/loss.py`, each
    with its paper; every part may also be a function of a user's file, path/to/file.py:function.
    `config.OBJECTIVES` has what the papers put together of them.

    Attributes:
      learning_rate: Of AdamW, constant after the warm-up. Adapters want 10 to 100 times the rate of
        full fine-tuning.
      warmup_updates: Optimizer updates over which the rate rises linearly from 0.
      weight_decay: Of AdamW.
      b1: Decay of AdamW's first moment.
      b2: Decay of AdamW's second moment.
      max_grad_norm: Gradients are scaled down to this global norm; 0 turns it off.
      updates_per_step: Optimizer updates a training step; the step's groups are divided over them.
      advantage_baseline: What is subtracted from a reward: "group_mean" or "leave_one_out".
      advantage_scale: What the difference is divided by: "group_std", "batch_std" or "none".
      importance_ratio: Of each "token", or the mean of a "sequence".
      loss: Of a token: "clip", or "reinforce", which has no ratio.
      clip_epsilon: The probability ratio counts as far as 1 - epsilon and 1 + epsilon.
      clip_epsilon_high: Epsilon of the upper end; None: the same.
      aggregation: How losses add up over an update: "token_mean", "sequence_mean" (every episode
        weighs the same) or "fixed_length" (the sum over an episode divided by a constant, averaged
        over episodes).
      fixed_length: That constant, in tokens; None: `row_length`.
      kl_coef: Weight of the KL term against the initial policy; 0 turns it off.
      mask_truncated: Leave episodes out that end because a message reached its limit or the context
        was full. They count in their group's baseline and scale, but are not trained on, and a
        group whose other episodes all have its mean reward counts as one of equal rewards.
      tis_cap: Truncated importance sampling: the loss is multiplied by min(learner's probability /
        engine's, cap), with the learner's from a pass of its own before the step's updates, which
        the ratio is then of. None turns it off: the ratio is of the engine's, and corrects for
        both. Stale episodes (`training.max_staleness`) need it.
      zero_variance_groups: What becomes of a group whose rewards are all equal: "drop" leaves it
        out; "keep", as published, gives its episodes the advantage 0, so that they count in the
        aggregation and in the KL term.
      row_length: Tokens in a packed row. At least `engine.max_length`, so that every episode fits.
      rows_per_micro_batch: Packed rows whose gradients are computed at once; a multiple of the
        mesh's data x fsdp. Memory grows with it. None is that number itself, one row for each part
        of the mesh, and follows it when a run goes on with more or fewer devices.
      logprob_chunk: Tokens of a row whose logits exist at once.
      attention: What computes attention over packed rows: "xla" anywhere, "splash" on a TPU,
        "cudnn" on a GPU; "auto" is the platform's own where it fits the model and `row_length`,
        else "xla".
      max_skipped_updates: An update about which something is not finite is left out; so many of
        them in a row, over steps, end the run.
    """

    learning_rate: float = 1e-6
    warmup_updates: int = 0
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    max_grad_norm: float = 1.0
    updates_per_step: int = 4
    advantage_baseline: str = "group_mean"
    advantage_scale: str = "group_std"
    importance_ratio: str = "token"
    loss: str = "clip"
    clip_epsilon: float = 0.2
    clip_epsilon_high: float | None = None
    aggregation: str = "token_mean"
    fixed_length: int | None = None
    kl_coef: float = 0.001
    mask_truncated: bool = False
    tis_cap: float | None = None
    zero_variance_groups: Literal["drop", "keep"] = "drop"
    row_length: int = 8192
    rows_per_micro_batch: int | None = None
    logprob_chunk: int = 512
    attention: Literal["auto", "xla", "splash", "cudnn"] = "auto"
    max_skipped_updates: int = 5

    def __post_init__(self) -> None:
        """Checks every number and name."""
        for name in ("learning_rate", "clip_epsilon", "clip_epsilon_high", "tis_cap"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(name, value, "it must be above 0, and finite")
        for name in ("weight_decay", "max_grad_norm", "kl_coef"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(name, getattr(self, name), "it must be 0 or more, and finite")
        if self.warmup_updates < 0:
            raise ConfigError("warmup_updates", self.warmup_updates, "it must be 0 or more")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "it must lie in [0, 1)")
        if self.zero_variance_groups not in ("drop", "keep"):
            fix = 'write "drop" or "keep"'
            raise ConfigError("zero_variance_groups", self.zero_variance_groups, fix)
        for name in (
            "updates_per_step",
            "row_length",
            "rows_per_micro_batch",
            "logprob_chunk",
            "max_skipped_updates",
            "fixed_length",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, value, "it must be at least 1")
        if self.row_length % self.logprob_chunk:
            fix = f"it must divide learner.row_length = {self.row_length}"
            raise ConfigError("logprob_chunk", self.logprob_chunk, fix)
        for name, table in PARTS.items():
            # A file is read by what trains, not by whoever looks at the options of a run.
            if ".py:" not in getattr(self, name):
                plugins.find(getattr(self, name), table, f"learner.{name}")
