"""From judgements to the figures of an audit."""

import collections
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trustee_jax.audit.faults import FAULTS
from trustee_jax.audit.judging import CLEAN, Judgement
from trustee_jax.audit.measures import Calibration, calibration, kappa
from trustee_jax.environment import CriterionVerdict, Verdict
from trustee_jax.rates import Rate
from trustee_jax.simulator import CRITERIA


@dataclass
class Group:
    """The verdicts on one kind of episode: clean ones, or those with one fault.

    A verdict that finds a criterion not met is right where a fault was planted (it is caught), and
    wrong on a clean episode.

    Attributes:
      criteria: Those whose truth is known.
      model: Verdicts in which the model found at least one of them not met.
      vetoed: Verdicts in which the model or a deterministic check did.
      by_model: The same, by criterion.
      by_veto: The same, by criterion.
      ranked: By criterion, in how many episodes its probability is lower than without the fault:
        what matters where episodes of one task are compared with each other. Half are by chance;
        empty for clean episodes.
      unavailable: Verdicts that could not be had, by cause; in none of the rates.
    """

    criteria: tuple[str, ...]
    model: Rate
    vetoed: Rate
    by_model: dict[str, Rate]
    by_veto: dict[str, Rate]
    ranked: dict[str, Rate]
    unavailable: dict[str, int]


@dataclass
class Agreement:
    """How often a second opinion was the same, criterion by criterion.

    Attributes:
      same: Answers of the model that agree.
      kappa: Agreement beyond chance; see `measures.kappa`.
    """

    same: Rate
    kappa: float | None


@dataclass
class Reasons:
    """What answers are worth whose reasons are of one kind.

    Attributes:
      met: Answers that find their criterion met.
      right: Answers that are the truth, where it is known.
      same: Answers that a second opinion agrees with.
    """

    met: Rate
    right: Rate
    same: Rate


@dataclass
class Recital:
    """How often reasons only recite the question, and what that does to the answers.

    Attributes:
      recited: Answers whose reasons do, of all that have reasons.
      reciting: What these answers are worth.
      others: What the other ones are worth.
    """

    recited: Rate
    reciting: Reasons
    others: Reasons


@dataclass
class ModeSummary:
    """What one mode of the verifier is worth.

    Attributes:
      faults: By name, in their order; only those that were planted.
      clean: The clean episodes.
      agreement: Of two opinions.
      recital: Of reasons that recite the question; None where none were asked for.
      calibration: Of the probabilities, over criteria whose truth is known; None without any.
      by_criterion: The same for each criterion.
    """

    faults: dict[str, Group]
    clean: Group
    agreement: Agreement
    recital: Recital | None
    calibration: Calibration | None
    by_criterion: dict[str, Calibration]


def summarize(judgements: Iterable[Judgement]) -> dict[str, ModeSummary]:
    """The figures of each mode, in the order in which the modes first appear."""
    modes: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        modes.setdefault(judgement.mode, []).append(judgement)
    return {mode: _summarize(listed) for mode, listed in modes.items()}


def _summarize(judgements: Sequence[Judgement]) -> ModeSummary:
    first = [j for j in judgements if j.sample == 0]
    variants = {j.variant for j in first}
    breaks = {fault.name: fault.breaks for fault in FAULTS if fault.name in variants}
    known = {CLEAN: CRITERIA, **breaks}
    pooled: dict[str, list[tuple[float, bool]]] = {name: [] for name in CRITERIA}
    for judgement in first:
        for part in judgement.verdict.parts if judgement.verdict else ():
            if part.criterion in known[judgement.variant] and part.probability is not None:
                pooled[part.criterion].append((part.probability, judgement.variant == CLEAN))
    by_variant: dict[str, list[Judgement]] = {}
    for judgement in first:
        by_variant.setdefault(judgement.variant, []).append(judgement)
    clean = by_variant.get(CLEAN, [])
    return ModeSummary(
        faults={
            name: _group(criteria, by_variant[name], clean) for name, criteria in breaks.items()
        },
        clean=_group(CRITERIA, clean, ()),
        agreement=_agreement(judgements),
        recital=_recital(judgements, known),
        calibration=_calibration(list(itertools.chain(*pooled.values()))),
        by_criterion={
            name: found
            for name, pairs in pooled.items()
            if (found := _calibration(pairs)) is not None
        },
    )


