"""Options of the engine."""

from __future__ import annotations

import dataclasses
from typing import Literal

from trustee_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """Shapes of the engine's programs and of its cache.

    Attributes:
      slots: Requests that are decoded at once; rounded up to a multiple of the mesh's data x fsdp.
      max_length: Longest context (prompt and answer) of a request, in tokens.
      cache_tokens: Tokens that the cache holds, over all requests and what is kept for later ones.
        A request waits until there is room for its prompt. None: `slots` times `max_length`.
      cache_dtype: "int8" holds keys and values with a float32 scale for each token and head: about
        half the memory of bfloat16. None: in the model's dtype.
      page_size: Tokens in a page, the unit in which the cache is allocated and shared.
      prefill_rows: Pieces of prompts that are computed together, rounded up likewise. A long prompt
        takes several of them.
      prefill_tokens: Tokens in each; the last piece of a prompt is padded to it.
      prefill_budget: Tokens of prompts computed before the requests that are being answered go on:
        more is faster as a whole, less is steadier.
      decode_steps: Decoding steps per dispatch while no request is held to a schema (a schema is
        checked on the host after each token).
      top_logprobs: Most of the likeliest tokens that a request may ask to be told of; what it asks
        for is computed for all rows of a step.
      attention: What computes attention over the cache: "xla" anywhere, "ragged" on a TPU, "paged"
        on a GPU; "auto" is the platform's own where it fits the model and these options, else
        "xla".
    """

    slots: int = 64
    max_length: int = 8192
    cache_tokens: int | None = None
    cache_dtype: Literal["int8"] | None = None
    page_size: int = 64
    prefill_rows: int = 8
    prefill_tokens: int = 64
    prefill_budget: int = 4096
    decode_steps: int = 8
    top_logprobs: int = 0
    attention: Literal["auto", "xla", "ragged", "paged"] = "auto"

    @property
    def pages_per_row(self) -> int:
        """Pages of the longest context."""
        return -(-self.max_length // self.page_size)

    @property
    def pages(self) -> int:
        """Pages of the whole cache."""
        if self.cache_tokens is None:
            return self.slots * self.pages_per_row
        return -(-self.cache_tokens // self.page_size)

    def vector_bytes(self, head_dim: int, itemsize: int) -> int:
        """Bytes of a head's key or value in the cache.

        Args:
          head_dim: Of the model.
          itemsize: Bytes of a number in the model's dtype.
        """
        return head_dim * itemsize if self.cache_dtype is None else head_dim + 4

    def __post_init__(self) -> None:
        """Checks every number."""
        for name in (
            "slots",
            "max_length",
            "page_size",
            "prefill_rows",
            "prefill_tokens",
            "prefill_budget",
            "decode_steps",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"engine.{name}", getattr(self, name), "use a number of at least 1"
                )
        if self.top_logprobs < 0:
            raise ConfigError("engine.top_logprobs", self.top_logprobs, "use 0 (none) or more")
        if self.cache_dtype not in (None, "int8"):
            raise ConfigError(
                "engine.cache_dtype", self.cache_dtype, 'write "int8", or leave it out'
            )
        if self.attention not in ("auto", "xla", "ragged", "paged"):
            fix = 'write "auto", "xla", "ragged" or "paged"'
            raise ConfigError("engine.attention", self.attention, fix)
        if self.cache_tokens is not None and self.cache_tokens < self.max_length:
            fix = f"one request needs up to engine.max_length = {self.max_length}; use more"
            raise ConfigError("engine.cache_tokens", self.cache_tokens, fix)
