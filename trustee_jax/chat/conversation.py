"""The tokens of one episode: what the policy saw, what it sampled, with which log-probs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trustee_jax.chat.format import ChatFormat
from trustee_jax.chat.messages import Message
from trustee_jax.chat.parsing import AssistantTurn

History = Literal["append", "strip"]


@dataclass(frozen=True, eq=False)
class TokenSequence:
    """One stretch of training tokens.

    Attributes:
      tokens: int32 [n].
      sampled: bool [n], true where the policy sampled the token and it is to be trained.
      logprobs: float32 [n], log-probs the tokens were sampled at; 0 where not `sampled`.
    """

    tokens: np.ndarray
    sampled: np.ndarray
    logprobs: np.ndarray

    @property
    def prompt_length(self) -> int:
        """Index of the first sampled token; the whole length if there is none."""
        return int(np.argmax(self.sampled)) if self.sampled.any() else len(self.tokens)


class Conversation:
    """An episode's context, grown by exactly the ids that were sampled.

    Sampled ids are never decoded and encoded again; messages are appended as the template's
    increments. Two ways to treat the thoughts of earlier turns, to be used alike in training and
    evaluation:

    * "append": they stay in the context; the episode is one TokenSequence.
    * "strip": they are cut out, as ids, where the model's template would leave them out (Qwen3:
      when a user speaks again). The context then is no longer what earlier turns were sampled from,
      so a new TokenSequence begins, in which only what is sampled from then on is marked.
    """

    def __init__(
        self,
        format: ChatFormat,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool = False,
        history: History = "append",
    ) -> None:
        """Renders the opening messages and opens the first assistant turn.

        Args:
          format: The model's chat format.
          messages: The opening, usually a system and a user message.
          tools: OpenAI tools that the assistant may call.
          thinking: Whether the model is to think before it answers.
          history: What becomes of earlier thoughts.

        Raises:
          ChatFormatError: The template refuses the messages.
          ValueError: Unknown `history`.
        """
        if history not in ("append", "strip"):
            raise ValueError(f'history = {history!r}: use "append" or "strip"')
        self._format = format
        self._thinking = thinking
        self._strip = history == "strip" and format.thinks
        self._header_length = len(format.generation_prompt(thinking=thinking))
        self._in_thought = format.opens_thought(thinking=thinking)
        # [start, end) of each assistant turn, generation prompt included.
        self._turns: list[tuple[int, int]] = []
        self._closed = False
        self._finished: list[TokenSequence] = []
        self._awaits_turn = True
        self._opening = tuple(messages)
        self._current = _unsampled(format.prompt(messages, tools, thinking=thinking))
        self._opening_length = len(self.context) - self._header_length

    @property
    def context(self) -> np.ndarray:
        """int32 [n]: all ids so far, ending with the generation prompt while a turn is awaited."""
        return self._current.tokens

    def add_sampled(
        self, tokens: Sequence[int] | np.ndarray, logprobs: Sequence[float] | np.ndarray
    ) -> AssistantTurn:
        """Appends a sampled turn.

        Args:
          tokens: Ids [m], with the stop id if it was sampled; without one the turn counts as cut
            off, and `add_messages` closes it.
          logprobs: Floats [m].

        Returns:
          The parsed turn.

        Raises:
          ValueError: The lengths differ, or no turn is awaited.
        """
        tokens, logprobs = np.asarray(tokens, np.int32), np.asarray(logprobs, np.float32)
        if tokens.ndim != 1 or tokens.shape != logprobs.shape:
            raise ValueError(
                f"tokens {tokens.shape} and logprobs {logprobs.shape} must be two equally long rows"
            )
        if not self._awaits_turn:
            raise ValueError("a turn was just added: call add_messages before the next one")
        self._awaits_turn = False
        self._closed = len(tokens) > 0 and int(tokens[-1]) in self._format.stop_ids
        start = len(self.context)
        self._turns.append((start - self._header_length, start + len(tokens)))
        self._current = _join(
            self._current, TokenSequence(tokens, np.ones(len(tokens), bool), logprobs)
        )
        return self._format.parse(tokens, in_thought=self._in_thought)

    def add_messages(self, messages: Sequence[Message]) -> None:
        """Appends tool or user messages after a sampled turn and opens the next assistant turn.

        Raises:
          ChatFormatError: The template refuses the messages.
          ValueError: No turn was sampled since the last messages.
        """
        if self._awaits_turn:
            raise ValueError(
                "the assistant's turn is still open: call add_sampled before add_messages"
            )
        increment = self._format.increment(messages, closed=self._closed, thinking=self._thinking)
        if self._strip:
            self._cut_thoughts(messages)
        self._current = _join(self._current, _unsampled(increment))
        self._awaits_turn = True

    def replace_tools(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Renders the opening again, with other tools; what came after it stays.

        A new TokenSequence begins, since the context is no longer what earlier turns were sampled
        from.

        Args:
          tools: OpenAI tools that the assistant may call from now on.

        Raises:
          ChatFormatError: The template refuses them.
        """
        opening = self._render_opening(self._opening, tools)
        moved = len(opening) - self._opening_length
        self._finished.append(self._current)
        rest = self.context[self._opening_length :]
        self._current = _unsampled(np.concatenate([opening, rest]))
        self._opening_length = len(opening)
        self._turns = [(start + moved, end + moved) for start, end in self._turns]

    def sequences(self) -> tuple[TokenSequence, ...]:
        """The training sequences so far: every sampled token once, nothing after the last one."""
        parts = (*self._finished, self._current)
        return tuple(_trim(part) for part in parts if part.sampled.any())

    def sequences_after(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> tuple[TokenSequence, ...]:
        """`sequences` as if the conversation had opened otherwise; `replace_tools` was not called.

        The log-probabilities stay those under which the tokens were sampled, after the opening that
        there was.

        Args:
          messages: The opening.
          tools: OpenAI tools.

        Raises:
          ChatFormatError: The template refuses them.
        """
        opening = _unsampled(self._render_opening(messages, tools))
        length = self._opening_length
        return tuple(
            _join(
                opening,
                TokenSequence(part.tokens[length:], part.sampled[length:], part.logprobs[length:]),
            )
            for part in self.sequences()
        )

    def _render_opening(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
    ) -> np.ndarray:
        """Ids of an opening, without the generation prompt behind it."""
        prompt = self._format.prompt(messages, tools, thinking=self._thinking)
        return prompt[: len(prompt) - self._header_length]

    def _cut_thoughts(self, messages: Sequence[Message]) -> None:
        keep = np.ones(len(self.context), bool)
        drops = {
            empty: self._format.drops_thoughts(messages, empty=empty) for empty in (False, True)
        }
        for first, last in self._turns:
            for start, end, empty in self._format.thought_spans(self.context[first:last]):
                keep[first + start : first + end] &= not drops[empty]
        if keep.all():
            return
        self._finished.append(self._current)
        self._current = _unsampled(self.context[keep])
        place = np.concatenate([[0], np.cumsum(keep)])
        self._turns = [(int(place[start]), int(place[end])) for start, end in self._turns]


def _unsampled(tokens: np.ndarray) -> TokenSequence:
    return TokenSequence(tokens, np.zeros(len(tokens), bool), np.zeros(len(tokens), np.float32))


def _join(first: TokenSequence, second: TokenSequence) -> TokenSequence:
    return TokenSequence(
        np.concatenate([first.tokens, second.tokens]),
        np.concatenate([first.sampled, second.sampled]),
        np.concatenate([first.logprobs, second.logprobs]),
    )


def _trim(part: TokenSequence) -> TokenSequence:
    end = int(np.flatnonzero(part.sampled)[-1]) + 1
    return TokenSequence(part.tokens[:end], part.sampled[:end], part.logprobs[:end])
