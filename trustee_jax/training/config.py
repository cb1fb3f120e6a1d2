"""Options of the training loop."""

from __future__ import annotations

import dataclasses

from trustee_jax.errors import ConfigError
from trustee_jax.training.cold_start import ColdStartConfig


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How much is trained, and how often it is saved.

    Attributes:
      steps: Training steps in all; a resumed run goes on up to this number.
      tasks_per_step: Tasks generated in one step.
      group_size: Episodes of each task; GRPO compares them with each other.
      min_valid: Valid episodes that a group needs to be learnt from, at least 2.
      min_groups: Groups with something to compare that a step needs to be learnt from. The update
        of a single group can undo what many others have taught: Adam's first steps are as long as
        the learning rate, however little the gradient says.
      refill_groups: Groups that a step may play in addition, in all: a group with too few valid
        episodes plays further ones of the same task in place of the invalid ones; one whose rewards
        are all equal is replaced by a new task, unless `learner.zero_variance_groups` keeps it.
        0 turns it off.
      prepare_tasks: Write the next step's tasks while the device computes the present update; with
        `max_staleness` they always are.
      release_cache: Free the engine's cache while the policy is updated, for where both do not fit.
        The next tasks are then written after the update.
      max_staleness: Steps by which the policy that plays may be behind the one that is trained. 0:
        every step waits for the update before it. 1: a step is played with the weights from before
        the update before it, while that update is computed (one-step off-policy, arXiv 2410.18252);
        `learner.tis_cap` corrects for it. It can win what the device would idle while episodes are
        played, no more; a checkpoint holds the older weights, too.
      max_task_attempts: Draws of tools and aspects for one task until the simulator writes a usable
        one; after that the step goes without it.
      attempts_in_flight: Of these, how many of one task are under way together; of several that
        give a task the first draw counts. More than 1 spares time where the simulator is weak and
        the engine has idle slots, and wastes work elsewhere.
      probe_turns: Turns in which the policy is asked for a call before the first step: what it then
        writes says whether it can learn here. 0 leaves them out.
      cold_start: Help for a policy that hardly ever calls, in the first steps.
      shuffle_rewards: A control: after a cold start, the policy learns from a step's rewards in
        random order, while refills and the curriculum go by the true ones. What such a run gains,
        the verdicts did not teach.
      checkpoint_every: Steps between two checkpoints. The last step is always saved.
      keep_last: Newest checkpoints that stay on disk.
      keep_best: Checkpoints with the highest mean reward that stay besides those.
    """

    steps: int = 200
    tasks_per_step: int = 16
    group_size: int = 8
    min_valid: int = 2
    min_groups: int = 1
    refill_groups: int = 4
    prepare_tasks: bool = True
    release_cache: bool = False
    max_staleness: int = 0
    max_task_attempts: int = 3
    attempts_in_flight: int = 1
    probe_turns: int = 24
    cold_start: ColdStartConfig = dataclasses.field(default_factory=ColdStartConfig)
    shuffle_rewards: bool = False
    checkpoint_every: int = 5
    keep_last: int = 2
    keep_best: int = 1

    def __post_init__(self) -> None:
        """Checks every number."""
        for name in (
            "steps",
            "tasks_per_step",
            "min_groups",
            "max_task_attempts",
            "attempts_in_flight",
            "checkpoint_every",
            "keep_last",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "it must be at least 1")
        if self.group_size < 2:
            raise ConfigError(
                "group_size", self.group_size, "a group needs at least 2 episodes to compare"
            )
        if not 2 <= self.min_valid <= self.group_size:
            fix = f"give 2 or more, up to training.group_size = {self.group_size}"
            raise ConfigError("min_valid", self.min_valid, fix)
        if self.min_groups > self.tasks_per_step:
            fix = f"at most training.tasks_per_step = {self.tasks_per_step}"
            raise ConfigError("min_groups", self.min_groups, fix)
        if self.max_staleness not in (0, 1):
            raise ConfigError("max_staleness", self.max_staleness, "it must be 0 (off) or 1")
        if self.max_staleness and self.release_cache:
            fix = "episodes are played during updates; turn training.release_cache off, or use 0"
            raise ConfigError("max_staleness", self.max_staleness, fix)
        for name in ("keep_best", "refill_groups", "probe_turns"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "it must be 0 (off) or more")
        if self.cold_start.steps:
            self._check_cold_start()

    def _check_cold_start(self) -> None:
        if self.cold_start.steps > self.steps:
            fix = f"at most training.steps = {self.steps}"
            raise ConfigError("cold_start.steps", self.cold_start.steps, fix)
        if self.max_staleness:
            fix = "a cold start goes without it: 0, or training.cold_start.steps = 0"
            raise ConfigError("max_staleness", self.max_staleness, fix)
        if not self.probe_turns:
            fix = "a cold start ends by what the policy does when it is probed: 1 or more"
            raise ConfigError("probe_turns", self.probe_turns, fix)
