"""`trustee prove`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from absl import flags

from trustee_jax.commands.command_line import RUN, Command, absolute, given, path

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from trustee_jax.evidence.measuring import Measures
    from trustee_jax.evidence.subjects import Subject
    from trustee_jax.processes import Job

_CATEGORIES = ("simple_python", "multiple", "parallel", "irrelevance", "live_simple")
_AGAIN = "base once more"


def _prove(values: flags.FlagValues, run: str) -> None:
    from trustee_jax.evidence.subjects import Asked, EvidenceError, choose
    from trustee_jax.processes import run_all
    from trustee_jax.sweep.show import standard_output

    def folders(name: str) -> list[pathlib.Path]:
        return [absolute(text) for text in given(values, name) or ()]

    workdir = absolute(run)
    measures = _measures(values)
    folder = workdir / "prove"
    asked = Asked(
        control=path(values, "control").absolute() if given(values, "control") else None,
        seed_runs=folders("seed_runs"),
        seeds=_seeds(values),
        others=folders("others"),
    )
    subjects = choose(workdir, folder, given(values, "step"), asked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvidenceError(
            f"{folder} cannot be made ({error.strerror}); make room there"
        ) from None
    console = standard_output()
    trainings = [one.training for one in subjects if one.training and not one.ready]
    if values["print"].value:
        for job in trainings:
            words = shlex.join(["trustee", *job.arguments])
            console.print(words, markup=False, highlight=False, soft_wrap=True)
    elif trainings and run_all(trainings, "trainings", console):
        console.print("stopped; the same command goes on")
        return
    evaluations = _evaluations(subjects, measures, folder)
    jobs = [job for found in evaluations.values() for job in found]
    if run_all(jobs, "evaluations", console):
        console.print("stopped; the same command goes on")
        return
    _write(subjects, evaluations, trainings, folder, console)
    if failed := [job.name for job in (*trainings, *jobs) if job.state == "failed"]:
        raise EvidenceError(
            f"{len(failed)} of {len(trainings) + len(jobs)} failed: {', '.join(failed)}; the "
            "log.txt of each says why, and the same command tries them again"
        )


def _measures(values: flags.FlagValues) -> Measures:
    from trustee_jax.evaluation.board import MULTI_TURN, choose_categories
    from trustee_jax.evaluation.task_set import read_task_set
    from trustee_jax.evidence.findings import CALLS
    from trustee_jax.evidence.measuring import Measures

    categories = choose_categories(given(values, "categories") or ())
    if conversations := [name for name in categories if name in MULTI_TURN]:
        raise flags.Error(
            f"--categories: {conversations[0]} is of conversations, which are read in one way "
            "only; leave it out, and compare it by `trustee eval compare`"
        )
    if not set(categories) & set(CALLS):
        raise flags.Error(
            f"--categories={','.join(given(values, 'categories'))}: name one in which there is "
            "something to call, e.g. simple_python"
        )
    tasks = path(values, "tasks").absolute() if given(values, "tasks") else None
    return Measures(
        categories=categories,
        limit=given(values, "limit"),
        max_tokens=given(values, "max_tokens"),
        max_length=given(values, "max_length"),
        tasks=tasks,
        task_set=None if tasks is None else read_task_set(tasks),
        bfcl_env=given(values, "bfcl_env"),
    )


def _seeds(values: flags.FlagValues) -> list[int]:
    try:
        found = [int(text) for text in given(values, "seeds") or ()]
    except ValueError:
        found = [-1]
    if any(not 0 <= seed < 2**32 for seed in found):
        listed = ",".join(given(values, "seeds"))
        raise flags.Error(f"--seeds={listed}: give whole numbers from 0 to 2**32 - 1")
    return found


def _evaluations(
    subjects: Sequence[Subject], measures: Measures, folder: pathlib.Path
) -> dict[str, list[Job]]:
    """By policy: its benchmark, then its episodes; of those whose checkpoint is there."""
    from trustee_jax.run import read_config

    jobs: dict[str, list[Job]] = {}
    for one in subjects:
        if not one.ready:
            continue
        jobs[one.name] = [measures.benchmark(one, one.name, folder / f"bfcl-{one.label}")]
        if measures.tasks is not None:
            place = folder / f"simulated-{one.label}"
            jobs[one.name].append(measures.simulation(one, f"{one.name}, simulated", place))
    base = subjects[0]
    slots = read_config(base.run).engine.slots
    other = slots // 2 if slots % 2 == 0 else 2 * slots
    jobs[_AGAIN] = [measures.benchmark(base, _AGAIN, folder / "bfcl-base_once_more", other)]
    return jobs


def _write(
    subjects: Sequence[Subject],
    evaluations: Mapping[str, Sequence[Job]],
    trainings: Sequence[Job],
    folder: pathlib.Path,
    console: Console,
) -> None:
    import json

    from trustee_jax.evaluation.results import read_results
    from trustee_jax.evidence import summary
    from trustee_jax.evidence.findings import find, read_measured
    from trustee_jax.evidence.subjects import EvidenceError
    from trustee_jax.report.evidence import write_evidence
    from trustee_jax.report.sweep import SweepRun
    from trustee_jax.storage import storage_errors, write_text

    missing = {job.name: job.note or "not trained" for job in trainings if job.state != "complete"}
    measured = []
    for one in subjects:
        if (jobs := evaluations.get(one.name)) is None:
            missing.setdefault(one.name, "not trained")
        elif wrong := [job for job in jobs if job.state != "complete"]:
            missing[wrong[0].name] = wrong[0].note or "not measured"
        else:
            simulated = jobs[1].folder if len(jobs) > 1 else None
            measured.append(read_measured(one, jobs[0].folder, simulated))
    if [one.subject.role for one in measured[:2]] != ["base", "trained"]:
        whys = "; ".join(f"{name}: {why}" for name, why in missing.items())
        raise EvidenceError(f"the run and its base were not measured ({whys})")
    (again,) = evaluations[_AGAIN]
    twice = read_results(again.folder) if again.state == "complete" else None
    if twice is None:
        missing[again.name] = again.note or "not measured"
    findings = find(measured, twice, missing)
    title = f"Does {folder.parent.name} teach?"
    commands = [
        shlex.join(["trustee", *job.arguments])
        for job in (
            *(one.training for one in subjects if one.training),
            *(job for jobs in evaluations.values() for job in jobs),
        )
    ]
    found = summary.to_json(findings)
    runs = [
        SweepRun(one.name, one.name, one.run, "complete", one.step, one.step).read()
        for one in (each.subject for each in measured)
        if one.step
    ]
    with storage_errors(folder):
        text = json.dumps(found | {"commands": commands}, indent=1, ensure_ascii=False)
        write_text(folder / "prove.json", text + "\n")
        write_text(folder / "prove.md", summary.markdown(findings, title, commands))
    page = folder / "prove.html"
    write_evidence(found, runs, page, title)
    summary.show(findings, console)
    console.print(f"wrote {page}, prove.md, prove.json", markup=False, soft_wrap=True)


def _define(values: flags.FlagValues) -> None:
    texts = {
        "control": "Workdir of the same run with training.shuffle_rewards. If not given, it is "
        "trained in RUN/prove.",
        "tasks": "File that `eval tasks` wrote: the policies play these tasks, too.",
        "bfcl_env": "Folder of the environment of the official checkers, made if it is not there; "
        "in the user's cache if not given.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    lists = {
        "seeds": "Seeds with which the run is trained once more, in RUN/prove.",
        "seed_runs": "Workdirs of the same run with other seeds.",
        "others": "Workdirs of runs of the same base that differ in anything, to be compared.",
    }
    for name, text in lists.items():
        flags.DEFINE_list(name, None, text, flag_values=values)
    flags.DEFINE_list(
        "categories",
        ",".join(_CATEGORIES),
        "Categories of single turns, or groups of them, see `eval bfcl`.",
        flag_values=values,
    )
    numbers = {
        "step": (None, "Which checkpoint of RUN; the newest if not given."),
        "limit": (100, "Cases of each category."),
        "max_tokens": (512, "Longest answer, in tokens."),
        "max_length": (None, "Longest context, in tokens; that of the run if not given."),
    }
    for name, (number, text) in numbers.items():
        flags.DEFINE_integer(name, number, text, 1, 2**32 - 1, flag_values=values)
    flags.DEFINE_bool(
        "print",
        False,
        "Print the commands of the trainings that are not there, to submit them, and go on with "
        "what there is.",
        flag_values=values,
    )


PROVE = Command(
    "prove",
    "Says whether a run has taught anything: its policy, its base, a control that learnt from "
    "shuffled rewards and other seeds, by official checkers, with paired tests, on one page.",
    _prove,
    positionals=(RUN,),
    define=_define,
    examples=(
        "prove runs/quickstart --print",
        "prove runs/teach --control=runs/shuffled --seed_runs=runs/seed1 --tasks=held_out.jsonl",
    ),
)
