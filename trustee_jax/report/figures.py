"""A run's metrics as a few figures, and what several runs have in common."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from scipy import stats

Values = Mapping[int, Mapping[str, float | None]]


def tenth(steps: int) -> int:
    """How many steps a figure of a run's beginning or end is the mean of: one alone is noisy."""
    return max(1, steps // 10)


def at_begin(metrics: Values, name: str) -> float | None:
    """Mean over the first tenth of the steps; None if none of them has the metric.

    Args:
      metrics: Step -> name -> value, by increasing step.
      name: Which one.
    """
    return _mean(metrics, name, sorted(metrics)[: tenth(len(metrics))])


def at_end(metrics: Values, name: str) -> float | None:
    """Mean over the last tenth of the steps, see `at_begin`."""
    return _mean(metrics, name, sorted(metrics)[-tenth(len(metrics)) :])


def over_all(metrics: Values, name: str) -> float | None:
    """Mean over all steps, see `at_begin`."""
    return _mean(metrics, name, sorted(metrics))


def highest(metrics: Values, name: str) -> float | None:
    """The highest value of a step, None if no step has the metric."""
    found = [value for values in metrics.values() if (value := values.get(name)) is not None]
    return max(found, default=None)


@dataclasses.dataclass(frozen=True)
class Interval:
    """The mean of a few values, and how sure it is.

    Attributes:
      mean: Of the values.
      margin: Half the width of its 95% interval; None for a single value.
      count: How many values.
    """

    mean: float
    margin: float | None
    count: int


def interval(values: Sequence[float | None]) -> Interval | None:
    """Mean and Student's t interval at 95%: for independent values whose spread is not known.

    Args:
      values: None where there is none.

    Returns:
      None where there are no values.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = statistics.fmean(known)
    if len(known) == 1:
        return Interval(mean, None, 1)
    error = statistics.stdev(known) / len(known) ** 0.5
    return Interval(mean, float(stats.t.ppf(0.975, len(known) - 1)) * error, len(known))


def _mean(metrics: Values, name: str, steps: Sequence[int]) -> float | None:
    values = [value for step in steps if (value := metrics[step].get(name)) is not None]
    return statistics.fmean(values) if values else None
