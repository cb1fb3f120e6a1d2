"""The verdict on an episode, by parts, and the reward that code makes of it."""

import math
import operator
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

_DECIMALS = 12


@dataclass(frozen=True)
class CriterionVerdict:
    """What the verifier says of one criterion.

    Attributes:
      criterion: Its name.
      met: Whether it is met.
      probability: Of "met", read from the log-probabilities of the two answers; None where the
        answer alone is known.
      line: The line of the transcript, from 1, that shows it best; None if none was asked for.
      reasoning: Its reasons; "" if none were asked for.
      recites: Whether these only recite the question.
    """

    criterion: str
    met: bool
    probability: float | None = None
    line: int | None = None
    reasoning: str = ""
    recites: bool = False


@dataclass(frozen=True)
class RuleViolation:
    """A criterion that code knows not to be met, whatever the verifier says.

    Attributes:
      criterion: Its name.
      check: The check that found it.
      reason: What it found, for a reader.
    """

    criterion: str
    check: str
    reason: str


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a judge found, or several of them together.

    Attributes:
      mode: How it was had: a mode of `JudgeConfig`, "rules", "python", or "weighted" where several
        judges graded.
      parts: One per criterion, in their order; empty where a judge gives a number, or several
        graded.
      vetoes: Of criteria among these.
      score: The reward, in [-1, 1], of a judge that gives a number; else None.
      judges: The verdicts of several judges, with their weights.
    """

    mode: str
    parts: tuple[CriterionVerdict, ...] = ()
    vetoes: tuple[RuleViolation, ...] = ()
    score: float | None = None
    judges: tuple["JudgeVerdict", ...] = ()

    @property
    def criteria(self) -> dict[str, bool]:
        """Criterion -> met.

        A veto only ever turns a met one into one that is not. Of several judges, all of some weight
        that grade a criterion must find it met.
        """
        vetoed = {veto.criterion for veto in self.vetoes}
        met = {part.criterion: part.met and part.criterion not in vetoed for part in self.parts}
        for one in filter(operator.attrgetter("weight"), self.judges):
            for name, value in one.verdict.criteria.items():
                met[name] = met.get(name, True) and value
        return met

    @property
    def all_parts(self) -> tuple[CriterionVerdict, ...]:
        """Its own parts, or those of all judges."""
        return (*self.parts, *(part for one in self.judges for part in one.verdict.all_parts))

    @property
    def reward(self) -> float:
        """The judge's number, `reward_of` its criteria, or the weighted mean over the judges."""
        if self.judges:
            weights = [one.weight for one in self.judges]
            rewards = [one.verdict.reward for one in self.judges]
            mean = math.fsum(map(operator.mul, weights, rewards)) / math.fsum(weights)
            # What is equal but for rounding must not make a group that differs.
            return round(mean, _DECIMALS)
        return reward_of(self.criteria.values()) if self.score is None else self.score

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as plain JSON values; `score` and `judges` only where there are."""
        value: dict[str, Any] = {
            "mode": self.mode,
            "parts": [asdict(part) for part in self.parts],
            "vetoes": [asdict(veto) for veto in self.vetoes],
            "criteria": self.criteria,
        }
        if self.score is not None:
            value["score"] = self.score
        if self.judges:
            value["judges"] = [one.to_json() for one in self.judges]
        return value


@dataclass(frozen=True, eq=False)
class JudgeVerdict:
    """What one of several judges found.

    Attributes:
      judge: Its name, as `JudgeConfig.use` has it.
      weight: Of its reward in the mean.
      verdict: What it found.
    """

    judge: str
    weight: float
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Returns judge, weight and reward, and the verdict beside them, as plain JSON values."""
        mine = {"judge": self.judge, "weight": self.weight, "reward": self.verdict.reward}
        return mine | self.verdict.to_json()


def reward_of(met: Iterable[bool]) -> float:
    """1 if all are met, 0 if at least half of them are, else -1 (arXiv 2604.17739)."""
    listed = list(met)
    if all(listed):
        return 1.0
    return 0.0 if 2 * sum(listed) >= len(listed) else -1.0
