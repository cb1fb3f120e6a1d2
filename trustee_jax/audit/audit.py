"""`trustee audit`: plants known faults in clean episodes and counts what the verifier says."""

import collections
import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from trustee_jax.audit.faults import FAULTS, Fault, plant
from trustee_jax.audit.judging import (
    CLEAN,
    Journal,
    Judgement,
    Question,
    ask_all,
    second_look,
)
from trustee_jax.audit.recorded import AuditError, Recorded
from trustee_jax.audit.show import show
from trustee_jax.audit.summary import ModeSummary, Reasons, Recital, summarize
from trustee_jax.environment import EnvironmentConfig, ModelJudge
from trustee_jax.environment.driver import SupportsRequests
from trustee_jax.paths import user_path
from trustee_jax.progress import counted, standard_output
from trustee_jax.simulator import CRITERIA, Simulator, prompts
from trustee_jax.storage import replacing
from trustee_jax.streams import Purpose

MODES = ("reasoned", "logprobs", "joint")


@dataclass(frozen=True)
class AuditOptions:
    """What is asked.

    Attributes:
      modes: The verifier's modes, see `JudgeConfig`.
      faults: What is planted.
      second_opinions: How many episodes are judged twice, with all their faults; None: all.
      seed: Decides what the faults look like.
    """

    modes: tuple[str, ...] = ("reasoned", "logprobs")
    faults: tuple[Fault, ...] = FAULTS
    second_opinions: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class AuditedModel:
    """The model whose verdicts are measured.

    Attributes:
      source: Its checkpoint.
      load: Loads it, and makes its engine.
      lanes: Questions that the engine serves at a time.
      context: What its verdicts depend on besides its options, as JSON values.
    """

    source: str
    load: Callable[[], tuple[Simulator, SupportsRequests]]
    lanes: int
    context: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Plan:
    """All questions of an audit.

    Attributes:
      groups: By episode, in an order that lets neighbours share their beginnings.
      not_applicable: Fault -> episodes that have no place for it.
    """

    groups: tuple[tuple[Question, ...], ...]
    not_applicable: Mapping[str, int]


def make_plan(recorded: Sequence[Recorded], options: AuditOptions) -> Plan:
    """Plants the faults and writes down what is to be asked.

    Clean episodes are judged by all criteria. Of a faulty one only what the fault breaks is known
    for certain, so the criteria after the last broken one are not asked for.
    """
    groups = []
    not_applicable: collections.Counter[str] = collections.Counter()
    for number, one in enumerate(recorded):
        variants = [(CLEAN, one.evidence, len(CRITERIA))]
        for fault in options.faults:
            planted = plant(fault, one.evidence, options.seed, number)
            if planted is None:
                not_applicable[fault.name] += 1
            else:
                asked = 1 + max(CRITERIA.index(name) for name in fault.breaks)
                variants.append((fault.name, planted, asked))
        twice = options.second_opinions is None or number < options.second_opinions
        groups.append(_group(number, one.name, variants, options.modes, twice))
    return Plan(tuple(groups), not_applicable)


def run_audit(
    plan: Plan,
    judges: Mapping[str, ModelJudge],
    engine: SupportsRequests,
    *,
    lanes: int,
    journal: Journal | None,
    console: Console,
    judgements: list[Judgement],
) -> None:
    """Asks all questions that the journal does not know the answers to.

    Args:
      plan: The questions.
      judges: The verifier in each mode.
      engine: Its engine.
      lanes: Questions under way at a time.
      journal: Where answers are kept as they come; None: nowhere.
      console: Where progress is shown.
      judgements: Is added to as answers come, so that an interrupted audit has what it has.
    """
    groups: list[list[Question]] = []
    for group in plan.groups:
        open_questions = []
        for question in group:
            known = journal.find(question) if journal is not None else None
            if known is None:
                open_questions.append(question)
            else:
                judgements.append(known)
        if open_questions:
            groups.append(open_questions)
    if judgements:
        console.print(f"{len(judgements)} verdicts are there from before", highlight=False)
    with counted("verdicts", sum(map(len, groups)), console) as advance:

        def note(question: Question, judgement: Judgement) -> None:
            judgements.append(judgement)
            if journal is not None:
                journal.add(question, judgement)
            advance()

        ask_all(groups, judges, engine, lanes=lanes, on_judgement=note)


