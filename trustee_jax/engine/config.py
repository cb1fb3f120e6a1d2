"""Options of the engine."""

from __future__ import annotations

import dataclasses

from trustee_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """Shapes of the decoding batch: every number is a compiled shape, so few mean few compilations.

    Attributes:
      slots: Rows of the decoding batch, each with its own KV cache. At best the episodes in flight
        plus as many again: a policy row keeps its cache while a simulator row answers.
      max_length: Longest context (prompt and answer) of a request, in tokens.
      min_cache_length: The cache starts with this many positions a row and doubles, up to
        `max_length`, when a request needs more. Set it to `max_length` to compile a single size.
      prefill_rows: Prompts that are prefilled together.
      prefill_chunks: Chunk lengths, ascending; a prompt is prefilled in as few and small chunks as
        these allow.
      decode_steps: Decoding steps per dispatch while no row is held to a schema (a schema is
        checked on the host after each token).
      min_shared_prefix: A cached prefix of fewer tokens is recomputed, not copied.
    """

    slots: int = 64
    max_length: int = 8192
    min_cache_length: int = 1024
    prefill_rows: int = 4
    prefill_chunks: tuple[int, ...] = (128, 512)
    decode_steps: int = 8
    min_shared_prefix: int = 16

    @property
    def first_cache_length(self) -> int:
        """Positions per slot of an empty engine."""
        return min(self.min_cache_length, self.last_cache_length)

    @property
    def last_cache_length(self) -> int:
        """The most positions per slot; the last chunk of a prompt is written whole, padding too."""
        return self.max_length + self.prefill_chunks[-1]

    def __post_init__(self) -> None:
        for name in ("slots", "max_length", "min_cache_length", "prefill_rows", "decode_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"engine.{name}", getattr(self, name), "use a number of at least 1"
                )
        chunks = self.prefill_chunks
        if not chunks or chunks[0] < 1 or list(chunks) != sorted(set(chunks)):
            raise ConfigError(
                "engine.prefill_chunks", chunks, "use ascending chunk lengths, e.g. (128, 512)"
            )
        if self.min_cache_length > self.max_length:
            fix = f"use at most engine.max_length = {self.max_length}"
            raise ConfigError("engine.min_cache_length", self.min_cache_length, fix)
