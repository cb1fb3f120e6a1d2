"""The folder of one run: who owns it, and where everything in it is."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from trustee_jax.errors import InputError
from trustee_jax.options import flatten
from trustee_jax.paths import user_path
from trustee_jax.storage import Closing, write_text

# Options that a resumed run may change. Those before "mesh." say how far and how safely it runs:
# it goes on bit for bit. The others say on how many devices, and how much at once, so that it can
# go on with more or fewer of them: the same but for rounding, and for which of several draws of a
# task ends first. A trailing dot stands for the whole section.
CHANGEABLE = (
    "training.steps",
    "training.checkpoint_every",
    "training.keep_last",
    "training.keep_best",
    "training.prepare_tasks",
    "training.release_cache",
    "evaluation.",
    "learner.max_skipped_updates",
    "mesh.",
    "model.remat",
    "learner.attention",
    "engine.slots",
    "engine.cache_tokens",
    "engine.page_size",
    "engine.prefill_rows",
    "engine.prefill_tokens",
    "engine.prefill_budget",
    "engine.decode_steps",
    "environment.tool_threads",
    "learner.rows_per_micro_batch",
    "learner.logprob_chunk",
)
_ABSENT = "(no such option)"


class WorkdirError(InputError):
    """A folder cannot be this run's: it holds another run, or one that is still going on."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths in a workdir.

    Attributes:
      root: The workdir itself, absolute.
    """

    root: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """All options of the run, as JSON."""
        return self.root / "config.json"

    @property
    def checkpoints(self) -> pathlib.Path:
        """One folder per checkpoint, named by its step."""
        return self.root / "checkpoints"

    @property
    def tensorboard(self) -> pathlib.Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def metrics(self) -> pathlib.Path:
        """The scalars, one line a step."""
        return self.root / "metrics.jsonl"

    @property
    def evaluation(self) -> pathlib.Path:
        """Folders of evaluations, case by case."""
        return self.root / "eval"

    @property
    def evaluations(self) -> pathlib.Path:
        """What evaluations during the run found, one line each."""
        return self.root / "evaluations.jsonl"

    @property
    def episodes(self) -> pathlib.Path:
        """Every episode, one line each."""
        return self.root / "episodes.jsonl"


class Workdir(Closing):
    """A claimed workdir. While it is entered, no other process of this machine can claim it."""

    def __init__(
        self, path: str | os.PathLike[str], options: Mapping[str, Any], *, primary: bool
    ) -> None:
        """Claims the folder, if it is this run's or nobody's; `record` makes it this run's.

        Args:
          path: The folder; created if need be.
          options: Those of the run, by their names, sections as mappings.
          primary: Whether this is the process that writes (`jax.process_index() == 0`).

        Raises:
          WorkdirError: It belongs to a run with other options, or to one that is still going on,
            or is no folder.
        """
        self.layout = Layout(user_path(path).absolute())
        self._lock: int | None = None
        self._unrecorded = options if primary else None
        try:
            self.layout.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkdirError(
                f"{self.layout.root} cannot be a workdir ({error.strerror}); choose another folder"
            ) from None
        if primary:
            self._acquire()
        try:
            #: Whether an earlier process worked on this run.
            self.resumed = self.layout.config.exists()
            if self.resumed:
                _check_same_run(self.layout, options)
            elif saved_steps(self.layout):
                raise WorkdirError(
                    f"{self.layout.root} has checkpoints, but no {self.layout.config.name} that "
                    "says which options they are of; restore it, or choose another workdir"
                )
        except BaseException:
            self.close()
            raise

    def record(self) -> None:
        """Makes the folder this run's; call it when there is something in it to go on from.

        Not earlier: options that turn out wrong must not bind the corrected ones to another folder.
        """
        if self._unrecorded is not None:
            text = json.dumps(self._unrecorded, indent=2)
            write_text(self.layout.config, text + "\n")
            self._unrecorded = None

    def close(self) -> None:
        """Lets others claim it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _acquire(self) -> None:
        # The lock ends with the process, however that ends.
        self._lock = os.open(self.layout.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise WorkdirError(
                f"{self.layout.root} is in use by a run that is still going on; "
                "stop that one first, or choose another workdir"
            ) from None
        except OSError:
            # Some network file systems have no locks.
            pass


def read_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options of the run in a workdir, as they were given to `Workdir`.

    Raises:
      WorkdirError: The folder holds no run.
    """
    return _read_json(Layout(user_path(path).absolute()))


def saved_steps(layout: Layout) -> list[int]:
    """The steps of a workdir's complete checkpoints, ascending: others have other names."""
    names = (path.name for path in layout.checkpoints.glob("*"))
    return sorted(int(name) for name in names if name.isdecimal())


def holds_run(
    path: str | os.PathLike[str],
    options: Mapping[str, Any],
    *,
    undecided: Collection[str] = (),
) -> bool:
    """Whether a folder holds the run with these options, without claiming it.

    Args:
      path: The folder, which need not exist.
      options: As they would be given to `Workdir`.
      undecided: Dotted names of those that only the process of the run will decide.

    Returns:
      Whether a run goes on there; if not, it would be a new one.

    Raises:
      WorkdirError: It belongs to a run with other options.
    """
    layout = Layout(user_path(path).absolute())
    if not layout.config.exists():
        return False
    _check_same_run(layout, options, undecided)
    return True


def other_options(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """In what two runs differ, apart from what a resumed run may change.

    Args:
      a: Options of a run, as `read_options` returns them.
      b: Those of another one.

    Returns:
      Dotted name -> the values of both.
    """
    of_a, of_b = flatten(a), flatten(b)
    values = {
        name: (of_a.get(name, _ABSENT), of_b.get(name, _ABSENT))
        for name in dict.fromkeys([*of_b, *of_a])
        if not _may_change(name)
    }
    return {name: both for name, both in values.items() if both[0] != both[1]}


def _check_same_run(
    layout: Layout, options: Mapping[str, Any], undecided: Collection[str] = ()
) -> None:
    differences = [
        f"{name}: {saved!r} there, {given!r} given"
        for name, (saved, given) in other_options(_read_json(layout), options).items()
        if name not in undecided
    ]
    if differences:
        raise WorkdirError(
            f"{layout.root} belongs to a run with other options:\n  "
            + "\n  ".join(differences)
            + "\nGive the same options to go on with that run, or choose another workdir. "
            f"What may change: {', '.join(CHANGEABLE).replace('mesh.', 'mesh.*')}"
        )


def _may_change(name: str) -> bool:
    sections = tuple(entry for entry in CHANGEABLE if entry.endswith("."))
    return name in CHANGEABLE or name.startswith(sections)


def _read_json(layout: Layout) -> dict[str, Any]:
    try:
        return json.loads(layout.config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkdirError(
            f"{layout.root} holds no run (no {layout.config.name}); name the workdir of a training "
            "that has completed its first step"
        ) from None
    except ValueError as error:
        raise WorkdirError(f"{layout.config} is not JSON ({error}); restore or delete it") from None