def audit(
    model: AuditedModel,
    environment: EnvironmentConfig,
    recorded: Sequence[Recorded],
    options: AuditOptions,
    output: Path,
    console: Console | None = None,
) -> dict[str, ModeSummary]:
    """Measures a verifier, prints the tables and writes the report.

    Answers are kept beside the report while it is made: the same audit goes on from them after an
    interruption, which leaves a report of what there was.

    Args:
      model: What judges.
      environment: How it judges, and what it is shown.
      recorded: Clean episodes.
      options: What is asked.
      output: JSON file to write.
      console: Where to; None is the standard output.

    Returns:
      The figures by mode.

    Raises:
      AuditError: The report cannot be written.
      ConfigError: Options do not fit each other, the model or the devices.
      CheckpointError: The model cannot be read.
    """
    console = console or standard_output()
    _check_writable(output)
    plan = make_plan(recorded, options)
    verdicts = sum(map(len, plan.groups))
    parts = sum(q.evidence.task.aspects.criteria for group in plan.groups for q in group)
    console.print(
        f"{len(recorded)} episodes, {verdicts} verdicts of {parts} parts by {model.source}",
        highlight=False,
        soft_wrap=True,
    )
    start = time.monotonic()
    simulator, engine = model.load()
    judges = {mode: _in_mode(simulator, environment, mode) for mode in options.modes}
    context = _context(model, simulator, environment)
    journal = Journal(output.with_name(output.name + ".journal.jsonl"), context)
    judgements: list[Judgement] = []
    complete = False
    try:
        run_audit(
            plan,
            judges,
            engine,
            lanes=model.lanes,
            journal=journal,
            console=console,
            judgements=judgements,
        )
        complete = True
    finally:
        # In the plan's order, whatever the order in which they came.
        order = {_name(q): i for i, q in enumerate(q for group in plan.groups for q in group)}
        judgements.sort(key=lambda judgement: order[_name(judgement)])
        summaries = summarize(judgements)
        if judgements:
            report = {
                "complete": complete,
                "model": model.source,
                "device": jax.devices()[0].device_kind,
                "seconds": round(time.monotonic() - start, 1),
                "seed": options.seed,
                "verifier": dataclasses.asdict(simulator.config.verifier),
                "judge": dataclasses.asdict(environment.judge),
                "episodes": [one.name for one in recorded],
                "not_applicable": dict(plan.not_applicable),
                "modes": {mode: _json(summary) for mode, summary in summaries.items()},
                "judgements": [judgement.to_json() for judgement in judgements],
            }
            _write(output, report)
    show(summaries, plan.not_applicable, console)
    journal.close()
    console.print(f"wrote {output}", highlight=False, soft_wrap=True)
    return summaries


def _group(
    number: int,
    name: str,
    variants: Sequence[tuple[str, Any, int]],
    modes: Sequence[str],
    twice: bool,
) -> tuple[Question, ...]:
    same: list[Question] = []
    reordered: list[Question] = []
    for place, (variant, evidence, criteria) in enumerate(variants):
        aspects = dataclasses.replace(evidence.task.aspects, criteria=criteria)
        task = dataclasses.replace(evidence.task, aspects=aspects)
        evidence = dataclasses.replace(evidence, task=task)
        for mode in modes:
            for sample in (0, 1) if twice else (0,):
                # Nothing is drawn in this mode: the same question would get the same answer.
                other = sample == 1 and mode == "logprobs"
                (reordered if other else same).append(
                    Question(
                        name,
                        variant,
                        mode,
                        sample,
                        second_look(evidence) if other else evidence,
                        (Purpose.AUDIT, MODES.index(mode), sample, number, place),
                    )
                )
    return (*same, *reordered)


def _name(one: Question | Judgement) -> tuple[str, str, str, int]:
    return one.episode, one.variant, one.mode, one.sample


def _in_mode(simulator: Simulator, environment: EnvironmentConfig, mode: Any) -> ModelJudge:
    judge = dataclasses.replace(environment.judge, mode=mode, rules=True)
    return ModelJudge(simulator, dataclasses.replace(environment, judge=judge))


def _context(
    model: AuditedModel, simulator: Simulator, environment: EnvironmentConfig
) -> dict[str, Any]:
    """What every verdict depends on besides its question."""
    folders = [Path(prompts.__file__).with_name("prompts")]
    if simulator.config.prompts is not None:
        folders.insert(0, user_path(simulator.config.prompts))
    template = next(file for f in folders if (file := f / "verifier.jinja").is_file())
    return {
        "source": model.source,
        **model.context,
        "max_length": simulator.max_length,
        "simulator": dataclasses.asdict(simulator.config),
        "environment": dataclasses.asdict(environment),
        "template": template.read_text(encoding="utf-8"),
    }


def _json(summary: ModeSummary) -> dict[str, Any]:
    def group(name: str, one: Any) -> dict[str, Any]:
        return {
            "breaks" if name != CLEAN else "criteria": list(one.criteria),
            "model": one.model.to_json(),
            "with_vetoes": one.vetoed.to_json(),
            "by_criterion": {
                criterion: {
                    "model": one.by_model[criterion].to_json(),
                    "with_vetoes": one.by_veto[criterion].to_json(),
                }
                for criterion in one.criteria
            },
            "less_probable_than_clean": {
                criterion: rate.to_json() for criterion, rate in one.ranked.items()
            },
            "unavailable": one.unavailable,
        }

    return {
        "faults": {name: group(name, one) for name, one in summary.faults.items()},
        "clean": group(CLEAN, summary.clean),
        "agreement": {
            "same": summary.agreement.same.to_json(),
            "kappa": summary.agreement.kappa,
        },
        "recital": summary.recital and _recital_json(summary.recital),
        "calibration": summary.calibration and dataclasses.asdict(summary.calibration),
        "calibration_by_criterion": {
            name: dataclasses.asdict(found) for name, found in summary.by_criterion.items()
        },
    }


def _recital_json(recital: Recital) -> dict[str, Any]:
    def reasons(one: Reasons) -> dict[str, Any]:
        return {name: rate.to_json() for name, rate in vars(one).items()}

    return {
        "recited": recital.recited.to_json(),
        "reciting": reasons(recital.reciting),
        "others": reasons(recital.others),
    }


def _check_writable(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise AuditError(f"{path} cannot be written; name a file in an existing folder: --output")


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Atomic: a reader sees the old file or the new one."""
    with replacing(path) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
