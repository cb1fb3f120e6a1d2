"""A benchmark's cases, and the subset of them that a limit leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from trustee_jax.evaluation.board import CATEGORIES, MULTI_TURN


@dataclass(frozen=True, eq=False)
class Case:
    """What the model is asked.

    Attributes:
      id: The official name.
      category: See `board.CATEGORIES`.
      place: Its number in the official order of the category.
      turns: The OpenAI messages that open each of the user's turns; only the first may have others
        than the user's. None where new tools are all that a turn brings.
      tools: OpenAI tools, by the number of the turn from which they are offered.
      answer: The official answer, for whoever wants to see it.
    """

    id: str
    category: str
    place: int
    turns: tuple[tuple[Mapping[str, Any], ...], ...]
    tools: Mapping[int, Sequence[Mapping[str, Any]]]
    answer: Any

    @property
    def multi_turn(self) -> bool:
        """Whether calls are executed, and the user speaks more than once."""
        return self.category in MULTI_TURN

    @property
    def key(self) -> tuple[int, int]:
        """What samples depend on."""
        return CATEGORIES.index(self.category), self.place


def read_cases(category: str, loaded: Iterable[Mapping[str, Any]]) -> tuple[Case, ...]:
    """The cases of a category, as `bfcl_worker.Benchmark.load` gives them."""
    return tuple(
        Case(
            id=one["id"],
            category=category,
            place=place,
            turns=tuple(tuple(messages) for messages in one["turns"]),
            tools={int(turn): tools for turn, tools in one["tools"].items()},
            answer=one["answer"],
        )
        for place, one in enumerate(loaded)
    )


class SupportsId(Protocol):
    """Whatever a benchmark has many of."""

    @property
    def id(self) -> str:
        """Its official name."""


C = TypeVar("C", bound=SupportsId)


def limited(cases: Sequence[C], limit: int | None) -> list[C]:
    """A subset that is the same for every model, and within every larger one.

    It is the cases whose ids have the smallest SHA-256; neighbours in the official order are often
    variants of one another.

    Args:
      cases: Of one category or domain.
      limit: How many; None for all.
    """
    if limit is None:
        return list(cases)
    return sorted(cases, key=lambda case: hashlib.sha256(case.id.encode()).digest())[:limit]
