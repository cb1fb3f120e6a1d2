"""What is claimed of a run, and by which rule numbers say yes or no."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from trustee_jax.evaluation.pairs import Pair
from trustee_jax.evaluation.summary import difference_text

LEVEL = 0.05
Wanted = Literal["better", "not worse", "not better"]
RULES = (
    f"Better: the difference is positive and p, corrected by Holm over all such claims, is below "
    f"{LEVEL}. Not worse, not better: there is no difference in that direction with an uncorrected "
    f"p below {LEVEL}, which a small sample also gives: its interval says how much was excluded."
)


@dataclasses.dataclass(frozen=True)
class Claim:
    """B compared with A, and what is claimed of it.

    Attributes:
      a: The one, and how it is read.
      b: The other.
      cases: What both were measured by.
      wanted: What is claimed of B.
      pair: What was found, case by case.
      p: Of the exact test of McNemar; of those that claim to be better corrected, see `decided`.
      note: What else a reader must know.
    """

    a: str
    b: str
    cases: str
    wanted: Wanted
    pair: Pair
    p: float
    note: str = ""

    @property
    def holds(self) -> bool:
        """By `RULES`."""
        difference, small = self.pair.difference, self.p < LEVEL
        if self.wanted == "better":
            return difference > 0 and small
        return not (small and (difference < 0 if self.wanted == "not worse" else difference > 0))

    def __str__(self) -> str:
        """As the pages say it."""
        pair = self.pair
        right_a, right_b = pair.both + pair.only_a, pair.both + pair.only_b
        corrected = " (Holm)" if self.wanted == "better" else ""
        return (
            f"{self.b} is {self.wanted} than {self.a} on {self.cases}: "
            f"{'yes' if self.holds else 'no'}. {right_b} against {right_a} of {pair.cases}, "
            f"{difference_text(pair, ' points')}"
            f", p = {self.p:.2g}{corrected}{f'; {self.note}' if self.note else ''}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with the sentence."""
        return {**dataclasses.asdict(self), "holds": self.holds, "text": str(self)}


def claim(a: str, b: str, cases: str, wanted: Wanted, pair: Pair, note: str = "") -> Claim:
    """A claim whose p is not corrected yet."""
    return Claim(a, b, cases, wanted, pair, pair.p, note)


def decided(claims: Sequence[Claim]) -> list[Claim]:
    """The claims, with p corrected among those that claim to be better.

    To correct the others would make it easier for them to hold.
    """
    places = [place for place, one in enumerate(claims) if one.wanted == "better"]
    found = list(claims)
    corrected = holm([claims[place].pair.p for place in places])
    for place, p in zip(places, corrected, strict=True):
        found[place] = dataclasses.replace(found[place], p=p)
    return found


def holm(values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in their order (Holm 1979, Scand. J. Stat. 6, 65-70).

    The probability that any of the true null hypotheses is rejected stays below the level.
    """
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected
