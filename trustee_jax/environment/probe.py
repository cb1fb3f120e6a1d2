"""Can the policy call tools at all? Single turns at requests that code has written."""

from __future__ import annotations

import collections
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from trustee_jax.chat import AssistantTurn, CallSyntax, Conversation, unmarked_calls
from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.environment.calls import find_problem
from trustee_jax.environment.environment import Environment
from trustee_jax.streams import Purpose
from trustee_jax.toolsets import ToolRepository
from trustee_jax.toolsets.example_calls import draw_call, example_request
from trustee_jax.toolsets.tool import Tool

Kind = Literal["valid_call", "unfit_call", "malformed_call", "unmarked_call", "text", "refused"]
# Below it, most groups of episodes have no call in them, and nothing to tell them apart.
_FEW = 0.1
_OTHERS = 2  # tools that are offered beside the one that is asked for


@dataclass(frozen=True)
class Question:
    """A request that one call answers.

    Attributes:
      tools: What is offered.
      text: The user's message.
      wanted: The tool that is asked for.
      arguments: What it is to be called with.
    """

    tools: tuple[Tool, ...]
    text: str
    wanted: Tool
    arguments: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Probe:
    """What a policy did when it was asked for a call.

    Attributes:
      kinds: Turns of each kind: valid_call, all its calls fit their tools; unfit_call, one does
        not; malformed_call, one cannot be read; unmarked_call, one is mere text for its chat
        format; text, there is none; refused, the engine did not take the prompt.
    """

    kinds: Mapping[Kind, int]

    @classmethod
    def of(cls, kinds: Iterable[Kind]) -> Probe:
        """Counts turns."""
        return cls(collections.Counter(kinds))

    @property
    def turns(self) -> int:
        """How many there were."""
        return sum(self.kinds.values())

    def share(self, kind: Kind) -> float:
        """Share of turns of a kind; 0 of none."""
        return self.kinds.get(kind, 0) / max(1, self.turns)

    def warning(self, syntax: CallSyntax) -> str:
        """What to do about a policy that hardly ever calls a tool; empty if it does.

        Args:
          syntax: The form of calls that it is read in.
        """
        if not self.turns or self.share("valid_call") >= _FEW:
            return ""
        fix = "lead it in with --config.training.cold_start.steps=6, or try another model"
        if self.share("unmarked_call") >= _FEW and syntax is not CallSyntax.JSON:
            share = f"{self.share('unmarked_call'):.0%}"
            fix = f"{share} of turns have one as mere text: try --config.model.call_syntax=json"
        return f"warning: next to no turn has a valid call, so episodes can hardly differ; {fix}"

    def scalars(self, prefix: str = "probe") -> dict[str, float]:
        """Share of each kind, as metrics name it."""
        return {f"{prefix}/{kind}": self.share(kind) for kind in get_args(Kind)}

    def __str__(self) -> str:
        """One line for a reader."""
        found = ", ".join(
            f"{self.kinds[kind]} x {kind.replace('_', ' ')}"
            for kind in get_args(Kind)
            if self.kinds.get(kind)
        )
        return f"asked for a call in {self.turns} turns: {found or 'nothing'}"


def draw_questions(
    repository: ToolRepository, count: int, seed: int, first: int = 0
) -> Iterator[Question]:
    """Draws requests for one call each.

    Args:
      repository: The tools.
      count: Questions at most; there are fewer where code can write no arguments for the tools.
      seed: Of the run.
      first: Number of the first one, which what is drawn depends on.
    """
    for number in range(first, first + count):
        drawn = draw_call(repository, Purpose.PROBE, seed, number, others=_OTHERS)
        if drawn is not None:
            tools, wanted = list(drawn.tools), drawn.tools[0]
            drawn.rng.shuffle(tools)
            text = example_request(wanted, drawn.arguments)
            yield Question(tuple(tools), text, wanted, drawn.arguments)


def answer(
    environment: Environment, question: Question, number: int
) -> Generator[Request, Completion, Kind]:
    """Coroutine in which the policy answers one question, as in the first turn of an episode.

    Args:
      environment: Its format, system prompt and sampling.
      question: What is asked.
      number: Of the question; its sample depends on it.
    """
    format, options = environment.policy_format, environment.config.policy
    conversation = Conversation(
        format,
        [
            {"role": "system", "content": environment.simulator.prompts.policy(0)},
            {"role": "user", "content": question.text},
        ],
        tools=[tool.openai() for tool in question.tools],
        thinking=options.thinking and format.thinks,
        history=options.history,
    )
    room = environment.max_length - len(conversation.context)
    if room < 1:
        return "refused"
    try:
        completion = yield Request(
            tokens=conversation.context,
            max_new_tokens=min(options.max_tokens, room),
            key=(Purpose.PROBE, number),
            role="policy",
            sampling=options.sampling,
            stop_ids=format.stop_ids,
        )
    except RequestError:
        return "refused"
    turn = conversation.add_sampled(completion.tokens, completion.logprobs)
    return kind_of(turn, question.tools)


def kind_of(turn: AssistantTurn, tools: Sequence[Tool]) -> Kind:
    """What a turn is, as a try at a call."""
    by_name = {tool.name: tool for tool in tools}
    if turn.malformed:
        return "malformed_call"
    if turn.calls:
        problems = (find_problem(by_name, call.name, call.arguments) for call in turn.calls)
        return "unfit_call" if any(problems) else "valid_call"
    return "unmarked_call" if unmarked_calls(turn.content, by_name) else "text"
