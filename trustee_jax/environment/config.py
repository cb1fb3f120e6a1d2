"""Options of the simulated environment."""

from dataclasses import dataclass, field
from typing import Literal

from trustee_jax.engine.types import Sampling
from trustee_jax.errors import ConfigError


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value < least:
            raise ConfigError(name, value, f"give {least} or more")


@dataclass(frozen=True)
class PolicyConfig:
    """How the policy samples within an episode.

    Attributes:
      max_tokens: limit on one assistant turn, thoughts included.
      thinking: let a model that can think do so; models without thoughts ignore it.
      history: what becomes of earlier thoughts: "append" keeps them in the context, "strip" drops
        them where the chat template would, in training and evaluation alike.
      sampling: how its tokens are drawn; the learner divides by the temperature, too, so it must be
        above 0.
    """

    max_tokens: int = 4096
    thinking: bool = True
    history: Literal["append", "strip"] = "strip"
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        _at_least(self, 1, "max_tokens")
        if self.history not in ("append", "strip"):
            raise ConfigError("history", self.history, 'give "append" or "strip"')
        if self.sampling.temperature == 0:
            fix = "give more than 0: greedy episodes of a task are all equal, and nothing is learnt"
            raise ConfigError("sampling.temperature", self.sampling.temperature, fix)


@dataclass(frozen=True)
class SimulatorConfig:
    """How the simulator answers in one of its roles.

    Attributes:
      max_tokens: limit on the answer, thoughts not counted.
      think_budget: limit on the thoughts before it; 0 turns thinking off, as for models without.
      tries: requests made before the role counts as failed, each under its own key.
      sampling: how its tokens are drawn; temperature 0 would make all tries the same.
    """

    max_tokens: int = 512
    think_budget: int = 1536
    tries: int = 3
    sampling: Sampling = field(
        default_factory=lambda: Sampling(temperature=0.6, top_p=0.95, top_k=20)
    )

    def __post_init__(self) -> None:
        _at_least(self, 1, "max_tokens", "tries")
        _at_least(self, 0, "think_budget")


@dataclass(frozen=True)
class WorldConfig(SimulatorConfig):
    """The records behind the tools, and the simulator as the one who writes the first of them.

    Attributes:
      enabled: whether there are any. A weak simulator may do better without; reads are then not
        repeated verbatim, and nothing but the conversation says what has changed.
      collections: most collections of a task's world.
      records: most records of a collection at the start.
      fields: most fields of a record besides its id.
      changes: most changes of one call.
    """

    max_tokens: int = 1024
    enabled: bool = True
    collections: int = 3
    records: int = 4
    fields: int = 5
    changes: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, 1, "collections", "records", "fields", "changes")


@dataclass(frozen=True)
class VerifierConfig(SimulatorConfig):
    """How the verifier answers.

    Attributes:
      mode: "reasoned", one question per criterion, answered after reasons (and thoughts, where the
        model thinks); "logprobs", one question per criterion, read from the probability of "true"
        without a sample; "joint", one question for all criteria, as in the published run.
      threshold: probability of "true" from which a criterion is met ("reasoned" and "logprobs").
    """

    mode: Literal["reasoned", "logprobs", "joint"] = "reasoned"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.threshold < 1:
            raise ConfigError("threshold", self.threshold, "give a probability between 0 and 1")


@dataclass(frozen=True)
class SimulationConfig:
    """Options of tasks and episodes.

    Attributes:
      policy: sampling of the policy.
      task: the simulator as task generator.
      user: the simulator as user.
      tool: the simulator as every tool.
      world: the records behind the tools, and the simulator as their author.
      verifier: the simulator as verifier.
      max_parallel_calls: calls of one assistant turn that are executed; the others are told so.
      tool_result_limit: characters after which a tool result is cut.
      text_limit: characters that a simulator may write in one text: intent, query, user message,
        and the verifier's reasons; half as many for the persona. Keep a role's max_tokens above
        what its texts may need, since an answer that runs out of tokens is closed where it is.
      show_persona: tell user and verifier the persona.
      show_intent: tell user, tools and verifier the intent.
      show_expected_calls: tell the verifier the expected calls.
      check_calls: let code answer calls that do not fit their tool's schema, with the error that a
        real API would give; otherwise the tool simulator answers them.
      check_tasks: refuse a task whose intent lacks a value that its expected calls need.
      recent_tasks: tasks that a new one is compared with; 0 turns it off.
      near_copy: similarity from which it is refused; see `RecentTasks`.
      vetoes: let code take away criteria that it knows not to be met; see `find_vetoes`.
      prompts: folder with own prompt templates, which replace those of `simulation/prompts` file by
        file; None for none.
    """

    policy: PolicyConfig = PolicyConfig()
    task: SimulatorConfig = SimulatorConfig(
        max_tokens=1024,
        think_budget=7168,
        tries=2,
        sampling=Sampling(temperature=0.8, top_p=0.95, top_k=20),
    )
    user: SimulatorConfig = SimulatorConfig()
    tool: SimulatorConfig = SimulatorConfig()
    world: WorldConfig = WorldConfig()
    verifier: VerifierConfig = VerifierConfig()
    max_parallel_calls: int = 3
    tool_result_limit: int = 512
    text_limit: int = 400
    show_persona: bool = True
    show_intent: bool = True
    show_expected_calls: bool = True
    check_calls: bool = True
    check_tasks: bool = True
    recent_tasks: int = 256
    near_copy: float = 0.6
    vetoes: bool = True
    prompts: str | None = None

    def __post_init__(self) -> None:
        _at_least(self, 1, "max_parallel_calls")
        # Shorter ones leave no room for the errors that code answers with.
        _at_least(self, 64, "tool_result_limit", "text_limit")
        _at_least(self, 0, "recent_tasks")
        if not self.near_copy > 0:
            raise ConfigError("near_copy", self.near_copy, "give more than 0; above 1 it is off")
