"""The first steps of a policy that could call tools but seldom does.

Its episodes all end at -1, and groups without variance teach nothing. So it is helped: with
demonstrations in its context (arXiv 2603.08068), fewer by the step, or with turns held to the
grammar of a call. What succeeds so is learnt by likelihood, as if it had been written without help.
The steps end once the policy makes valid calls by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trustee_jax.environment import Help, Task, draw_demonstrations
from trustee_jax.environment.probe import Probe
from trustee_jax.errors import ConfigError
from trustee_jax.simulator.simulator import Key
from trustee_jax.toolsets import ToolRepository


@dataclasses.dataclass(frozen=True)
class ColdStartConfig:
    """How a policy is led to its first calls.

    Attributes:
      steps: First steps of the run that are a cold start, at most; 0: none. The difficulty stays
        where it begins, and no group is refilled.
      threshold: Share of probed turns with a valid call from which on no more help is needed; the
        probe has none. Reached before the first step, there is no cold start.
      demonstrations: Exchanges that stand before an episode, through equal parts of `steps`: with
        six steps, (3, 2, 0) are 3, 3, 2, 2, 0, 0.
      hold_calls: Hold a turn to the grammar of a call that the task still expects, while it does.
      epochs: Passes over the successes of a step; each is an update, or `learner.updates_per_step`.
    """

    steps: int = 0
    threshold: float = 0.5
    demonstrations: tuple[int, ...] = (3, 2, 0)
    hold_calls: bool = True
    epochs: int = 4

    def __post_init__(self) -> None:
        """Checks every number."""
        if self.steps < 0:
            raise ConfigError("steps", self.steps, "it must be 0 (none) or more")
        if self.epochs < 1:
            raise ConfigError("epochs", self.epochs, "it must be at least 1")
        if not 0 < self.threshold <= 1:
            raise ConfigError("threshold", self.threshold, "give a share above 0, up to 1")
        if not self.demonstrations or min(self.demonstrations) < 0:
            fix = 'write one or more numbers from 0, e.g. "(3, 2, 0)", or "(0,)" for none'
            raise ConfigError("demonstrations", self.demonstrations, fix)


class ColdStart:
    """Which steps are helped, and how.

    Attributes:
      config: Options.
      ended_after: The step after which the policy needed no more help; None: it still may.
    """

    def __init__(self, config: ColdStartConfig, repository: ToolRepository, seed: int):
        """Stands before the first step.

        Args:
          config: Options.
          repository: Tools that are demonstrated.
          seed: Of the run.
        """
        self.config = config
        self.ended_after: int | None = None
        self._repository = repository
        self._seed = seed

    def helps(self, step: int) -> bool:
        """Whether that step, from 1, is part of it."""
        return step <= self.config.steps and self.ended_after is None

    def demonstrations(self, step: int) -> int:
        """Exchanges that stand before an episode of a step that is helped."""
        counts = self.config.demonstrations
        return counts[(step - 1) * len(counts) // self.config.steps]

    def help(self, task: Task, key: Key) -> Help:
        """What the policy of one episode gets.

        Args:
          task: Its task.
          key: Step, task and episode.
        """
        count = self.demonstrations(key[0])
        shown = draw_demonstrations(self._repository, task, count, self._seed, *key)
        return Help(shown, self.config.hold_calls)

    def probed(self, step: int, probe: Probe) -> str:
        """Ends it if the policy makes enough valid calls by itself.

        Args:
          step: Training steps that are complete; it must not be past the last one that is helped.
          probe: Of the policy after them.

        Returns:
          A line for the user.
        """
        share, least = probe.share("valid_call"), self.config.threshold
        found = f"cold start: {share:.0%} of turns have a valid call without help"
        if share >= least:
            self.ended_after = step
            return f"{found}; it ends" if step else f"{found}; none is needed"
        if step < self.config.steps:
            return f"{found}, below {least:.0%}"
        return f"{found}, still below {least:.0%} after its last step; the curriculum begins"

    def state(self) -> dict[str, Any]:
        """What `restore` takes; plain JSON values."""
        return {"ended_after": self.ended_after}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        self.ended_after = state["ended_after"]