def _calibration(pairs: Sequence[tuple[float, bool]]) -> Calibration | None:
    return calibration([p for p, _ in pairs], [met for _, met in pairs])


def _group(
    criteria: tuple[str, ...], judgements: Sequence[Judgement], clean: Sequence[Judgement]
) -> Group:
    verdicts = [j.verdict for j in judgements if j.verdict is not None]
    alone = [_by_model(verdict) for verdict in verdicts]
    vetoed = [verdict.criteria for verdict in verdicts]
    causes = collections.Counter(j.failure for j in judgements if j.failure is not None)
    return Group(
        criteria=criteria,
        model=_failed(alone, criteria),
        vetoed=_failed(vetoed, criteria),
        by_model={name: _failed(alone, (name,)) for name in criteria},
        by_veto={name: _failed(vetoed, (name,)) for name in criteria},
        ranked={name: _lower(name, judgements, clean) for name in criteria if clean},
        unavailable=dict(causes),
    )


def _failed(answers: Sequence[Mapping[str, bool]], criteria: Sequence[str]) -> Rate:
    failed = sum(not all(answer[name] for name in criteria) for answer in answers)
    return Rate(failed, len(answers))


def _lower(criterion: str, faulty: Sequence[Judgement], clean: Sequence[Judgement]) -> Rate:
    def probabilities(judgements: Sequence[Judgement]) -> dict[str, float]:
        return {
            judgement.episode: part.probability
            for judgement in judgements
            for part in (judgement.verdict.parts if judgement.verdict else ())
            if part.criterion == criterion and part.probability is not None
        }

    before, after = probabilities(clean), probabilities(faulty)
    both = before.keys() & after.keys()
    return Rate(sum(after[name] < before[name] for name in both), len(both))


def _by_model(verdict: Verdict) -> dict[str, bool]:
    return {part.criterion: part.met for part in verdict.parts}


def _agreement(judgements: Iterable[Judgement]) -> Agreement:
    both: dict[tuple[str, str], dict[int, dict[str, bool]]] = {}
    for j in judgements:
        if j.verdict is not None:
            both.setdefault((j.episode, j.variant), {})[j.sample] = _by_model(j.verdict)
    pairs = [
        (samples[0][name], samples[1][name])
        for samples in both.values()
        if len(samples) == 2
        for name in samples[0]
    ]
    return Agreement(Rate(sum(a == b for a, b in pairs), len(pairs)), kappa(pairs))


def _recital(judgements: Sequence[Judgement], known: Mapping[str, Sequence[str]]) -> Recital | None:
    """Compares answers whose reasons recite the question with the others.

    Args:
      judgements: Of one mode, second opinions included.
      known: Variant -> criteria whose truth is known: met in clean episodes, else not.
    """
    second = {
        (j.episode, j.variant): _by_model(j.verdict)
        for j in judgements
        if j.sample == 1 and j.verdict is not None
    }
    kinds: dict[bool, list[tuple[Judgement, CriterionVerdict]]] = {True: [], False: []}
    for j in judgements:
        for part in j.verdict.parts if j.verdict is not None and j.sample == 0 else ():
            if part.reasoning:
                kinds[part.recites].append((j, part))

    def worth(pairs: Sequence[tuple[Judgement, CriterionVerdict]]) -> Reasons:
        right = [p.met == (j.variant == CLEAN) for j, p in pairs if p.criterion in known[j.variant]]
        same = [
            p.met == other[p.criterion]
            for j, p in pairs
            if (other := second.get((j.episode, j.variant))) is not None
        ]
        met = [p.met for _, p in pairs]
        return Reasons(*(Rate(sum(listed), len(listed)) for listed in (met, right, same)))

    answers = sum(map(len, kinds.values()))
    if not answers:
        return None
    return Recital(Rate(len(kinds[True]), answers), worth(kinds[True]), worth(kinds[False]))
