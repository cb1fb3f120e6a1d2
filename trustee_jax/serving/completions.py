"""POST /v1/completions: text goes on, without a chat template."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from trustee_jax.serving.answers import Answer
from trustee_jax.serving.chat import answer_room, keys_of, sampling_of
from trustee_jax.serving.errors import bad_request
from trustee_jax.serving.generation import Piece, Token, Writing, write
from trustee_jax.serving.models import ServedModel
from trustee_jax.serving.requests import CompletionRequest
from trustee_jax.serving.token_texts import TokenTexts
from trustee_jax.serving.worker import EngineWorker
from trustee_jax.text import without_surrogates

_DEFAULT_TOKENS = 16  # as OpenAI has it
_KIND = "text_completion"  # of an answer, and of its chunks


@dataclass(frozen=True, eq=False)
class CompletionPlan:
    """A request that can be served.

    Attributes:
      request: What the client sent.
      model: Which model answers.
      writings: What is written, for each choice.
      shown: The text of the prompt of each choice, where it is to be repeated.
    """

    request: CompletionRequest
    model: ServedModel
    writings: tuple[Writing, ...]
    shown: tuple[str, ...]


def plan_completion(request: CompletionRequest, model: ServedModel) -> CompletionPlan:
    """Turns a request into what is to be written.

    Raises:
      ApiError: A prompt has ids of another vocabulary, or its limits cannot be served.
    """
    format, prompts = model.format, []
    for prompt in request.prompts:
        if isinstance(prompt, str):
            prompts.append(format.encode(without_surrogates(prompt)))
        else:
            size = len(format.tokenizer)
            if not all(0 <= id < size for id in prompt):
                raise bad_request(f"prompt: ids must be from 0 below {size}", "prompt")
            prompts.append(np.array(prompt, np.int32))
    wanted = request.max_tokens or _DEFAULT_TOKENS
    keys = keys_of(request, len(prompts) * request.n)
    each = [prompt for prompt in prompts for _ in range(request.n)]
    writings = tuple(
        Writing(
            prompt=prompt,
            max_tokens=answer_room(prompt, wanted, model),
            sampling=sampling_of(request, model),
            key=key,
            stops=request.stops,
            top_logprobs=request.logprobs or 0,
        )
        for prompt, key in zip(each, keys, strict=True)
    )
    shown = tuple(format.decode(prompt) if request.echo else "" for prompt in each)
    return CompletionPlan(request, model, writings, shown)


@dataclass(frozen=True)
class CompletionDelta:
    """What a choice has gained.

    Attributes:
      choice: Which.
      piece: Text, tokens and ending.
    """

    choice: int
    piece: Piece

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The piece's."""
        return self.piece.tokens


async def continue_choice(
    worker: EngineWorker, plan: CompletionPlan, choice: int
) -> AsyncGenerator[CompletionDelta]:
    """Yields what one choice gains, up to its end.

    Raises:
      ApiError: See `write`.
    """
    pieces = write(worker, plan.model, plan.writings[choice])
    try:
        async for piece in pieces:
            yield CompletionDelta(choice, piece)
    finally:
        await pieces.aclose()


@dataclass
class _Choice:
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None


class CompletionAnswer(Answer[CompletionDelta]):
    """The choices of a completion request; see `Answer`.

    Attributes:
      choices: As far as they have come.
    """

    def __init__(self, plan: CompletionPlan, texts: TokenTexts) -> None:
        """Names the answer.

        Args:
          plan: What is answered.
          texts: Of the model's tokens.
        """
        self._plan = plan
        self.choices = [_Choice() for _ in plan.writings]
        super().__init__(plan, texts, self.choices, "cmpl", _KIND)

    def write(self, worker: EngineWorker, choice: int) -> AsyncGenerator[CompletionDelta]:
        """See `Answer.write`."""
        return continue_choice(worker, self._plan, choice)

    def add(self, delta: CompletionDelta) -> None:
        """Takes a delta."""
        choice, piece = self.choices[delta.choice], delta.piece
        choice.text += piece.text
        choice.tokens += piece.tokens
        choice.finish = piece.finish

    def response(self) -> dict[str, Any]:
        """The whole answer."""
        choices = []
        for index, one in enumerate(self.choices):
            prompt = self._plan.shown[index]
            shown = self._shown(index, prompt + one.text, one.tokens, one.finish, len(prompt))
            choices.append(shown)
        return self._head(_KIND) | {"choices": choices, "usage": self.usage()}

    def opening(self, choice: int) -> list[dict[str, Any]]:
        """The chunks before the answer of a choice: the prompt, where it is to be repeated."""
        shown = self._plan.shown[choice]
        return [self._chunk(choice, shown, (), None, 0)] if shown else []

    def chunks(self, delta: CompletionDelta) -> list[dict[str, Any]]:
        """Takes a delta; returns the chunks that tell of it."""
        piece, request = delta.piece, self._plan.request
        start = len(self._plan.shown[delta.choice]) + len(self.choices[delta.choice].text)
        self.add(delta)
        wanted = piece.tokens and (request.logprobs is not None or request.return_token_ids)
        if not (piece.text or piece.finish or wanted):
            return []
        return [self._chunk(delta.choice, piece.text, piece.tokens, piece.finish, start)]

    def _chunk(
        self, choice: int, text: str, tokens: Sequence[Token], finish: str | None, start: int
    ) -> dict[str, Any]:
        return self._chunk_of(self._shown(choice, text, tokens, finish, start))

    def _shown(
        self, index: int, text: str, tokens: Sequence[Token], finish: str | None, start: int
    ) -> dict[str, Any]:
        """A choice whose tokens begin at a character of prompt and answer."""
        request = self._plan.request
        shown: dict[str, Any] = {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(tokens, start),
            "finish_reason": finish,
        }
        if request.return_token_ids:
            shown["token_ids"] = [token.id for token in tokens]
            shown["prompt_token_ids"] = self._plan.writings[index].prompt.tolist()
        return shown

    def _logprobs(self, tokens: Sequence[Token], start: int) -> dict[str, Any] | None:
        if self._plan.request.logprobs is None:
            return None
        entries = [self._texts.entry(token.id, token.logprob) for token in tokens]
        lengths = [len(entry["token"]) for entry in entries]
        return {
            "tokens": [entry["token"] for entry in entries],
            "token_logprobs": [entry["logprob"] for entry in entries],
            "top_logprobs": [
                {self._texts.entry(id, value)["token"]: value for id, value in token.top}
                for token in tokens
            ],
            "text_offset": list(itertools.accumulate(lengths, initial=start))[:-1],
        }
