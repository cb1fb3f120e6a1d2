"""The policies that are compared: the run's own before and after, its control, other seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from trustee_jax.errors import InputError
from trustee_jax.sweep.training import Training
from trustee_jax.training.workdir import Layout, other_options, read_options, saved_steps

Role = Literal["base", "trained", "control", "seed", "other"]
SHUFFLED, SEED = "training.shuffle_rewards", "seed"
# What the answers of an untrained policy depend on.
_OF_THE_BASE = (
    "model.source",
    "model.dtype",
    "model.quantization",
    "model.call_syntax",
    "environment.policy.thinking",
    "environment.policy.history",
)


class EvidenceError(InputError):
    """What was asked for proves nothing: a run is not what it is given as."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A policy that is measured.

    Attributes:
      name: In tables.
      role: What it is in the comparison.
      run: The workdir of its run.
      step: Of its checkpoint; 0 is before training.
      differs: In which options its run differs from the one that is looked at, with their values.
      training: What makes its run, of those that are trained for the comparison.
    """

    name: str
    role: Role
    run: pathlib.Path
    step: int
    differs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Training | None = None

    @property
    def label(self) -> str:
        """Of folders of its results; another run's of the same name have another one."""
        parts = [self.name.replace(" ", "_")]
        if self.step:
            parts.append(f"step{self.step:06d}")
        if self.role not in ("base", "trained") and self.training is None:
            parts.append(hashlib.sha256(str(self.run).encode()).hexdigest()[:8])
        return "-".join(parts)

    @property
    def ready(self) -> bool:
        """Whether its checkpoint is there."""
        return not self.step or self.step in saved_steps(Layout(self.run))


@dataclasses.dataclass(frozen=True)
class Asked:
    """Which runs are compared with the one that is looked at.

    Attributes:
      control: Workdir of the same run with shuffled rewards; None trains one.
      seed_runs: Workdirs of the same run with other seeds.
      seeds: Seeds with which it is trained once more.
      others: Workdirs of runs of the same base, whatever else they differ in.
    """

    control: pathlib.Path | None = None
    seed_runs: Sequence[pathlib.Path] = ()
    seeds: Sequence[int] = ()
    others: Sequence[pathlib.Path] = ()


def choose(
    run: pathlib.Path, folder: pathlib.Path, step: int | None, asked: Asked
) -> list[Subject]:
    """The policies, the base first.

    Args:
      run: Workdir of the run that is looked at.
      folder: Where further runs are trained.
      step: Which checkpoint of it; None for the newest. Runs that are given are taken at their own
        newest one.
      asked: What it is compared with.

    Raises:
      EvidenceError: A run has no such checkpoint, or is not what it is given as.
      WorkdirError: A folder holds no run.
    """
    options = read_options(run)
    if options["training"].get("shuffle_rewards"):
        raise EvidenceError(f"{run} learnt from shuffled rewards: it is a control; name its run")
    step = _step(run, step)
    subjects = [Subject("base", "base", run, 0), Subject("trained", "trained", run, step)]
    if asked.control is None:
        subjects.append(_trained("shuffled rewards", "control", SHUFFLED, True, run, step, folder))
    else:
        given = _given("shuffled rewards", "control", asked.control, options, {SHUFFLED})
        subjects.append(given)
    subjects += [
        _given(f"seed {read_options(path).get(SEED)}", "seed", path, options, {SEED})
        for path in asked.seed_runs
    ]
    known = {options.get(SEED), *(one.differs[SEED] for one in subjects if one.role == "seed")}
    subjects += [
        _trained(f"seed {seed}", "seed", SEED, seed, run, step, folder)
        for seed in dict.fromkeys(asked.seeds)
        if seed not in known
    ]
    subjects += [_given(path.name, "other", path, options, None) for path in asked.others]
    names = [subject.name for subject in subjects]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise EvidenceError(
            f"two runs are called {twice[0]!r}; leave one out, or rename its folder"
        )
    return subjects


def _step(run: pathlib.Path, wanted: int | None) -> int:
    saved = saved_steps(Layout(run))
    if not saved:
        raise EvidenceError(f"{run} has no checkpoint yet; train it first")
    if wanted is not None and wanted not in saved:
        listed = ", ".join(map(str, saved))
        raise EvidenceError(f"{run} has no checkpoint of step {wanted}; there are: {listed}")
    return saved[-1] if wanted is None else wanted


def _given(
    name: str,
    role: Role,
    path: pathlib.Path,
    options: Mapping[str, Any],
    only: set[str] | None,
) -> Subject:
    found = other_options(options, read_options(path))
    differs = {option: values[1] for option, values in found.items()}
    if only is not None and (wrong := [option for option in found if option not in only]):
        there, here = found[wrong[0]]
        raise EvidenceError(
            f"{path} is no {'control' if role == 'control' else 'other seed'} of the run: it has "
            f"{wrong[0]} = {here!r}, the run {there!r}; give it by --others"
        )
    if only and not differs:
        (option,) = only
        raise EvidenceError(f"{path} has the same {option} as the run; name another run")
    for option in _OF_THE_BASE:
        if option in found:
            there, here = found[option]
            raise EvidenceError(
                f"{path} has another base: {option} = {here!r}, the run {there!r}; leave it out"
            )
    return Subject(name, role, path, _step(path, None), differs)


def _trained(
    name: str,
    role: Role,
    option: str,
    value: Any,
    run: pathlib.Path,
    step: int,
    folder: pathlib.Path,
) -> Subject:
    workdir = folder / name.replace(" ", "_")
    words = [f"--config={run}", f"--config.{option}={value}", f"--config.training.steps={step}"]
    arguments = ["train", *words, f"--workdir={workdir}"]
    training = Training(name, workdir, arguments, step)
    return Subject(name, role, workdir, step, {option: value}, training)
