"""Options of the learner."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from trustee_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """GRPO and its optimizer. The defaults are those of the TRUSTEE reference run.

    Attributes:
      learning_rate: Of AdamW, constant after the warm-up. Adapters want 10 to 100 times the rate of
        full fine-tuning.
      warmup_updates: Optimizer updates over which the rate rises linearly from 0.
      weight_decay: Of AdamW.
      b1: Decay of AdamW's first moment.
      b2: Decay of AdamW's second moment.
      max_grad_norm: Gradients are scaled down to this global norm; 0 turns it off.
      updates_per_step: Optimizer updates a training step; the step's groups are divided over them.
      clip_epsilon: The probability ratio counts as far as 1 - epsilon and 1 + epsilon.
      kl_coef: Weight of the KL term against the initial policy; 0 turns it off.
      uniform_groups: What becomes of a group whose rewards are all equal: "drop" leaves it out;
        "keep", as published, gives its episodes the advantage 0, so that they count in the mean
        over tokens and in the KL term.
      row_length: Tokens in a packed row. At least `engine.max_length`, so that every episode fits.
      rows_per_micro_batch: Packed rows whose gradients are computed at once; a multiple of the
        mesh's data x fsdp. Memory grows with it. None is that number itself, one row for each part
        of the mesh, and follows it when a run goes on with more or fewer devices.
      logprob_chunk: Tokens of a row whose logits exist at once.
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
    clip_epsilon: float = 0.2
    kl_coef: float = 0.001
    uniform_groups: Literal["drop", "keep"] = "drop"
    row_length: int = 8192
    rows_per_micro_batch: int | None = None
    logprob_chunk: int = 512
    max_skipped_updates: int = 5

    def __post_init__(self) -> None:
        """Checks every number."""
        for name in ("learning_rate", "clip_epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(name, getattr(self, name), "it must be above 0, and finite")
        for name in ("weight_decay", "max_grad_norm", "kl_coef"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(name, getattr(self, name), "it must be 0 or more, and finite")
        if self.warmup_updates < 0:
            raise ConfigError("warmup_updates", self.warmup_updates, "it must be 0 or more")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "it must lie in [0, 1)")
        if self.uniform_groups not in ("drop", "keep"):
            raise ConfigError("uniform_groups", self.uniform_groups, 'write "drop" or "keep"')
        for name in (
            "updates_per_step",
            "row_length",
            "rows_per_micro_batch",
            "logprob_chunk",
            "max_skipped_updates",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, value, "it must be at least 1")
        if self.row_length % self.logprob_chunk:
            fix = f"it must divide learner.row_length = {self.row_length}"
            raise ConfigError("logprob_chunk", self.logprob_chunk, fix)
