"""`trustee sweep`."""

from __future__ import annotations

import dataclasses
import os
import shlex
from typing import TYPE_CHECKING

from absl import flags

from trustee_jax.commands import config_flag
from trustee_jax.commands.command_line import Command, Positional, absolute
from trustee_jax.errors import ConfigError, InputError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from rich.console import Console

    from trustee_jax.config import Config
    from trustee_jax.sweep.space import Member, Sweep
    from trustee_jax.sweep.training import Training


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "Folder of the runs' folders, made if need be.", flag_values=values
    )
    flags.DEFINE_bool(
        "print",
        False,
        "Print the commands of the runs that are not complete, to submit them, and run none.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "report", False, "Only show and write what there is, and run none.", flag_values=values
    )


def _sweep(values: flags.FlagValues, file: str) -> None:
    from trustee_jax.sweep import SweepError, space

    if values["print"].value and values["report"].value:
        raise flags.Error("--print and --report: give one of them")
    workdir = str(values["workdir"].value)
    sweep = space.read(file)
    try:
        config_flag.read([f"--config={sweep.base}"])
    except (flags.Error, InputError) as error:
        # absl adds a traceback to what some files raise.
        first, *rest = (line for line in str(error).splitlines() if line.strip())
        text = " ".join([first, *rest[-1:]])
        raise SweepError(f"{file}: BASE: {text}") from None
    jobs = [_job(sweep, member, workdir) for member in sweep.members]
    if values["print"].value:
        for job in jobs:
            if job.state != "complete":
                print(shlex.join(["trustee", *job.arguments]))
        return
    folder = absolute(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"--workdir={workdir}: {error.strerror}; choose another") from None
    from trustee_jax.processes import run_all
    from trustee_jax.sweep.show import standard_output

    console = standard_output()
    stopped = not values["report"].value and run_all(jobs, "runs", console)
    _report(sweep, jobs, folder, console)
    if stopped:
        console.print("stopped; the same command goes on")
    if failed := [job.name for job in jobs if job.state == "failed"]:
        raise SweepError(
            f"{len(failed)} of {len(jobs)} runs failed: {' '.join(failed)}; the log.txt of each "
            "says why, and the same command tries them again"
        )


def _job(sweep: Sweep, member: Member, workdir: str) -> Training:
    """A run that can begin, or go on: its options fit, and its folder is its own."""
    from trustee_jax.sweep import SweepError
    from trustee_jax.sweep.training import Training
    from trustee_jax.training.workdir import holds_run

    folder = os.path.join(workdir, member.name)
    words = [f"--config={sweep.base}", *member.flags()]
    try:
        config = _config(words, member)
        holds_run(folder, dataclasses.asdict(config), undecided=_undecided(config))
    except (flags.Error, InputError) as error:
        text = " ".join(str(error).split())
        raise SweepError(f"{sweep.file}, run {member.name}: {text}") from None
    arguments = ["train", *words, f"--workdir={folder}"]
    return Training(member.name, absolute(folder), arguments, config.training.steps)


def _config(words: list[str], member: Member) -> Config:
    """What `trustee train` makes of the flags, which must be what the sweep's file means."""
    from trustee_jax import config as run_config
    from trustee_jax.options import flatten

    known = run_config.all_options()
    for name, value in member.options.items():
        if inner := next((option for option in known if option.startswith(f"{name}.")), None):
            raise ConfigError(name, value, f"it is a section; name an option, e.g. {inner}")
        if name not in known:
            raise run_config.unknown_option(name, value)
    config = run_config.parse(config_flag.read(words))
    found = flatten(config)
    for name, value in member.options.items():
        if found[name] == (list(value) if isinstance(value, tuple) else value):
            continue
        fix = f"write {run_config.expected_type(name)}"
        if value is None:
            fix = f"BASE has {found[name]!r}, which no flag takes back; leave it out there"
        raise ConfigError(name, value, fix)
    return config


def _undecided(config: Config) -> set[str]:
    """Options that the platform decides, which only the process of a run may ask for."""
    cpu, other = (dataclasses.asdict(config.model.resolved(name)) for name in ("cpu", "tpu"))
    return {f"model.{name}" for name in cpu if cpu[name] != other[name]}


def _report(sweep: Sweep, jobs: Sequence[Training], folder: pathlib.Path, console: Console) -> None:
    from trustee_jax.config import all_options
    from trustee_jax.report.sweep import SweepRun, write_sweep
    from trustee_jax.sweep.show import show

    runs = [
        SweepRun(
            job.name, member.variant, job.folder, job.state, job.step, job.steps, job.note
        ).read()
        for member, job in zip(sweep.members, jobs, strict=True)
    ]
    show(runs, console)
    page = write_sweep(
        runs, folder, base=sweep.base, file=sweep.file, defaults=all_options(), console=console
    )
    console.print(f"wrote {page}", markup=False, soft_wrap=True)


SWEEP = Command(
    "sweep",
    "Trains the runs that a file lists, one after another, and compares them: a table, and a page "
    "with intervals over seeds. Those that are complete are left alone, others go on.",
    _sweep,
    positionals=(
        Positional(
            "FILE", "Python file with BASE, a config file, and sweep(), which returns the options."
        ),
    ),
    define=_define,
    required=("workdir",),
    examples=(
        "sweep configs/sweeps/learning_rate.py --workdir=runs/learning_rate",
        "sweep configs/sweeps/learning_rate.py --workdir=runs/learning_rate --print",
    ),
)
