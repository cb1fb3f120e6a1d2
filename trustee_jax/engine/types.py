"""What goes into the engine and what comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from trustee_jax.errors import ConfigError, InputError

Role = Literal["policy", "simulator"]

# Logits that are divided by less may overflow.
_MIN_TEMPERATURE = 0.01


class RequestError(InputError):
    """A request that the engine cannot serve; the message names the field and the remedy."""


class NoRoomError(RequestError):
    """`max_new_tokens` may not hold the shortest answer of the schema."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
      temperature: Divides the logits; 0 takes the most likely token. Otherwise at least 0.01, which
        is as good as 0 already.
      top_p: Nucleus sampling (arXiv 1904.09751): the smallest set of tokens with this probability;
        1 is off.
      top_k: Keep the k most likely tokens; 0 is off. Applied before `top_p`.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.temperature != 0 and not self.temperature >= _MIN_TEMPERATURE:
            fix = f"it must be 0 (greedy), or at least {_MIN_TEMPERATURE}"
            raise ConfigError("temperature", self.temperature, fix)
        if not 0 < self.top_p <= 1:
            raise ConfigError("top_p", self.top_p, "it must lie in (0, 1]; 1 is off")
        if self.top_k < 0:
            raise ConfigError("top_k", self.top_k, "it must be 0 (off) or more")


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """One generation.

    Attributes:
      tokens: int32[n], the whole context. What the engine has already cached of it is not computed
        again.
      max_new_tokens: Upper bound of the answer.
      key: A `streams.Purpose`, then integers from 0 below 2**32. With the engine's seed they
        determine the sample; neighbours in the batch do not.
      role: "policy" rows use the LoRA adapter, "simulator" rows the base.
      sampling: How tokens are drawn.
      stop_ids: Tokens that end the answer (and are part of it). Not used with `schema`, where
        complete JSON ends it.
      schema: JSON schema of an object that the answer must be, complete, without insignificant
        white space. Near the limit what is open is closed: optional parts are dropped, required
        ones get short values. Formats are held like patterns; what cannot be held, or has no end
        that is known, is refused.
      think_end_id: If given with `schema`, the model first writes freely up to and including this
        token.
      think_budget: Tokens of free thinking after which `think_end_id` is forced.
      report_logits_of: Tokens whose logits are reported at every position of the answer, sampled
        or not.
      top_logprobs: How many of the likeliest tokens are reported at every position of the answer,
        with their log-probabilities; at most `EngineConfig.top_logprobs`.
    """

    tokens: np.ndarray
    max_new_tokens: int
    key: tuple[int, ...]
    role: Role
    sampling: Sampling = Sampling()
    stop_ids: tuple[int, ...] = ()
    schema: Mapping[str, Any] | None = None
    think_end_id: int | None = None
    think_budget: int = 0
    report_logits_of: tuple[int, ...] = ()
    top_logprobs: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Completion:
    """The answer to a request.

    Attributes:
      tokens: int32[m], with the stop token if one was sampled.
      logprobs: float32[m], log-probability of each token under softmax(logits / temperature)
        (temperature 1 for greedy rows), before top-k, top-p and schema cut the distribution: what
        the learner computes again. 0 for tokens that a schema forced, which were not drawn.
      finish: "stop" if a stop token or complete JSON ended it, "length" if `max_new_tokens` did.
      reported_logits: float32[m, c], logits of the tokens that the request names, where each token
        was drawn, before temperature and cuts; their differences are differences of
        log-probabilities. NaN at tokens that a schema forced.
      top_tokens: int32[m, k], the likeliest tokens where each token was drawn, as many as the
        request wants, likeliest first; -1 at tokens that a schema forced.
      top_logprobs: float32[m, k], theirs, under the same distribution as `logprobs`.
    """

    tokens: np.ndarray
    logprobs: np.ndarray
    finish: Literal["stop", "length"]
    reported_logits: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0), np.float32)
    )
    top_tokens: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0), np.int32))
    top_logprobs: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0), np.float32)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class NewTokens:
    """What an answer has gained since it was last told of; see `Engine.submit`.

    Attributes:
      tokens: Their ids.
      logprobs: As `Completion.logprobs`.
      top_tokens: As `Completion.top_tokens`.
      top_logprobs: As `Completion.top_logprobs`.
      finish: As `Completion.finish`; None while more may come.
    """

    tokens: Sequence[int]
    logprobs: Sequence[float]
    top_tokens: Sequence[np.ndarray]
    top_logprobs: Sequence[np.ndarray]
    finish: Literal["stop", "length"] | None


@dataclasses.dataclass
class EngineStats:
    """Counts since the last `Engine.reset`.

    Attributes:
      prompt_tokens: Tokens of all contexts, whatever became of the request.
      prefilled_tokens: Tokens whose keys and values were computed without drawing: those of
        contexts that were not found in the cache, and forced ones.
      sampled_tokens: Tokens drawn, but for those lost.
      forced_tokens: Tokens of answers that were added without drawing.
      restarts: Requests that began again because the cache was full.
      lost_tokens: Tokens that these had drawn.
    """

    prompt_tokens: int = 0
    prefilled_tokens: int = 0
    sampled_tokens: int = 0
    forced_tokens: int = 0
    restarts: int = 0
    lost_tokens: int = 0
