"""A model's answer to one case, as a coroutine that yields requests for its tokens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from trustee_jax.chat import (
    AssistantTurn,
    ChatFormat,
    Conversation,
    ToolCall,
    lenient_calls,
)
from trustee_jax.chat.lenient import parameters
from trustee_jax.engine.types import Completion, Request, RequestError, Sampling
from trustee_jax.evaluation.cases import Case
from trustee_jax.streams import Purpose

Reading = Literal["strict", "lenient"]
READINGS: tuple[Reading, ...] = ("strict", "lenient")


@dataclass(frozen=True)
class AnswerOptions:
    """How the model answers.

    Attributes:
      max_tokens: Limit on one answer, thoughts included; less where the context ends before.
      max_length: Longest context, in tokens.
      sampling: How tokens are drawn.
      thinking: Let a model that can think do so.
      history: What becomes of earlier thoughts, see `chat.Conversation`.
      lenient: Whether a conversation goes on by what a benevolent reader takes for calls, see
        `chat.lenient_calls`.
    """

    max_tokens: int = 1024
    max_length: int = 8192
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0))
    thinking: bool = True
    history: Literal["append", "strip"] = "strip"
    lenient: bool = False

    @property
    def reading(self) -> Reading:
        """How the answers of a conversation are read."""
        return "lenient" if self.lenient else "strict"


class Refused(Exception):
    """The model cannot be asked: its context is full. The case is lost, as on the board."""


class Execute(Protocol):
    """Carries out calls; see `bfcl_worker.Benchmark.execute`."""

    def __call__(self, case: str, steps: Sequence[Any]) -> Sequence[str]:
        """Returns what the calls of the last step return, after those of the steps before."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model wrote, and what the checkers get of it.

    Attributes:
      texts: The model's words, thoughts included, of each step of each turn.
      results: By reading, in the form in which BFCL stores results of function-calling models: of
        a single-turn case calls as [{name: arguments as JSON}], or the text if there are none; of a
        conversation such a result for each step of each turn.
      tokens: How many were sampled.
    """

    texts: list[list[str]] = field(default_factory=list)
    results: dict[Reading, Any] = field(default_factory=dict)
    tokens: int = 0


@dataclass(frozen=True)
class Rules:
    """What the benchmark prescribes for conversations.

    Attributes:
      step_limit: Steps of a turn after which the conversation is broken off.
      added_tools_text: What the user says in a turn that only brings new tools.
    """

    step_limit: int
    added_tools_text: str


Play = Generator[Request, Completion, Answer]


def answer(case: Case, format: ChatFormat, options: AnswerOptions) -> Play:
    """Answers a single-turn case once, and reads the answer in both ways.

    Raises:
      Refused: The context is too long.
    """
    policy = _Policy(case, format, options)
    turn = yield from policy.speak(0, 0)
    return Answer(
        texts=[[policy.text]],
        results={reading: _result(turn, policy.read(turn, reading)) for reading in READINGS},
        tokens=policy.tokens,
    )


def converse(
    case: Case, format: ChatFormat, options: AnswerOptions, rules: Rules, execute: Execute
) -> Play:
    """Plays a conversation: the model calls until it no longer does, then the user speaks again.

    Follows `BaseHandler.inference_multi_turn_FC` of bfcl-eval.

    Raises:
      Refused: The context is too long.
    """
    policy = _Policy(case, format, options)
    steps: list[list[dict[str, str]]] = []
    texts: list[list[str]] = []
    results: list[list[Any]] = []
    for number, messages in enumerate(case.turns):
        if number:
            if number in case.tools:
                policy.offer(number)
            added = ({"role": "user", "content": rules.added_tools_text},)
            policy.conversation.add_messages(messages or added)
        texts.append([])
        results.append([])
        for step in itertools.count(1):
            turn = yield from policy.speak(number, step)
            calls = policy.read(turn, options.reading)
            texts[-1].append(policy.text)
            results[-1].append(_result(turn, calls))
            if not calls:
                break
            steps.append(_official(calls))
            policy.hear(calls, execute(case.id, steps))
            if step > rules.step_limit:
                return Answer(texts, {options.reading: results}, policy.tokens)
    return Answer(texts, {options.reading: results}, policy.tokens)


class _Policy:
    """The model in one case."""

    def __init__(self, case: Case, format: ChatFormat, options: AnswerOptions) -> None:
        self._case, self._format, self._options = case, format, options
        self._parameters = parameters(case.tools[0])
        self.conversation = Conversation(
            format,
            case.turns[0],
            case.tools[0],
            thinking=options.thinking and format.thinks,
            history=options.history,
        )
        self.text = ""
        self.tokens = 0

    def offer(self, turn: int) -> None:
        """Offers the tools that there are from that turn on."""
        self._parameters = parameters(self._case.tools[turn])
        self.conversation.replace_tools(self._case.tools[turn])

    def speak(self, turn: int, step: int) -> Generator[Request, Completion, AssistantTurn]:
        """Has the model write its next answer."""
        context = self.conversation.context
        room = self._options.max_length - len(context)
        if room < 1:
            raise Refused(
                f"the context of {len(context)} tokens leaves no room for an answer within "
                f"{self._options.max_length}"
            )
        try:
            completion = yield Request(
                tokens=context,
                max_new_tokens=min(self._options.max_tokens, room),
                key=(Purpose.EVALUATION, *self._case.key, turn, step),
                role="policy",
                sampling=self._options.sampling,
                stop_ids=self._format.stop_ids,
            )
        except RequestError as error:
            raise Refused(str(error)) from None
        self.text = self._format.decode(completion.tokens)
        self.tokens += len(completion.tokens)
        return self.conversation.add_sampled(completion.tokens, completion.logprobs)

    def read(self, turn: AssistantTurn, reading: Reading) -> tuple[ToolCall, ...]:
        """The calls of an answer.

        The strict reading has none where any is malformed: BFCL's handlers decode all of an answer
        or nothing.
        """
        if reading == "lenient":
            return lenient_calls(turn, self._parameters)
        return () if turn.malformed else turn.calls

    def hear(self, calls: Sequence[ToolCall], results: Sequence[str]) -> None:
        """Tells the model what its calls returned."""
        self.conversation.add_messages(
            [
                {"role": "tool", "tool_call_id": f"call_{i}", "name": call.name, "content": result}
                for i, (call, result) in enumerate(zip(calls, results, strict=True))
            ]
        )


def _result(turn: AssistantTurn, calls: Sequence[ToolCall]) -> Any:
    return _official(calls) if calls else turn.content


def _official(calls: Sequence[ToolCall]) -> list[dict[str, str]]:
    """Calls in the form in which BFCL holds them: the name with the JSON text of the arguments."""
    return [{call.name: json.dumps(call.arguments)} for call in calls]
