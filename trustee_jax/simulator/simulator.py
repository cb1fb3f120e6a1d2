"""The frozen model behind every simulated role: one request, held to a schema, with tries."""

import functools
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from trustee_jax.chat import ChatFormat
from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.errors import ConfigError
from trustee_jax.simulator.config import RoleConfig, SimulatorConfig
from trustee_jax.simulator.prompts import Prompts, SimulatorRole
from trustee_jax.simulator.schemas import Schema, matches
from trustee_jax.simulator.transcript import cut_lines, transcript
from trustee_jax.text import without_surrogates

Problem = Literal["too_long", "refused", "length", "malformed", "rejected"]
Key = tuple[int, ...]

# The roles whose answers are checked beyond their schemas: see `Simulator.ask_completion`.
_CHECKED: tuple[SimulatorRole, ...] = ("task", "user", "tool")

# Characters a line and number of lines that a conversation, a call, the records and their changes
# are cut to, in turn, until they fit: a policy that floods its simulators must not get away with an
# episode that does not count.
_CUTS = ((None, None), (2000, None), (500, None), (125, 40))


@dataclass(frozen=True)
class Failure:
    """Why a simulator gave no usable answer.

    Attributes:
      role: The role that failed.
      problem: "too_long", the prompt does not fit the context; "refused" by the engine; "length",
        the last try was cut; "malformed", the last try is no JSON of the schema; "rejected", it is,
        but a check of its role objects to it.
      detail: For a reader.
    """

    role: SimulatorRole
    problem: Problem
    detail: str

    @property
    def cause(self) -> str:
        """Role and problem in one word, as metrics name it."""
        return f"{self.role}_{self.problem}"


def causes_of(*roles: SimulatorRole) -> tuple[str, ...]:
    """Every `Failure.cause` that these roles can have, in their order."""
    return tuple(
        f"{role}_{problem}"
        for role in roles
        for problem in get_args(Problem)
        if problem != "rejected" or role in _CHECKED
    )


class SimulatorError(Exception):
    """Carries a `Failure` through the coroutines of an episode, never out of them."""

    def __init__(self, failure: Failure):
        super().__init__(failure.detail)
        self.failure = failure


@dataclass
class Usage:
    """What the simulator served: requests, those among them that were retries, and tokens."""

    requests: int = 0
    retries: int = 0
    tokens: int = 0


