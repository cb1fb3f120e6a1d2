"""Two evaluations of the same cases, compared case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from trustee_jax import streams
from trustee_jax.evaluation.board import CATEGORIES, weights
from trustee_jax.evaluation.play import Reading
from trustee_jax.evaluation.results import Results, ResultsError
from trustee_jax.streams import Purpose

POOLED = "all cases"
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Pair:
    """How B differs from A over cases that both have answered.

    Attributes:
      both: Cases that both got right.
      only_a: Cases that only A got right.
      only_b: Cases that only B got right.
      neither: Cases that none got right.
      p: Of the two-sided exact test of McNemar (1947, Psychometrika 12, 153-157): how probable so
        uneven a split of the cases that only one got right is if it is a fair coin's.
      difference: Mean of B less mean of A.
      low: Lower end of its 95% interval, by resampling cases (percentile bootstrap, Efron 1979).
      high: Upper end.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float
    difference: float
    low: float
    high: float

    @property
    def cases(self) -> int:
        """How many."""
        return self.both + self.only_a + self.only_b + self.neither


@dataclass(frozen=True)
class Difference:
    """How much higher a figure of B is than that of A.

    Attributes:
      difference: That of B less that of A.
      low: Lower end of its 95% interval, by resampling what both were measured by.
      high: Upper end.
    """

    difference: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """All figures of a comparison.

    Attributes:
      pairs: By category, then of `POOLED`.
      board: By the board's figure, see `board.weights`; cases are resampled by category.
      only_in_a: Cases that A alone has answered, which are left out.
      only_in_b: Cases that B alone has answered.
    """

    pairs: Mapping[str, Pair]
    board: Mapping[str, Difference]
    only_in_a: int
    only_in_b: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pairs": {name: vars(pair) for name, pair in self.pairs.items()},
            "board": {name: vars(found) for name, found in self.board.items()},
            "only_in_a": self.only_in_a,
            "only_in_b": self.only_in_b,
        }


def mcnemar(only_a: int, only_b: int) -> float:
    """The two-sided exact p-value; 1 where there is no difference at all."""
    if not only_a + only_b:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def compare(a: Results, b: Results, readings: tuple[Reading, Reading]) -> Comparison:
    """Compares two evaluations.

    Args:
      a: The one.
      b: The other, whose gain over `a` is measured.
      readings: How the answers of each are read.

    Raises:
      ResultsError: They have no case in common, or are of different versions of the benchmark.
    """
    version = "bfcl_eval"
    of_a, of_b = (results.meta["identity"].get(version) for results in (a, b))
    if of_a != of_b:
        raise ResultsError(
            f"the results are of different versions of the benchmark: {of_a} and {of_b}"
        )
    right_a, right_b = _right(a, readings[0]), _right(b, readings[1])
    common = [case for case in right_a if case in right_b]
    if not common:
        raise ResultsError(
            f"the results have no case in common that is read {readings[0]} in the first folder "
            f"and {readings[1]} in the second; see the categories in their meta.json"
        )
    by_category: dict[str, list[tuple[bool, bool]]] = {}
    for case in common:
        both = right_a[case], right_b[case]
        by_category.setdefault(a.records[case].category, []).append(both)
    ordered = {name: by_category[name] for name in CATEGORIES if name in by_category}
    resampled = {name: _resample(cases, name) for name, cases in ordered.items()}
    pairs = {name: _pair(cases, resampled[name]) for name, cases in ordered.items()}
    pairs[POOLED] = pair([case for cases in ordered.values() for case in cases], POOLED)
    board = {}
    for figure, parts in weights({name: a.meta["sizes"][name] for name in ordered}).items():
        value = sum(weight * pairs[name].difference for name, weight in parts.items())
        means = sum(weight * resampled[name] for name, weight in parts.items())
        board[figure] = Difference(value, *percentile_interval(np.asarray(means)))
    return Comparison(pairs, board, len(right_a) - len(common), len(right_b) - len(common))


def _right(results: Results, reading: Reading) -> dict[str, bool]:
    return {
        record.id: record.verdicts[reading].valid
        for record in results.records.values()
        if reading in record.verdicts
    }


def pair(cases: Sequence[tuple[bool, bool]], name: str) -> Pair:
    """Counts pairs of verdicts.

    Args:
      cases: Of A and of B.
      name: What they are, which the random numbers of the interval depend on.
    """
    return _pair(cases, _resample(cases, name))


def _pair(cases: Sequence[tuple[bool, bool]], resampled: np.ndarray) -> Pair:
    both, only_a, only_b, neither = _counts(cases)
    difference = (only_b - only_a) / len(cases)
    low, high = percentile_interval(resampled)
    return Pair(both, only_a, only_b, neither, mcnemar(only_a, only_b), difference, low, high)


def _counts(cases: Sequence[tuple[bool, bool]]) -> tuple[int, int, int, int]:
    kinds = ((True, True), (True, False), (False, True), (False, False))
    both, only_a, only_b, neither = (cases.count(kind) for kind in kinds)
    return both, only_a, only_b, neither


def _resample(cases: Sequence[tuple[bool, bool]], name: str) -> np.ndarray:
    """Mean differences of resamples, float64[_RESAMPLES].

    Differences of single cases have three values, so that resampling them is to draw how many there
    are of each.
    """
    both, only_a, only_b, neither = _counts(cases)
    counts = np.array([only_a, both + neither, only_b])
    generator = streams.generator(Purpose.COMPARISON, 0, name)
    drawn = generator.multinomial(len(cases), counts / len(cases), size=_RESAMPLES)
    return (drawn[:, 2] - drawn[:, 0]) / len(cases)


def mean_interval(values: np.ndarray, name: str) -> tuple[float, float]:
    """Ends of the 95% interval of the mean of values, by resampling them.

    Args:
      values: float64[N], N at least 1.
      name: What they are, which the random numbers depend on.
    """
    generator = streams.generator(Purpose.COMPARISON, 0, name)
    places = generator.integers(0, len(values), (_RESAMPLES, len(values)))
    return percentile_interval(values[places].mean(1))


def percentile_interval(means: np.ndarray) -> tuple[float, float]:
    """Ends of the 95% interval of resampled means (percentile bootstrap, Efron 1979)."""
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
