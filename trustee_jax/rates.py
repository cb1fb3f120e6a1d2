"""Shares of counts, with their uncertainty."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from scipy import stats


@dataclass(frozen=True)
class Rate:
    """A share with its uncertainty.

    Attributes:
      count: How many.
      of: Out of how many.
    """

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """The share itself; None of nothing."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% score interval (E. B. Wilson 1927, JASA 22, 209-212); (0, 1) of nothing."""
        if not self.of:
            return 0.0, 1.0
        ends = stats.binomtest(self.count, self.of).proportion_ci(method="wilson")
        return float(ends.low), float(ends.high)

    def to_json(self) -> dict[str, Any]:
        """Count, total, share and the ends of the interval."""
        low, high = self.interval
        return {**asdict(self), "share": self.share, "low": low, "high": high}

    def __str__(self) -> str:
        """As tables show it: count, total, share and interval in percent."""
        if self.share is None:
            return "-"
        low, high = self.interval
        return f"{self.count}/{self.of} = {self.share:.0%} ({100 * low:.0f}-{100 * high:.0f})"