class Simulator:
    """The frozen model, its chat format and the prompts of its roles.

    Attributes:
      format: The chat format of the simulating model.
      config: The options.
      prompts: The templates, checked.
      max_length: Longest prompt and answer, in tokens, that its engine takes.
    """

    def __init__(
        self,
        format: ChatFormat,
        config: SimulatorConfig,
        max_length: int,
        roles: Sequence[SimulatorRole] = get_args(SimulatorRole),
    ):
        """Loads the prompts.

        Args:
          format: The chat format of the simulating model.
          config: The options.
          max_length: Longest prompt and answer, in tokens, that its engine takes.
          roles: Those that it will be asked to play.

        Raises:
          ConfigError: A template is unusable, or a role's answer leaves no room for a prompt.
        """
        self.format = format
        self.config = config
        self.prompts = Prompts(config.prompts)
        self.max_length = max_length
        for role in roles:
            if (tokens := self._answer_tokens(self._options(role))) >= max_length:
                raise ConfigError(
                    f"{role}.max_tokens",
                    self._options(role).max_tokens,
                    f"with thoughts it makes {tokens} tokens, prompt and answer have {max_length} "
                    "together; lower it or think_budget, or raise engine.max_length",
                )

    def ask(
        self,
        role: SimulatorRole,
        fields: Mapping[str, Any],
        schema: Schema,
        key: Key,
        **more: Any,
    ) -> Generator[Request, Completion, dict[str, Any]]:
        """Asks like `ask_completion`, which takes the same arguments, and returns the answer."""
        answer, _ = yield from self.ask_completion(role, fields, schema, key, **more)
        return answer

    def ask_completion(
        self,
        role: SimulatorRole,
        fields: Mapping[str, Any],
        schema: Schema,
        key: Key,
        *,
        messages: Sequence[Mapping[str, Any]] = (),
        check: Callable[[dict[str, Any]], str | None] = lambda answer: None,
        usage: Usage | None = None,
        options: RoleConfig | None = None,
        report_logits_of: tuple[int, ...] = (),
    ) -> Generator[Request, Completion, tuple[dict[str, Any], Completion]]:
        """Asks for one answer, again under another key where one is unusable.

        Args:
          role: The role to play.
          fields: What the role's template receives, apart from `history`.
          schema: What the answer is held to.
          key: What the sample depends on besides the try, a `streams.Purpose` first; different for
            every question of a run.
          messages: The conversation, rendered as the template's `history`; cut only if the whole
            does not fit the simulator's context, as are the fields `call`, `world` and `changes`.
          check: Returns what is wrong with an answer that fits the schema, or None.
          usage: Is added to.
          options: In place of the role's own.
          report_logits_of: Tokens whose logits the completion shall hold.

        Returns:
          The answer, and the tokens that it was made of.

        Raises:
          SimulatorError: No try gave a usable answer.
        """
        usage = usage if usage is not None else Usage()
        options = options or self._options(role)
        thinking = self._thinks(options)
        tokens = self._prompt(role, fields, messages, options)
        greedy = options.sampling.temperature == 0
        for attempt in range(1 if greedy else options.tries):
            try:
                completion = yield Request(
                    tokens=tokens,
                    max_new_tokens=self._answer_tokens(options),
                    key=(*key, attempt),
                    role="simulator",
                    sampling=options.sampling,
                    stop_ids=self.format.stop_ids,
                    schema=schema,
                    think_end_id=self.format.think_end_id if thinking else None,
                    think_budget=options.think_budget if thinking else 0,
                    report_logits_of=report_logits_of,
                )
            except RequestError as error:
                # A refusal depends on the request's shape, not on its key: another try is in vain.
                raise SimulatorError(Failure(role, "refused", str(error))) from None
            usage.requests += 1
            usage.retries += attempt > 0
            usage.tokens += len(completion.tokens)
            if completion.finish == "length":
                failure = Failure(role, "length", "the answer was cut")
                continue
            answer, problem = self._read(completion.tokens, schema, thinking)
            if answer is None:
                failure = Failure(role, "malformed", problem)
            elif (objection := check(answer)) is None:
                return answer, completion
            else:
                failure = Failure(role, "rejected", objection)
        raise SimulatorError(failure)

    @functools.cached_property
    def boolean_starts(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens that begin `true`, and tokens that begin `false`, in JSON."""
        return self._single_tokens("true"), self._single_tokens("false")

    def boolean_place(self, tokens: np.ndarray) -> int | None:
        """Index of the token with which the boolean at the end of an answer begins.

        Args:
          tokens: int32[n], an answer whose last field is a boolean.

        Returns:
          The index; None if the token begins before the boolean does.
        """
        ids = [int(token) for token in tokens]
        text = self.format.decode(ids)
        end = re.search(r"(true|false)\}\s*$", text)
        if end is None:
            return None
        # Backwards: the answer before it may be long.
        for place in range(len(ids) - 1, -1, -1):
            begin = len(self.format.decode(ids[:place]))
            if begin <= end.start():
                return place if begin == end.start() else None
        return None

    def _single_tokens(self, word: str) -> tuple[int, ...]:
        parts = (self.format.encode(word[: length + 1]) for length in range(len(word)))
        return tuple(dict.fromkeys(int(ids[0]) for ids in parts if len(ids) == 1))

    def _options(self, role: SimulatorRole) -> RoleConfig:
        options: RoleConfig = getattr(self.config, role)
        return options

    def _thinks(self, options: RoleConfig) -> bool:
        return self.format.thinks and options.think_budget > 0

    def _answer_tokens(self, options: RoleConfig) -> int:
        # One more for the end of the thought.
        return options.max_tokens + (options.think_budget + 1 if self._thinks(options) else 0)

    def _prompt(
        self,
        role: SimulatorRole,
        fields: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        options: RoleConfig,
    ) -> np.ndarray:
        room = self.max_length - self._answer_tokens(options)
        for width, lines in _CUTS:
            shown = transcript(messages, width, lines, numbered=role == "verifier")
            cut: dict[str, Any] = {"history": shown} if messages else {}
            for name in ("world", "changes"):
                if fields.get(name):
                    cut[name] = cut_lines(fields[name], width, lines)
            if "call" in fields:
                (cut["call"],) = cut_lines([fields["call"]], width)
            prompt = self.prompts.messages(role, {**fields, **cut})
            tokens = self.format.prompt(prompt, thinking=self._thinks(options))
            if len(tokens) <= room:
                return tokens
        detail = f"the prompt has {len(tokens)} tokens, {room} fit"
        raise SimulatorError(Failure(role, "too_long", detail))

    def _read(
        self, tokens: np.ndarray, schema: Schema, thinking: bool
    ) -> tuple[dict[str, Any] | None, str]:
        """Decodes an answer; returns it, or None and what is wrong with it."""
        ids = [int(token) for token in tokens]
        if thinking:
            if self.format.think_end_id not in ids:
                return None, "the thought has no end"
            ids = ids[ids.index(self.format.think_end_id) + 1 :]
        while ids and ids[-1] in self.format.stop_ids:
            ids.pop()
        text = self.format.decode(ids)
        try:
            # JSON can spell lone surrogates, which nothing can write out again.
            answer = json.loads(text, parse_constant=_reject_constant)
            answer = json.loads(without_surrogates(json.dumps(answer, ensure_ascii=False)))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or not matches(answer, schema):
            return None, f"not an answer of the schema: {text[:200]!r}"
        return answer, ""


def tool_fields(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """What the templates receive of each tool."""
    return [
        {"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools
    ]


def _reject_constant(name: str) -> float:
    # No limit of a schema holds for NaN.
    raise ValueError(f"{name} is no JSON value")
