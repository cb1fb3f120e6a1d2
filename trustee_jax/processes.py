"""Commands of `trustee` as processes, one after another: a crash of one costs that one."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Literal, Self

from rich.console import Console
from rich.markup import escape

from trustee_jax.progress import counted

PROGRAM = (sys.executable, "-m", "trustee_jax")
LOG = "log.txt"
_WIDTH = 100  # of what is under way, beside the bar

State = Literal["complete", "unfinished", "new", "failed"]


@dataclasses.dataclass
class Job(abc.ABC):
    """A command that goes on where it was left, and how far it is.

    Attributes:
      name: What it is called where progress is shown.
      folder: What it writes to; receives its output, too.
      arguments: Of `trustee`.
      note: Why it failed, as its process said last; empty if it did not.
    """

    name: str
    folder: pathlib.Path
    arguments: list[str]
    note: str = dataclasses.field(default="", kw_only=True)

    @abc.abstractmethod
    def complete(self) -> bool:
        """Whether nothing of it is left to do."""

    @abc.abstractmethod
    def begun(self) -> bool:
        """Whether there is something that it would go on from."""

    @abc.abstractmethod
    def progress(self) -> str:
        """How far it is, in words that follow its name."""

    @property
    def state(self) -> State:
        """As the folder has it; whether it has failed only the process that ran it knows."""
        if self.complete():
            return "complete"
        if self.note:
            return "failed"
        return "unfinished" if self.begun() else "new"


class Runner:
    """Runs jobs until one is asked to stop: SIGINT, SIGTERM and SIGHUP reach the job of the moment.

    A job gets SIGINT as it is and the others as SIGTERM: it saves and ends, and the jobs after it
    do not begin. It has a process group of its own, or Ctrl-C would reach it twice, which ends it
    at once; and its output goes through this process, so that it does not outlive it for long.

    Attributes:
      stopped: Whether it was asked to stop.
    """

    def __init__(self) -> None:
        """Before the first job."""
        self.stopped = False
        self._process: subprocess.Popen[str] | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def run(self, job: Job, show: Callable[[str], None]) -> None:
        """Runs it to the end, or as far as it goes; what goes wrong becomes the job's note.

        Args:
          job: Whose folder receives the output, beside all else.
          show: Receives every line of it.
        """
        job.note = ""
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            with (
                (job.folder / LOG).open("a", buffering=1, encoding="utf-8") as log,
                subprocess.Popen(
                    [*PROGRAM, *job.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                    process_group=0,
                ) as process,
            ):
                self._process = process
                if self.stopped:
                    process.terminate()  # asked just before there was one
                last = self._follow(process, log.write, show)
                status = process.wait()
        except OSError as error:
            job.note = f"{job.folder}: {error.strerror or error}"
            return
        finally:
            self._process = None
        if status and not self.stopped:
            job.note = last if status > 0 else f"{signal.Signals(-status).name}; {last}"

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup wants what it starts to go on.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @staticmethod
    def _follow(
        process: subprocess.Popen[str], write: Callable[[str], object], show: Callable[[str], None]
    ) -> str:
        """The last line of the output."""
        last = "it printed nothing"
        assert process.stdout is not None
        for line in process.stdout:
            # A disk without room for it is for the job to complain about.
            with contextlib.suppress(OSError):
                write(line)
            if text := line.strip():
                last = text
                show(text)
        return last

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        if self._process is not None:
            self._process.send_signal(number if number == signal.SIGINT else signal.SIGTERM)


def run_all(jobs: Sequence[Job], label: str, console: Console) -> bool:
    """Runs those that are not complete, in their order, and shows how far they are.

    Args:
      jobs: The jobs.
      label: What they are, in the plural.
      console: Where to.

    Returns:
      Whether it was asked to stop.
    """
    open_jobs = [job for job in jobs if job.state != "complete"]
    with Runner() as runner, counted(label, len(open_jobs), console) as advance:
        for job in open_jobs:
            if runner.stopped:
                break
            runner.run(job, functools.partial(_show, advance, job.name))
            advance(1)
            note = f": {job.note}" if job.note else f" {job.progress()}"
            console.print(f"{job.name}  {job.state}{note}", markup=False, soft_wrap=True)
    return runner.stopped


def _show(advance: Callable[..., None], name: str, line: str) -> None:
    text = f"{name}  {line}"
    advance(0, escape(text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"))
