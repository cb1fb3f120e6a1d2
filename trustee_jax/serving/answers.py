"""What the answers of both kinds of request have in common."""

from __future__ import annotations

import abc
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from trustee_jax import streams
from trustee_jax.serving.generation import Token, Writing
from trustee_jax.serving.models import ServedModel
from trustee_jax.serving.requests import GenerationRequest
from trustee_jax.serving.token_texts import TokenTexts
from trustee_jax.serving.worker import EngineWorker


class Delta(Protocol):
    """What a choice has gained."""

    @property
    def choice(self) -> int:
        """Which choice."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens that came with it."""


class Plan(Protocol):
    """A request that can be served."""

    @property
    def request(self) -> GenerationRequest:
        """What the client sent."""

    @property
    def model(self) -> ServedModel:
        """Which model answers."""

    @property
    def writings(self) -> tuple[Writing, ...]:
        """What is written, for each choice."""


class Choice(Protocol):
    """A choice as far as it has come."""

    tokens: list[Token]


_D = TypeVar("_D", bound=Delta)


class Answer(abc.ABC, Generic[_D]):
    """Collects the choices of a request, and says them in OpenAI's form.

    Attributes:
      id: Of the answer.
      prompt_tokens: Of all prompts, each counted once.
    """

    def __init__(
        self, plan: Plan, texts: TokenTexts, choices: Sequence[Choice], prefix: str, chunk: str
    ) -> None:
        """Names the answer.

        Args:
          plan: What is answered.
          texts: Of the model's tokens.
          choices: What the answer's subclass collects in.
          prefix: Of its id.
          chunk: Kind of object that a chunk of it is.
        """
        self.id = f"{prefix}-{streams.chance_id()}"
        self.prompt_tokens = sum(len(one.prompt) for one in plan.writings[:: plan.request.n])
        self._texts = texts
        self._served, self._written = plan, choices
        self._chunk_kind = chunk
        self._created = int(time.time())

    @abc.abstractmethod
    def write(self, worker: EngineWorker, choice: int) -> AsyncGenerator[_D]:
        """Yields what one choice gains, up to its end; raises ApiError as `generation.write`."""

    @abc.abstractmethod
    def add(self, delta: _D) -> Any:
        """Takes a delta."""

    @abc.abstractmethod
    def response(self) -> dict[str, Any]:
        """The whole answer."""

    @abc.abstractmethod
    def opening(self, choice: int) -> list[dict[str, Any]]:
        """The chunks before what a choice gains."""

    @abc.abstractmethod
    def chunks(self, delta: _D) -> list[dict[str, Any]]:
        """Takes a delta; returns the chunks that tell of it."""

    def usage(self) -> dict[str, Any]:
        """Tokens of the prompts, and of all choices."""
        answer = sum(len(choice.tokens) for choice in self._written)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": answer,
            "total_tokens": self.prompt_tokens + answer,
        }

    def usage_chunk(self) -> dict[str, Any]:
        """The chunk after the last choice, for clients that ask for it."""
        return self._head(self._chunk_kind) | {"choices": [], "usage": self.usage()}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self._created,
            "model": self._served.model.name,
            "system_fingerprint": self._served.model.fingerprint,
        }

    def _chunk_of(self, choice: dict[str, Any]) -> dict[str, Any]:
        chunk = self._head(self._chunk_kind) | {"choices": [choice]}
        if self._served.request.include_usage:
            chunk["usage"] = None
        return chunk
