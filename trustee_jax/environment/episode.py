"""One episode as a coroutine: policy, user and tools take turns, then the judge grades.

Whose fault an ending is decides whether it counts. What the policy does wrong (a message cut by
its length, a context that is full, an empty message, a limit overrun) ends the dialogue, which is
graded as it stands. What the simulator or a judge does wrong makes the episode invalid, with a
cause; an invalid episode has no reward. What a real tool does wrong is its answer.
"""

import dataclasses
import json
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from trustee_jax.chat import (
    AssistantTurn,
    ChatFormat,
    Conversation,
    TokenSequence,
    ToolCall,
    attempts,
    unmarked_calls,
)
from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.environment.calls import CallRecord, find_problem
from trustee_jax.environment.environment import Environment
from trustee_jax.environment.help import Help, call_schema, outstanding_tools
from trustee_jax.environment.invocations import Invocation
from trustee_jax.environment.judges.evidence import Evidence
from trustee_jax.environment.judges.judge import JudgeError
from trustee_jax.environment.records import Counts, End, Episode
from trustee_jax.environment.task import Task
from trustee_jax.environment.tools.backend import Answer, CallContext
from trustee_jax.environment.user_faults import find_user_fault
from trustee_jax.environment.verdict import Verdict
from trustee_jax.environment.world import World
from trustee_jax.simulator.schemas import user_schema
from trustee_jax.simulator.simulator import (
    Key,
    SimulatorError,
    Usage,
    tool_fields,
)
from trustee_jax.streams import Purpose
from trustee_jax.text import compact_json, without_surrogates
from trustee_jax.toolsets import Tool


class _Broken(Exception):
    """The policy could not be asked; carries cause and detail."""


class Human(Protocol):
    """Somebody real in the place of the simulated user."""

    def hear(self, message: Mapping[str, Any]) -> None:
        """Is told every message of the assistant and of tools; in the thread of the driver."""

    def ask(self) -> str:
        """Returns the next message, "" to end the dialogue; is called in a thread, and may wait."""


def run_episode(
    environment: Environment,
    task: Task,
    key: Key,
    help: Help | None = None,
    human: Human | None = None,
) -> Generator[Request | Invocation, Any, Episode]:
    """Coroutine that plays and grades one episode.

    Args:
      environment: Its options, and who plays the other roles.
      task: The task.
      key: (step, task, episode); no two episodes of a run share it.
      help: What the policy has besides. The episode's sequences are then without it, so that their
        log-probabilities are not those of their context.
      human: Is asked in place of the simulated user.
    """
    return (yield from _Play(environment, task, key, help or Help(), human).run())


