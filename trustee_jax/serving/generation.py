"""One answer: requests to the engine in, pieces of text with their tokens out.

Free answers are one request. An answer that must call, or whose calls are to fit strict tools, is
several: free ones, and for each call one that is held to a grammar, which begins where the model
opens a call or where it must.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trustee_jax.chat import CallSyntax
from trustee_jax.chat.parsing import CALL_START, PYTHON_TAG, THINK_END, THINK_START
from trustee_jax.engine import Request, Sampling
from trustee_jax.engine.types import NewTokens
from trustee_jax.serving.errors import NO_ROOM, ApiError
from trustee_jax.serving.models import ServedModel
from trustee_jax.serving.reading import StopFinder, TextStream, partial_end
from trustee_jax.serving.worker import EngineWorker, Generation
from trustee_jax.simulator.schemas import Schema
from trustee_jax.streams import Purpose

# What a call begins with; without a tag of its own only where a turn does.
_OPENINGS = {
    CallSyntax.HERMES: (CALL_START,),
    CallSyntax.LLAMA: (PYTHON_TAG, "{"),
    CallSyntax.JSON: ("{", "[", "```"),
}
_SEPARATORS = " \t\r\n,;"


@dataclass(frozen=True)
class Token:
    """A token of an answer.

    Attributes:
      id: Its id.
      logprob: Its log-probability; 0 if nothing else could come.
      top: The likeliest tokens at its place and their log-probabilities; empty where none were
        asked for, or nothing else could come.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Attributes:
      text: More of its text.
      tokens: More of its tokens; a token's text may come with a later piece.
      finish: How it ended; None while more comes.
    """

    text: str = ""
    tokens: tuple[Token, ...] = ()
    finish: Literal["stop", "length"] | None = None


@dataclass(frozen=True)
class HeldCalls:
    """How the calls of an answer are held to grammars.

    Attributes:
      schema: Of the JSON object of a call.
      first: Whether the answer must begin with a call.
      several: Whether more may follow the first one.
    """

    schema: Schema
    first: bool
    several: bool


@dataclass(frozen=True, eq=False)
class Writing:
    """What is to be written.

    Attributes:
      prompt: int32[n].
      max_tokens: Most tokens of the answer.
      sampling: How they are drawn.
      key: What the draws follow from; two numbers from 0 below 2**32.
      stops: Texts that end the answer and are no part of it.
      top_logprobs: How many of the likeliest tokens are reported at each place.
      schema: What the answer is held to, after the thoughts.
      calls: How its calls are held to grammars; None: not at all.
      in_thought: Whether the prompt has opened a thought.
    """

    prompt: np.ndarray
    max_tokens: int
    sampling: Sampling
    key: tuple[int, int]
    stops: tuple[str, ...] = ()
    top_logprobs: int = 0
    schema: Schema | None = None
    calls: HeldCalls | None = None
    in_thought: bool = False


async def write(
    worker: EngineWorker, model: ServedModel, writing: Writing
) -> AsyncGenerator[Piece]:
    """Yields an answer piece by piece; the last one says how it ended.

    Whoever stops iterating closes the generator, which drops what the engine has of it.

    Raises:
      ApiError: The queue is full, the engine refuses the request, or fails.
    """
    writer = _Writer(worker, model, writing)
    try:
        pieces = writer.held() if writing.calls else writer.free(writing.schema)
        stops = StopFinder(writing.stops)
        async for piece in pieces:
            text = stops.add(piece.text)
            if stops.found:
                yield Piece(text, piece.tokens, "stop")
                return
            if piece.finish:
                text += stops.end()
            yield dataclasses.replace(piece, text=text)
    finally:
        writer.close()


class _Writer:
    """An answer under way."""

    def __init__(self, worker: EngineWorker, model: ServedModel, writing: Writing) -> None:
        self._worker, self._model, self._writing = worker, model, writing
        self._context: list[int] = writing.prompt.tolist()
        self._room = writing.max_tokens
        self._requests = 0
        self._generation: Generation | None = None

    def close(self) -> None:
        if self._generation is not None:
            self._generation.cancel()

    async def free(self, schema: Schema | None = None) -> AsyncGenerator[Piece]:
        """The answer in one request."""
        stream = TextStream(self._model.format)
        async for new in await self._ask(schema):
            text = stream.add(new.tokens)
            if new.finish:
                text += stream.end()
            yield Piece(text, _tokens(new), new.finish)

    async def held(self) -> AsyncGenerator[Piece]:
        """The answer in several requests, those of calls held to their grammar."""
        calls, syntax = self._writing.calls, self._model.format.call_syntax
        assert calls is not None
        opened = calls.first and not self._writing.in_thought
        while True:
            if not opened:
                async for piece, at_call in self._until_call():
                    yield piece
                    opened = at_call
                if not opened:
                    return
            before, after = syntax.frame
            opening = self._add(before)
            try:
                generation = await self._ask(calls.schema)
            except ApiError as error:
                if error.code != NO_ROOM or self._requests == 1:
                    raise  # where nothing was told yet, it is the whole answer
                yield Piece(finish="length")
                return
            yield opening
            stream = TextStream(self._model.format)
            async for new in generation:
                text = stream.add(new.tokens) + (stream.end() if new.finish else "")
                self._take(new.tokens)
                yield Piece(text, _tokens(new), "length" if new.finish == "length" else None)
                if new.finish == "length":
                    return
            yield self._add(after)
            opened = False
            if not calls.several or self._room < 1:
                yield Piece(finish="length" if calls.several else "stop")
                return

    async def _until_call(self) -> AsyncGenerator[tuple[Piece, bool]]:
        """Writes freely up to where a call opens; yields pieces, and whether one has opened there.

        A token is given out once its text can no longer be the beginning of a call.
        """
        calls, syntax = self._writing.calls, self._model.format.call_syntax
        assert calls is not None
        in_thought = self._writing.in_thought and not self._requests
        must = calls.first and in_thought
        stream, text = TextStream(self._model.format), ""
        told = taken = 0  # characters
        kept: collections.deque[tuple[Token, int]] = collections.deque()  # and their texts' ends
        async for new in await self._ask(None):
            for token in _tokens(new):
                text += stream.add([token.id])
                kept.append((token, len(text)))
            if new.finish:
                text += stream.end()
            place = _opening(text, syntax, in_thought=in_thought, must=must)
            end = len(text) if new.finish else partial_end(text, _OPENINGS[syntax])
            end = end if place is None else place
            sure = []
            while kept and (kept[0][1] <= end or (new.finish and place is None)):
                token, taken = kept.popleft()
                sure.append(token)
            self._take([token.id for token in sure])
            if place is not None:
                self.close()
                # A token may hold the end of the words and the beginning of the call.
                sure += self._add(text[taken:place]).tokens
            finish = new.finish if place is None else None
            yield Piece(text[told:end], tuple(sure), finish), place is not None
            told = max(told, end)
            if place is not None:
                return

    async def _ask(self, schema: Schema | None) -> Generation:
        writing, format = self._writing, self._model.format
        thinks = schema is not None and writing.in_thought and not self._requests
        request = Request(
            tokens=np.array(self._context, np.int32),
            max_new_tokens=max(1, self._room),
            key=(Purpose.SERVING, *writing.key, self._requests),
            role=self._model.role,
            sampling=writing.sampling,
            stop_ids=format.stop_ids,
            schema=schema,
            think_end_id=format.think_end_id if thinks else None,
            think_budget=max(1, self._room // 2) if thinks else 0,
            top_logprobs=writing.top_logprobs,
        )
        goes_on = self._requests > 0
        self._requests += 1
        self._generation = await self._worker.generate(self._model.engine, request, goes_on=goes_on)
        return self._generation

    def _take(self, ids: Sequence[int]) -> None:
        """Moves tokens from the answer that is under way into the context of the next request."""
        self._context += ids
        self._room -= len(ids)

    def _add(self, text: str) -> Piece:
        """Text that nobody draws."""
        ids = self._model.format.encode(text).tolist() if text else []
        self._take(ids)
        return Piece(text, tuple(Token(id, 0.0) for id in ids))


def _opening(text: str, syntax: CallSyntax, *, in_thought: bool, must: bool) -> int | None:
    """Where a call opens, or must be opened, in what a turn has gained; None where none does."""
    start = 0
    if in_thought or text.lstrip().startswith(THINK_START):
        head, tag, _ = text.partition(THINK_END)
        if not tag:
            return None
        start = len(head) + len(tag)
    if must:
        return start
    openings = _OPENINGS[syntax]
    if syntax is CallSyntax.HERMES:
        place = text.find(CALL_START, start)
        return place if place >= 0 else None
    said = text[start:].lstrip(_SEPARATORS)
    return len(text) - len(said) if said.startswith(openings) else None


def _tokens(new: NewTokens) -> tuple[Token, ...]:
    found: list[Token] = []
    for place, (id, logprob) in enumerate(zip(new.tokens, new.logprobs, strict=True)):
        top: tuple[tuple[int, float], ...] = ()
        if len(new.top_tokens):
            pairs: Any = zip(new.top_tokens[place], new.top_logprobs[place], strict=True)
            top = tuple((int(other), float(value)) for other, value in pairs if other >= 0)
        found.append(Token(int(id), float(logprob), top))
    return tuple(found)
