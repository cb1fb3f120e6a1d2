"""BFCL's categories, and how the official board makes one figure of several.

The rules are those of `generate_leaderboard_csv` in bfcl-eval 2026.3.23: "non-live" is the mean
over simple, multiple, parallel and parallel_multiple, where simple is the mean over three
languages; "live" the mean over its cases; "irrelevance" that of the two categories of that name;
"multi-turn" that of its four. The board's total weighs these and "agentic"
(web search and memory, which need paid services and are not run here) 10:10:10:30:40.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustee_jax.errors import InputError
from trustee_jax.rates import Rate

NON_LIVE = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
)
LIVE = (
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
MULTI_TURN = (
    "multi_turn_base",
    "multi_turn_miss_func",
    "multi_turn_miss_param",
    "multi_turn_long_context",
)
CATEGORIES = NON_LIVE + LIVE + MULTI_TURN
GROUPS = {
    "all": CATEGORIES,
    "single_turn": NON_LIVE + LIVE,
    "non_live": NON_LIVE,
    "live": LIVE,
    "multi_turn": MULTI_TURN,
}
OVERALL = "overall"
# Parts of the board's total, with their weights; "agentic", with 40, is not run.
_TOTAL = {"non_live": 10.0, "live": 10.0, "irrelevance": 10.0, "multi_turn": 30.0}
_SIMPLE, _OTHER = NON_LIVE[:3], NON_LIVE[3:6]


class CategoryError(InputError):
    """There is no category or group of that name."""


def choose_categories(names: Sequence[str]) -> tuple[str, ...]:
    """The categories that are named, each once, in the order of `CATEGORIES`.

    Args:
      names: Of categories and of groups.

    Raises:
      CategoryError: One does not exist, or there are none.
    """
    known = (*GROUPS, *CATEGORIES)
    listed = f"groups {', '.join(GROUPS)}; categories {', '.join(CATEGORIES)}"
    if not names:
        raise CategoryError(f"--categories names none; there are: {listed}")
    chosen: set[str] = set()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"close: {close[0]}; " if close else ""
            raise CategoryError(f"--categories: there is no {name!r}; {hint}there are: {listed}")
        chosen.update(GROUPS.get(name, (name,)))
    return tuple(name for name in CATEGORIES if name in chosen)


@dataclass(frozen=True)
class Score:
    """A weighted mean of categories' shares.

    Attributes:
      value: The mean.
      low: Lower end of its 95% interval.
      high: Upper end.
      missing: What the official figure is made of besides, and what is not measured.
    """

    value: float
    low: float
    high: float
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "missing": list(self.missing)}


def weights(sizes: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """The weights of the measured categories in each figure of the board.

    What is not measured counts for nothing, other than on the board, where it counts as 0.

    Args:
      sizes: Category -> its cases, measured or not, for those of which any is measured.

    Returns:
      Figure -> category -> weight, which sum to 1; figures of which nothing is measured are left
      out. The last one is `OVERALL`.
    """
    single = {name: {name: 1.0} if name in sizes else {} for name in CATEGORIES}

    def mean(names: Sequence[str]) -> dict[str, float]:
        return _mean([(1.0, single[name]) for name in names])

    figures = {
        "non_live": _mean([(1.0, mean(_SIMPLE)), *((1.0, single[name]) for name in _OTHER)]),
        "live": _mean([(float(sizes.get(name, 0)), single[name]) for name in LIVE[:4]]),
        "irrelevance": mean(("irrelevance", "live_irrelevance")),
        "multi_turn": mean(MULTI_TURN),
    }
    figures[OVERALL] = _mean([(weight, figures[name]) for name, weight in _TOTAL.items()])
    return {name: found for name, found in figures.items() if found}


def scores(rates: Mapping[str, Rate], sizes: Mapping[str, int]) -> dict[str, Score]:
    """The board's figures, with intervals.

    The interval of a weighted sum of independent shares p_i with intervals (l_i, u_i) is that of
    Zou, Huang and Zhang (2009, Computational Statistics and Data Analysis 53, 1080-1085):
    sum w_i p_i - sqrt(sum (w_i (p_i - l_i))^2), and with u_i likewise above.

    Args:
      rates: By category.
      sizes: Cases of those categories, measured or not.
    """
    found = {}
    for name, parts in weights({name: sizes[name] for name in rates}).items():
        value = below = above = 0.0
        for category, weight in parts.items():
            share, (low, high) = rates[category].share or 0.0, rates[category].interval
            value += weight * share
            below += (weight * (share - low)) ** 2
            above += (weight * (high - share)) ** 2
        missing = tuple(part for part in _parts(name) if part not in parts)
        found[name] = Score(value, value - math.sqrt(below), value + math.sqrt(above), missing)
    return found


def _parts(figure: str) -> tuple[str, ...]:
    if figure == OVERALL:
        return (*(part for name in _TOTAL for part in _parts(name)), "agentic")
    return {
        "non_live": _SIMPLE + _OTHER,
        "live": LIVE[:4],
        "irrelevance": ("irrelevance", "live_irrelevance"),
        "multi_turn": MULTI_TURN,
    }[figure]


def _mean(parts: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """The weighted mean of weighted means, of those that there are."""
    there = [(weight, part) for weight, part in parts if part]
    total = sum(weight for weight, _ in there)
    combined: dict[str, float] = {}
    for weight, part in there:
        for category, inner in part.items():
            combined[category] = combined.get(category, 0.0) + weight / total * inner
    return combined
