"""Everything that the evaluations of a run and of those beside it say together."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trustee_jax.evaluation.board import CATEGORIES
from trustee_jax.evaluation.pairs import POOLED, Pair, compare
from trustee_jax.evaluation.play import READINGS, Reading
from trustee_jax.evaluation.results import (
    Results,
    ResultsError,
    read_meta,
    read_records,
    read_results,
)
from trustee_jax.evaluation.simulated import Outcome, Row, summarize
from trustee_jax.evaluation.simulated import compare as compare_simulated
from trustee_jax.evidence.claims import Claim, claim, decided
from trustee_jax.evidence.subjects import EvidenceError, Subject
from trustee_jax.rates import Rate
from trustee_jax.report.figures import Interval, interval
from trustee_jax.report.run import ReportError, open_run

IRRELEVANCE = ("irrelevance", "live_irrelevance")
CALLS = tuple(name for name in CATEGORIES if name not in IRRELEVANCE)
ON_CALLS, ON_IRRELEVANCE, ON_TASKS = "calls", "irrelevance", "simulated episodes"


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """A policy and what was found of it.

    Attributes:
      subject: The policy.
      results: By the benchmark.
      outcomes: Of simulated episodes, by id; None if none were asked for.
      seconds: That its evaluations took, loading apart.
      cost: Of its training.
    """

    subject: Subject
    results: Results
    outcomes: Mapping[str, Outcome] | None
    seconds: float
    cost: Cost | None

    def rate(self, categories: Collection[str], reading: Reading) -> Rate:
        """Right answers of some categories together."""
        rates = [rate for name, rate in self.results.rates(reading).items() if name in categories]
        return Rate(sum(rate.count for rate in rates), sum(rate.of for rate in rates))

    def simulated(self) -> Row | None:
        """Its simulated episodes together."""
        return summarize(list(self.outcomes.values()))[0] if self.outcomes else None


@dataclasses.dataclass(frozen=True)
class Cost:
    """What training up to the checkpoint took.

    Attributes:
      steps: Training steps.
      hours: Of all of them, loading apart.
      episodes: Played.
      tokens: Sampled, by policy and simulator.
    """

    steps: int
    hours: float
    episodes: int
    tokens: int


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """The same policy measured twice, with another number of answers under way.

    Attributes:
      cases: How many.
      texts: Of them answered in other words.
      pair: The verdicts, read strictly.
    """

    cases: int
    texts: int
    pair: Pair


@dataclasses.dataclass(frozen=True, eq=False)
class Gain:
    """B against A over the calls, which is not among the claims.

    Attributes:
      a: The one, and how it is read.
      b: The other.
      pair: What was found; its p is not corrected.
    """

    a: str
    b: str
    pair: Pair


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """All of it.

    Attributes:
      measured: The policies, the base first.
      claims: See `claims.RULES`.
      gains: Further comparisons.
      by_category: The trained policy, read strictly, against its base, read strictly and leniently.
      seeds: The gain over the base, read leniently, of each seed of the method, in shares.
      noise: None if it was not measured.
      missing: What was asked for and is not there, with the reason.
    """

    measured: Sequence[Measured]
    claims: Sequence[Claim]
    gains: Sequence[Gain]
    by_category: Mapping[Reading, Mapping[str, Pair]]
    seeds: Interval | None
    noise: Noise | None
    missing: Mapping[str, str]


def read_measured(
    subject: Subject, results: pathlib.Path, simulated: pathlib.Path | None
) -> Measured:
    """Reads what the evaluations of a policy found.

    Raises:
      ResultsError: They are not there, or damaged.
      ReportError: The metrics of its run are.
    """
    found = read_results(results)
    outcomes = None if simulated is None else read_records(simulated, Outcome)
    seconds = found.meta.get("seconds", 0.0)
    if simulated is not None:
        seconds += read_meta(simulated).get("seconds", 0.0)
    return Measured(subject, found, outcomes, seconds, _cost(subject))


def find(
    measured: Sequence[Measured], again: Results | None, missing: Mapping[str, str]
) -> Findings:
    """Compares them.

    Args:
      measured: The base, the trained policy, and whatever else there is.
      again: The base once more; None if that was not measured.
      missing: What is not there, with the reason.

    Raises:
      EvidenceError: They were not measured in the same way.
    """
    _check_alike(measured)
    measured = _shared(measured)
    base, trained, *others = measured
    claims = [
        _on_calls(base, "lenient", trained, "better"),
        *_on_irrelevance(base, trained),
    ]
    gains = [_gain(base, "strict", trained)]
    for one in others:
        if one.subject.role == "control":
            claims.append(_on_calls(base, "lenient", one, "not better"))
            claims.append(_on_calls(one, "strict", trained, "better"))
        elif one.subject.role == "seed":
            claims.append(_on_calls(base, "lenient", one, "better"))
            claims += _on_irrelevance(base, one)
        else:
            gains += [_gain(base, "lenient", one), _gain(trained, "strict", one)]
    for one in measured:
        if one.subject.role in ("trained", "control"):
            claims += _on_tasks(base, one)
    method = [one for one in measured if one.subject.role in ("trained", "seed")]
    return Findings(
        measured=measured,
        claims=decided(claims),
        gains=gains,
        by_category={reading: _pairs(base, reading, trained, CATEGORIES) for reading in READINGS},
        seeds=interval([_pairs(base, "lenient", one, CALLS)[POOLED].difference for one in method]),
        noise=None if again is None else _noise(base.results, again),
        missing=missing,
    )


def _check_alike(measured: Sequence[Measured]) -> None:
    first = measured[0]
    for one in measured[1:]:
        here, there = (each.results.meta["identity"] for each in (one, first))
        for name in dict.fromkeys([*here, *there]):
            if name not in ("step", "weights") and here.get(name) != there.get(name):
                raise EvidenceError(
                    f"{one.subject.name} was measured with {name} = {here.get(name)!r}, "
                    f"{first.subject.name} with {there.get(name)!r}; move the folder of one of the "
                    "results away, and the same command measures it again"
                )


def _shared(measured: Sequence[Measured]) -> list[Measured]:
    """Each with the cases that all of them have, or their shares would be of different ones."""
    common = set.intersection(*(set(one.results.records) for one in measured))
    found = []
    for one in measured:
        records = {id: record for id, record in one.results.records.items() if id in common}
        found.append(dataclasses.replace(one, results=Results(one.results.meta, records)))
    return found


def _pairs(
    a: Measured, reading: Reading, b: Measured, categories: Collection[str]
) -> Mapping[str, Pair]:
    """B, read strictly, against A."""
    results = a.results.only(categories), b.results.only(categories)
    return compare(*results, (reading, "strict")).pairs


def _named(one: Measured, reading: Reading) -> str:
    return one.subject.name if reading == "strict" else f"{one.subject.name} (read leniently)"


def _on_calls(a: Measured, reading: Reading, b: Measured, wanted: Any) -> Claim:
    note = ""
    if a.subject.step and a.subject.step != b.subject.step:
        note = f"at steps {a.subject.step} and {b.subject.step}"
    pair = _pairs(a, reading, b, CALLS)[POOLED]
    return claim(_named(a, reading), b.subject.name, ON_CALLS, wanted, pair, note)


def _on_irrelevance(a: Measured, b: Measured) -> list[Claim]:
    if not a.rate(IRRELEVANCE, "strict").of:
        return []
    pair = _pairs(a, "strict", b, IRRELEVANCE)[POOLED]
    return [claim(a.subject.name, b.subject.name, ON_IRRELEVANCE, "not worse", pair)]


def _on_tasks(base: Measured, one: Measured) -> list[Claim]:
    if base.outcomes is None or one.outcomes is None:
        return []
    found = compare_simulated(base.outcomes, one.outcomes)
    if found is None:
        return []
    pair, reward = found
    note = f"reward {reward.difference:+.2f} ({reward.low:+.2f} to {reward.high:+.2f})"
    wanted: Any = "better" if one.subject.role == "trained" else "not better"
    return [claim(base.subject.name, one.subject.name, ON_TASKS, wanted, pair, note)]


def _gain(a: Measured, reading: Reading, b: Measured) -> Gain:
    return Gain(_named(a, reading), b.subject.name, _pairs(a, reading, b, CALLS)[POOLED])


def _noise(base: Results, again: Results) -> Noise:
    common = [id for id in base.records if id in again.records]
    texts = sum(base.records[id].texts != again.records[id].texts for id in common)
    pair = compare(base, again, ("strict", "strict")).pairs[POOLED]
    return Noise(len(common), texts, pair)


def _cost(subject: Subject) -> Cost | None:
    if not subject.step:
        return None
    try:
        lines = open_run(subject.run).metrics
    except ReportError as error:
        raise ResultsError(str(error)) from None
    steps = [line for step, line in lines.items() if 0 < step <= subject.step]

    def total(*names: str) -> float:
        return sum(line.get(name) or 0.0 for line in steps for name in names)

    return Cost(
        steps=len(steps),
        hours=total("seconds/step") / 3600,
        episodes=round(total("episodes/played")),
        tokens=round(total("engine/tasks_sampled_tokens", "engine/episodes_sampled_tokens")),
    )
