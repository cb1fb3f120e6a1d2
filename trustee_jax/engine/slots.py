"""Which slot of the cache holds which context, on the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trustee_jax.engine.types import Role


class Slot:
    """One row of the cache.

    Attributes:
      index: Its number.
      role: Whose parameters made the cached keys and values.
      tokens: int32[n], the context that it holds or, while prefilling, will hold.
      filled: How many of `tokens` are in the cache.
      busy: Whether a request is running in it.
      used: When it was taken last, on the engine's count of requests.
    """

    def __init__(self, index: int):
        """An empty slot."""
        self.index = index
        self.role: Role | None = None
        self.tokens = np.zeros(0, np.int32)
        self.filled = 0
        self.busy = False
        self.used = 0

    @property
    def missing(self) -> int:
        """Tokens that are still to be prefilled."""
        return len(self.tokens) - self.filled

    def take(self, role: Role, tokens: np.ndarray, filled: int, used: int) -> None:
        """Starts a request whose first `filled` tokens are in the cache."""
        self.role, self.tokens, self.filled, self.used, self.busy = role, tokens, filled, used, True

    def release(self, tokens: np.ndarray) -> None:
        """Ends the request; the slot keeps its context for later ones."""
        self.tokens, self.filled, self.busy = tokens, len(tokens), False


def common_prefix(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the common prefix of two rows of token ids."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length


def longest_match(slots: Sequence[Slot], role: Role, tokens: np.ndarray) -> tuple[Slot | None, int]:
    """The slot with the longest prefix of `tokens`, and its length; idle slots win ties."""
    best, length = None, 0
    for slot in slots:
        if slot.role != role or not slot.filled:
            continue
        matched = common_prefix(slot.tokens[: slot.filled], tokens)
        if matched > length or (
            matched == length and best is not None and best.busy and not slot.busy
        ):
            best, length = slot, matched
    return best, length


def choose_slot(free: Sequence[Slot], source: Slot | None, matched: int) -> Slot:
    """Where a request goes: on in the slot that it extends, else into the one unused for longest.

    A slot that holds more than the match is copied from, not cut short, while another one is free:
    what it holds may be an episode that goes on.
    """
    if source in free and source is not None and source.filled == matched:
        return source
    others = [slot for slot in free if slot is not source] or list(free)
    return min(others, key=lambda slot: (slot.filled > 0, slot.used, slot.index))