class _Play:
    """The state of a running episode."""

    def __init__(
        self, environment: Environment, task: Task, key: Key, help: Help, human: Human | None
    ):
        self.environment, self.config = environment, environment.config
        self.help, self.human = help, human
        self.simulator, self.format = environment.simulator, environment.policy_format
        self.task, self.key = task, key
        self.counts, self.usage = Counts(), Usage()
        self.tools = {tool.name: tool for tool in task.tools}
        self.tool_fields = tool_fields(task.tools)
        self.world = None if task.world is None else World(task.world)
        self.calls: dict[str, CallRecord] = {}
        system_prompt = self.simulator.prompts.policy(task.aspects.system_prompt)
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": task.query},
        ]
        self.context = CallContext(task, key, self.messages, self.world, self.counts, self.usage)
        self.conversation = Conversation(
            self.format,
            help.opening(self.messages),
            tools=help.tools(task.tools),
            thinking=self.config.policy.thinking and self.format.thinks,
            history=self.config.policy.history,
        )

    def run(self) -> Generator[Request | Invocation, Any, Episode]:
        ended: End | None = None
        verdict, reward, cause, detail = None, None, None, ""
        try:
            ended = yield from self._dialogue()
            if self.task.aspects.irrelevant or self._has_called():
                verdict = yield from self._verify(ended)
                reward = verdict.reward
            else:
                reward = -1.0
        except SimulatorError as error:
            cause, detail = error.failure.cause, error.failure.detail
        except JudgeError as error:
            cause, detail = "judge_error", str(error)
        except _Broken as error:
            cause, detail = error.args
        sequences = self._sequences()
        self.counts.policy_tokens = sum(int(np.sum(part.sampled)) for part in sequences)
        self.counts.context_tokens = len(self.conversation.context)
        self.counts.changes = len(self.world.changes) if self.world else 0
        self.counts.simulator_tokens = self.usage.tokens
        self.counts.simulator_requests = self.usage.requests
        self.counts.simulator_retries = self.usage.retries
        return Episode(
            task=self.task,
            key=self.key,
            messages=tuple(self.messages),
            calls=tuple(self.calls.values()),
            sequences=sequences,
            ended=ended,
            verdict=verdict,
            reward=reward,
            cause=cause,
            detail=detail,
            counts=self.counts,
            world=self.world.records if self.world else None,
            changes=tuple(self.world.changes) if self.world else (),
            segments=tuple(_segments(self.format, part) for part in sequences),
        )

    def _sequences(self) -> tuple[TokenSequence, ...]:
        """What is learnt from: the conversation as it is without help."""
        if not self.help.demonstrations:
            return self.conversation.sequences()
        opening = self.messages[:2]
        return self.conversation.sequences_after(opening, Help().tools(self.task.tools))

    def _has_called(self) -> bool:
        """Whether there is anything to judge; what code refuses is no use of a tool."""
        return bool(self.counts.valid_calls if self.config.check_calls else self.counts.calls)

    def _dialogue(self) -> Generator[Request | Invocation, Any, End]:
        counts, limits = self.counts, self.task.aspects
        while True:
            most = self.environment.max_length
            room = most - len(self.conversation.context)
            if room < 1:
                if not counts.assistant_turns:
                    raise _Broken("prompt_too_long", f"{-room} tokens above {most}")
                return "context"
            completion = yield from self._ask_policy(room)
            turn = self._add_turn(completion)
            if completion.finish == "length":
                return "length" if room >= self.config.policy.max_tokens else "context"
            made = len(turn.attempts)
            if not made and not turn.content.strip():
                return "empty"
            if counts.assistant_turns >= limits.assistant_turns:
                counts.unanswered_calls += made
                return "assistant_turns"
            if made:
                if counts.tool_turns >= limits.tool_turns:
                    counts.unanswered_calls += made
                    return "tool_turns"
                new = yield from self._answer_calls()
                counts.tool_turns += 1
            else:
                if counts.user_turns >= limits.user_turns:
                    return "user_turns"
                text = yield from self._ask_user()
                if not text:
                    return "user"
                new = [{"role": "user", "content": text}]
                self.messages += new
                counts.user_turns += 1
            self.conversation.add_messages(new)

    def _ask_policy(self, room: int) -> Generator[Request, Completion, Completion]:
        if self.help.hold_calls and (wanted := outstanding_tools(self.task, self.calls.values())):
            held = yield from self._ask_for_call(wanted, room)
            if held is not None:
                return held
        options = self.config.policy
        try:
            return (
                yield Request(
                    tokens=self.conversation.context,
                    max_new_tokens=min(options.max_tokens, room),
                    key=(Purpose.POLICY, *self.key, self.counts.assistant_turns, 0),
                    role="policy",
                    sampling=options.sampling,
                    stop_ids=self.format.stop_ids,
                )
            )
        except RequestError as error:
            raise _Broken("policy_refused", str(error)) from None

    def _ask_for_call(
        self, tools: Sequence[Tool], room: int
    ) -> Generator[Request, Completion, Completion | None]:
        """A turn that is one call; None where the engine cannot hold it to one of these tools."""
        before, after = self.format.call_syntax.frame
        opening, closing = map(self.format.encode, (before, after))
        # What it is written as in the end has more spaces.
        room = min(self.config.policy.max_tokens, room // 2) - len(opening) - len(closing) - 1
        if room < 1 or self.format.opens_thought(thinking=self.config.policy.thinking):
            return None
        try:
            completion = yield Request(
                tokens=np.concatenate([self.conversation.context, opening]),
                max_new_tokens=room,
                key=(Purpose.POLICY, *self.key, self.counts.assistant_turns, 1),
                role="policy",
                sampling=self.config.policy.sampling,
                stop_ids=self.format.stop_ids,
                schema=call_schema(tools, self.format.call_syntax),
            )
        except RequestError:
            return None
        if completion.finish == "length":
            return None
        # Written as templates write it, not as the grammar does, whose shortest form is a model's
        # least likely one. Whoever learns from it computes the log-probabilities anew.
        call = json.dumps(json.loads(self.format.decode(completion.tokens)), ensure_ascii=False)
        ids = self.format.encode(f"{before}{without_surrogates(call)}{after}")
        tokens = np.append(ids, np.int32(self.format.stop_ids[0]))
        return Completion(tokens, np.zeros(len(tokens), np.float32), "stop")

    def _add_turn(self, completion: Completion) -> AssistantTurn:
        turn = self.conversation.add_sampled(completion.tokens, completion.logprobs)
        first = self.counts.calls + self.counts.malformed_calls
        ids = [f"call_{first + place}" for place in range(len(turn.attempts))]
        message, made_by = turn.message(ids), len(self.messages)
        if unmarked := unmarked_calls(turn.content, self.tools):
            message["unmarked_calls"] = list(unmarked)
        self.messages.append(message)
        self._tell(message)
        self.counts.assistant_turns += 1
        self.counts.calls += len(turn.calls)
        self.counts.malformed_calls += len(turn.malformed)
        self.counts.unmarked_calls += len(unmarked)
        for id, call in zip(ids, turn.attempts, strict=True):
            if isinstance(call, ToolCall):
                problem = find_problem(self.tools, call.name, call.arguments)
                self.counts.valid_calls += problem is None
                self.calls[id] = CallRecord(made_by, id, call.name, call.arguments, problem)
        return turn

    def _answer_calls(self) -> Generator[Request | Invocation, Any, list[dict[str, Any]]]:
        """Answers the calls of the last turn in order, each with those before it in sight."""
        most = self.config.max_parallel_calls
        past_limit = f"not executed: at most {most} calls are answered in one turn"
        answers = []
        for index, made in enumerate(attempts(self.messages[-1])):
            id, record = made["id"], self.calls.get(made["id"])
            if index >= most:
                self.counts.unanswered_calls += 1
                answer: Answer = {"error": past_limit}
            elif record is None:
                answer = {"error": f"the call could not be read: {made['problem']}"}
            elif self.config.check_calls and record.problem is not None:
                answer = {"error": record.problem}
            else:
                answer = yield from self.environment.tools.answer(record, self.context)
            text = answer if isinstance(answer, str) else compact_json(answer)
            message = {
                "role": "tool",
                "tool_call_id": id,
                "name": record.name if record else "",
                "content": text[: self.config.tool_result_limit],
            }
            if record is not None:
                self.calls[id] = dataclasses.replace(record, answer=message["content"])
            self.messages.append(message)
            self._tell(message)
            answers.append(message)
        return answers

    def _tell(self, message: Mapping[str, Any]) -> None:
        if self.human is not None:
            self.human.hear(message)

    def _ask_user(self) -> Generator[Request | Invocation, Any, str]:
        if self.human is not None:
            said: str = yield Invocation(self.human.ask, math.inf)
            return said.strip()
        answer = yield from self.simulator.ask(
            "user",
            {
                "tools": self.tool_fields,
                "persona": self.task.persona if self.config.show_persona else None,
                "intent": self.task.intent if self.config.show_intent else None,
                "query": self.task.query,
            },
            user_schema(self.simulator.config.text_limit),
            (Purpose.USER, *self.key, self.counts.user_turns),
            messages=self.messages,
            check=self._object_to_user,
            usage=self.usage,
        )
        text: str = answer["message"].strip()
        return text

    def _object_to_user(self, answer: dict[str, Any]) -> str | None:
        """What is wrong with a message of the user, which is counted; None if nothing."""
        if not self.config.check_user:
            return None
        found = find_user_fault(
            answer["message"],
            self.messages,
            persona=self.task.persona if self.config.show_persona else "",
            wording=self.simulator.prompts.wording("user"),
        )
        if found is None:
            return None
        fault, objection = found
        count = f"user_{fault}"
        setattr(self.counts, count, getattr(self.counts, count) + 1)
        return objection

    def _verify(self, ended: End) -> Generator[Request, Completion, Verdict]:
        evidence = Evidence(
            task=self.task,
            messages=self.messages,
            calls=tuple(self.calls.values()),
            ended=ended,
            world=self.world.records if self.world else None,
            changes=self.world.changes if self.world else (),
        )
        key = (Purpose.VERIFIER, *self.key)
        return (yield from self.environment.judge.judge(evidence, key, self.usage))


def _segments(format: ChatFormat, sequence: TokenSequence) -> tuple[tuple[int, str | None], ...]:
    """Runs of context and of sampled tokens, the latter with their text."""
    bounds = np.flatnonzero(np.diff(sequence.sampled)) + 1
    runs = []
    for run in np.split(np.arange(len(sequence.tokens)), bounds):
        sampled = len(run) > 0 and bool(sequence.sampled[run[0]])
        runs.append((len(run), format.decode(sequence.tokens[run]) if sampled else None))
    return tuple(runs)
