"""A request on its way through the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from trustee_jax.engine.constraints import Constraint
from trustee_jax.engine.pages import Page
from trustee_jax.engine.types import Completion, NewTokens, Request

OnTokens = Callable[[NewTokens], None]

# Fewer forced tokens cost less when they are decoded like others.
_SHORTEST_RUN = 4


@dataclasses.dataclass(eq=False)
class Job:
    """A request, its answer so far and where it is.

    Attributes:
      ticket: Its number.
      request: What was asked for.
      make_constraint: Makes what the answer is held to; None: nothing.
      on_tokens: Is told what the answer gains as it comes, or None.
      context: Prompt and answer so far.
      logprobs: Of the answer's tokens.
      reported_logits: At the answer's tokens.
      top_tokens: At the answer's tokens, the likeliest.
      top_logprobs: Theirs.
      thinking: Whether it writes freely before an answer that is held to a schema.
      told: Tokens that `on_tokens` has been told.
      slot: Its row while it has one.
      pages: Of its context.
      filled: Tokens of its context whose keys and values are in the cache.
      shared_tokens: int32[n], the beginning of its context that others may share.
      steps_ahead: Decoding steps dispatched whose tokens are not known yet.
      num_forced: Tokens of the answer that were not drawn.
      finish: How the answer ended; None while it has not.
    """

    ticket: int
    request: Request
    make_constraint: Callable[[], Constraint] | None = None
    on_tokens: OnTokens | None = None
    context: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    reported_logits: list[np.ndarray] = dataclasses.field(default_factory=list)
    top_tokens: list[np.ndarray] = dataclasses.field(default_factory=list)
    top_logprobs: list[np.ndarray] = dataclasses.field(default_factory=list)
    thinking: bool = False
    told: int = 0
    slot: int = -1
    pages: list[Page] = dataclasses.field(default_factory=list)
    filled: int = 0
    shared_tokens: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    steps_ahead: int = 0
    num_forced: int = 0
    finish: Literal["stop", "length"] | None = None

    def __post_init__(self) -> None:
        """Begins the answer with what is sure of it."""
        self.context = np.asarray(self.request.tokens, np.int32).tolist()
        self.constraint = self.make_constraint() if self.make_constraint is not None else None
        self.thinking = self.constraint is not None and self.request.think_end_id is not None
        if self.thinking and not self.request.think_budget:
            self._end_thinking()
        elif self.constraint is not None and not self.thinking:
            self._begin_answer()
        self.shared_tokens = np.array(self.context[:-1], np.int32)

    @property
    def prompt_length(self) -> int:
        """Tokens of the request."""
        return len(self.request.tokens)

    @property
    def num_generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.context) - self.prompt_length

    @property
    def missing(self) -> int:
        """Tokens that must be computed before the next one can be drawn."""
        return len(self.context) - 1 - self.filled

    @property
    def held(self) -> bool:
        """Whether what it draws next is held to a schema."""
        return self.constraint is not None and not self.thinking

    @property
    def limit(self) -> int:
        """Tokens of the answer, its thought included, after which decoding must pause or end."""
        return self.request.think_budget if self.thinking else self.request.max_new_tokens

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens at which decoding must pause or end."""
        if self.thinking:
            assert self.request.think_end_id is not None
            return (self.request.think_end_id,)
        return () if self.held else self.request.stop_ids

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest context that it may need cached: the last one is never fed."""
        return self.prompt_length + self.request.max_new_tokens - 1

    def tokens_ahead(self, steps: int) -> int:
        """Tokens that may be in the cache after so many more decoding steps."""
        return min(len(self.context) + self.steps_ahead + steps - 1, self.most_tokens)

    def take_tops(self, tokens: np.ndarray, logprobs: np.ndarray) -> None:
        """Notes the likeliest tokens where those were drawn that `take` then adds."""
        count = self.request.top_logprobs
        self.top_tokens += list(tokens[:, :count])
        self.top_logprobs += list(logprobs[:, :count])

    def take(self, tokens: list[int], logprobs: list[float], logits: np.ndarray) -> None:
        """Adds tokens that were drawn, one or more, and what follows from them without drawing."""
        self.context += tokens
        self.logprobs += logprobs
        self.filled = len(self.context) - 1
        if self.request.report_logits_of:
            self.reported_logits += list(logits[:, : len(self.request.report_logits_of)])
        stopped = tokens[-1] in self.stop_ids
        ended = stopped or self.num_generated >= self.limit
        if self.thinking:
            if ended:
                self._end_thinking()
            return
        if self.constraint is not None:
            stopped = self.constraint.accept(tokens)
            if not stopped:
                self._follow_forced(_SHORTEST_RUN)
        if stopped:
            self.finish = "stop"
        elif ended and self.finish is None:
            self.finish = "length"

    def _end_thinking(self) -> None:
        assert self.request.think_end_id is not None
        self.thinking = False
        if not self.num_generated or self.context[-1] != self.request.think_end_id:
            self._add_forced([self.request.think_end_id])
        self._begin_answer()

    def _begin_answer(self) -> None:
        assert self.constraint is not None
        self.constraint.begin(self.request.max_new_tokens - self.num_generated)
        self._follow_forced(1)

    def _follow_forced(self, least: int) -> None:
        """Adds the tokens that must come next, if there are so many or they end the answer."""
        assert self.constraint is not None
        run, complete = self.constraint.forced()
        if run and (complete or len(run) >= least):
            self.constraint.accept(run)
            self._add_forced(run)
            self.finish = "stop" if complete else None

    def _add_forced(self, tokens: list[int]) -> None:
        self.context += tokens
        self.num_forced += len(tokens)
        # Nothing else could come.
        self.logprobs += [0.0] * len(tokens)
        width = len(self.request.report_logits_of)
        if width:
            self.reported_logits += [np.full(width, np.nan, np.float32)] * len(tokens)
        if tops := self.request.top_logprobs:
            self.top_tokens += [np.full(tops, -1, np.int32)] * len(tokens)
            self.top_logprobs += [np.full(tops, np.nan, np.float32)] * len(tokens)

    def tell(self) -> None:
        """Tells `on_tokens` what is new; of an answer that is complete it is called once."""
        new = slice(self.told, self.num_generated)
        if self.on_tokens is not None and (new.stop > new.start or self.finish):
            self.told = new.stop
            self.on_tokens(
                NewTokens(
                    self.context[self.prompt_length + new.start :],
                    self.logprobs[new],
                    self.top_tokens[new],
                    self.top_logprobs[new],
                    self.finish,
                )
            )

    def completion(self) -> Completion:
        """The answer."""
        count = self.num_generated
        return Completion(
            tokens=np.array(self.context[self.prompt_length :], np.int32),
            logprobs=np.array(self.logprobs, np.float32),
            finish=self.finish or "length",
            reported_logits=np.array(self.reported_logits, np.float32).reshape(
                count, len(self.request.report_logits_of)
            ),
            top_tokens=np.array(self.top_tokens, np.int32).reshape(
                count, self.request.top_logprobs
            ),
            top_logprobs=np.array(self.top_logprobs, np.float32).reshape(
                count, self.request.top_logprobs
            ),
        )

    def again(self) -> Job:
        """The same request from its beginning."""
        job = Job(self.ticket, self.request, self.make_constraint, self.on_tokens)
        job.told = self.told
        return job
