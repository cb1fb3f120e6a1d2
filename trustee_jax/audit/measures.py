"""The figures of an audit, as pure functions of counts and probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Bin:
    """One row of a reliability table.

    Attributes:
      low: Least probability, exclusive but for the first bin.
      high: Greatest probability, inclusive.
      count: Probabilities within.
      mean: Their mean.
      met: Share of them whose criterion is met in truth.
    """

    low: float
    high: float
    count: int
    mean: float
    met: float


@dataclass(frozen=True)
class Calibration:
    """How far probabilities of "met" can be taken at their word.

    Attributes:
      count: Probabilities.
      met: Share of them whose criterion is met in truth.
      ece: Expected calibration error: the mean distance of mean probability and share met over
        equally wide bins, weighted by their counts (Naeini et al. 2015, AAAI; in this form Guo et
        al. 2017, arXiv 1706.04599, equation 3).
      brier: Mean squared distance to the truth (Brier 1950).
      auroc: Probability that one that is met got a higher value than one that is not, ties half
        (Mann and Whitney 1947); 0.5 is chance, None if all are met or none. Other than the rest
        it does not depend on how many of each there are, or on the threshold.
      bins: The reliability table, without empty bins.
    """

    count: int
    met: float
    ece: float
    brier: float
    auroc: float | None
    bins: tuple[Bin, ...]


def calibration(
    probabilities: Sequence[float], met: Sequence[bool], bins: int = 10
) -> Calibration | None:
    """Compares probabilities with the truth.

    Args:
      probabilities: Of "met".
      met: The truth, one for each.
      bins: Of equal width.

    Returns:
      The figures; None if there are no probabilities.
    """
    if not len(probabilities):
        return None
    p, y = np.asarray(probabilities, np.float64), np.asarray(met, bool)
    edges = np.linspace(0.0, 1.0, bins + 1)
    # Right edges belong to their bin, as in both papers; 0 belongs to the first.
    places = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, bins - 1)
    table = []
    for place in range(bins):
        inside = places == place
        if inside.any():
            low, high = float(edges[place]), float(edges[place + 1])
            mean, share = float(p[inside].mean()), float(y[inside].mean())
            table.append(Bin(low, high, int(inside.sum()), mean, share))
    return Calibration(
        count=len(p),
        met=float(y.mean()),
        ece=sum(row.count * abs(row.mean - row.met) for row in table) / len(p),
        brier=float(np.mean((p - y) ** 2)),
        auroc=auroc(p[y].tolist(), p[~y].tolist()),
        bins=tuple(table),
    )


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """Area under the ROC curve; None without one of the two sides."""
    if not len(positives) or not len(negatives):
        return None
    # Asymptotic: the p-value, which nobody asks for, is cheap then.
    found = stats.mannwhitneyu(positives, negatives, method="asymptotic")
    return float(found.statistic) / (len(positives) * len(negatives))


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Agreement beyond chance (Cohen 1960).

    Args:
      pairs: Two answers to each question.

    Returns:
      1 for full agreement, 0 for that of chance; None without pairs, or where chance alone would
      agree on everything, as when all answers are the same.
    """
    if not pairs:
        return None
    one, other = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    chance = one * other + (1 - one) * (1 - other)
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    return None if chance == 1 else (agreed - chance) / (1 - chance)
