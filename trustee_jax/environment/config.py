"""Options of the game: how tasks are written and episodes are played and judged."""

import math
from dataclasses import dataclass, field
from typing import Literal

from trustee_jax.engine.types import Sampling
from trustee_jax.environment.judges.judge import judge_roles
from trustee_jax.errors import ConfigError, at_least
from trustee_jax.simulator.prompts import SimulatorRole


@dataclass(frozen=True)
class PolicyConfig:
    """How the policy samples within an episode.

    Attributes:
      max_tokens: Limit on one assistant turn, thoughts included.
      thinking: Let a model that can think do so; models without thoughts ignore it.
      history: What becomes of earlier thoughts: "append" keeps them in the context, "strip" drops
        them where the chat template would, in training and evaluation alike.
      sampling: How its tokens are drawn; the learner divides by the temperature, too, so it must be
        above 0.
    """

    max_tokens: int = 4096
    thinking: bool = True
    history: Literal["append", "strip"] = "strip"
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        at_least(self, 1, "max_tokens")
        if self.history not in ("append", "strip"):
            raise ConfigError("history", self.history, 'give "append" or "strip"')
        if self.sampling.temperature == 0:
            fix = "give more than 0: greedy episodes of a task are all equal, and nothing is learnt"
            raise ConfigError("sampling.temperature", self.sampling.temperature, fix)


@dataclass(frozen=True)
class WorldConfig:
    """The records behind the simulated tools.

    Attributes:
      enabled: Whether there are any. A weak simulator may do better without; reads are then not
        repeated verbatim, and nothing but the conversation says what has changed.
      collections: Most collections of a task's world.
      records: Most records of a collection at the start.
      fields: Most fields of a record besides its id.
      changes: Most changes of one call.
    """

    enabled: bool = True
    collections: int = 3
    records: int = 4
    fields: int = 5
    changes: int = 3

    def __post_init__(self) -> None:
        at_least(self, 1, "collections", "records", "fields", "changes")


@dataclass(frozen=True)
class JudgeConfig:
    """How an episode is graded.

    Attributes:
      use: The judges: "model", the simulator as verifier; "rules", the deterministic checks alone,
        by which a criterion is met unless one of them objects; `path/to/file.py:function`, a
        function of yours (see `PythonJudge`). The reward of several is the weighted mean of theirs.
        An episode without a call that fits its tool (with `check_calls` off: without any) is
        rewarded -1 before any judge sees it, and the curriculum's frontiers count a reward of 1 as
        success.
      weights: One for each judge, at least 0; none makes them equal. A judge of weight 0 is
        recorded where it gives a verdict, and counts for nothing.
      mode: "reasoned", one question per criterion, answered after reasons (and thoughts, where the
        model thinks); "logprobs", one question per criterion, read from the probability of "true"
        without a sample; "joint", one question for all criteria, as in the published run.
      threshold: Probability of "true" from which a criterion is met ("reasoned" and "logprobs").
      rules: Let code take away criteria from the model's verdict that it knows not to be met; see
        `find_violations`.
      require_answer: Let the same code take away "intent_met" where the assistant says nothing to
        the user after the last result.
      require_values: Let it take away "calls_correct", and where no call is right "intent_met",
        where an argument has nothing of the value that the task was written with, nor is it what
        the policy was told, nor an abbreviation: for a verifier that does not compare them. A
        strong one knows that Cologne is Koeln, and 2 weeks are 14 days.
    """

    use: tuple[str, ...] = ("model",)
    weights: tuple[float, ...] = ()
    mode: Literal["reasoned", "logprobs", "joint"] = "reasoned"
    threshold: float = 0.5
    rules: bool = True
    require_answer: bool = True
    require_values: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError("threshold", self.threshold, "give a probability between 0 and 1")
        if not self.use or len(set(self.use)) < len(self.use):
            raise ConfigError("use", self.use, "name at least one judge, and each of them once")
        if self.weights and len(self.weights) != len(self.use):
            fix = f"give one for each of the {len(self.use)} judges in use, or none"
            raise ConfigError("weights", self.weights, fix)
        if self.weights and not (min(self.weights) >= 0 and 0 < sum(self.weights) < math.inf):
            fix = "give numbers of 0 or more, not all of them 0, whose sum is finite"
            raise ConfigError("weights", self.weights, fix)


@dataclass(frozen=True)
class EnvironmentConfig:
    """Options of tasks and episodes.

    Attributes:
      policy: Sampling of the policy.
      world: The records behind the simulated tools.
      judge: The grading.
      max_parallel_calls: Calls of one assistant turn that are executed; the others are told so.
      tool_result_limit: Characters after which a tool result is cut.
      tool_deadline: Seconds that a call of a real tool may take (a function, a server).
      tool_threads: Most calls of real tools under way at a time.
      show_persona: Tell user and verifier the persona.
      show_intent: Tell user, tools and verifier the intent.
      show_expected_calls: Tell the verifier the expected calls.
      check_calls: Let code answer calls that do not fit their tool's schema, with the error that a
        real API would give; otherwise the tool simulator answers those of tools that it plays.
      check_tasks: Refuse a task whose intent lacks a value that its expected calls need, or has one
        that their tools refuse.
      check_queries: Refuse a task whose first query speaks as the assistant, asks for something
        else than its intent (see `find_query_fault`), or is to be clear and lacks a value.
      check_user: Refuse messages of the simulated user that no user would write; see
        `find_user_fault`.
      recent_tasks: Tasks that a new one is compared with; 0 turns it off.
      near_copy: Similarity from which it is refused; see `RecentTasks`.
    """

    policy: PolicyConfig = PolicyConfig()
    world: WorldConfig = WorldConfig()
    judge: JudgeConfig = JudgeConfig()
    max_parallel_calls: int = 3
    tool_result_limit: int = 512
    tool_deadline: float = 30.0
    tool_threads: int = 64
    show_persona: bool = True
    show_intent: bool = True
    show_expected_calls: bool = True
    check_calls: bool = True
    check_tasks: bool = True
    check_queries: bool = True
    check_user: bool = True
    recent_tasks: int = 256
    near_copy: float = 0.6

    def __post_init__(self) -> None:
        at_least(self, 1, "max_parallel_calls", "tool_threads")
        # Shorter ones leave no room for the errors that code answers with.
        at_least(self, 64, "tool_result_limit")
        at_least(self, 0, "recent_tasks")
        if not self.tool_deadline > 0:
            raise ConfigError("tool_deadline", self.tool_deadline, "give more than 0 seconds")
        if not self.near_copy > 0:
            raise ConfigError("near_copy", self.near_copy, "give more than 0; above 1 it is off")

    @property
    def roles(self) -> tuple[SimulatorRole, ...]:
        """What the simulator has to play."""
        world: tuple[SimulatorRole, ...] = ("world",) if self.world.enabled else ()
        return ("task", *world, "user", "tool", *judge_roles(self.judge.use))
