"""What a run shows on the terminal: a live line where there is one, plain lines in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

import rich.progress
from rich.console import Console

_PLAIN_INTERVAL = 30.0  # seconds between two lines of one phase in a log


class Advance(Protocol):
    """Reports how far a phase is."""

    def __call__(self, done: int, tokens: int = 0) -> None:
        """Shows it.

        Args:
          done: Tasks, episodes or batches that are finished.
          tokens: Tokens that the phase has processed so far.
        """


class Progress:
    """Shows a run's phases as they go, and one lasting line for every finished step.

    A process other than the first makes one with `enabled=False`, which shows nothing.
    """

    def __init__(
        self,
        steps: int,
        *,
        console: Console | None = None,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares the display; it appears when it is entered.

        Args:
          steps: The number of the run's last step.
          console: Where to; None is the standard output.
          enabled: Whether anything is shown.
          clock: Seconds since some moment.
        """
        self._steps = steps
        self._console = console or Console(highlight=False)
        self._enabled = enabled
        self._clock = clock
        self._live: rich.progress.Progress | None = None
        if enabled and self._console.is_terminal:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=24),
                rich.progress.MofNCompleteColumn(),
                rich.progress.TextColumn("{task.fields[speed]}"),
                rich.progress.TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )

    def message(self, text: str) -> None:
        """Shows a line that stays."""
        if self._enabled:
            self._console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def phase(self, step: int, name: str, total: int) -> Iterator[Advance]:
        """Shows one phase of a step while it is entered.

        Args:
          step: The step, from 1.
          name: "tasks", "episodes", "learning".
          total: How many of them there are.

        Yields:
          The function to report with.
        """
        label = f"step {step}/{self._steps}  {name}"
        start = self._clock()
        task = None if self._live is None else self._live.add_task(label, total=total, speed="")
        last, shown = (0, 0), start

        def advance(done: int, tokens: int = 0) -> None:
            nonlocal last, shown
            last = (done, tokens)
            speed = _speed(tokens, self._clock() - start)
            if self._live is not None and task is not None:
                self._live.update(task, completed=done, speed=speed)
            elif done < total and self._clock() - shown >= _PLAIN_INTERVAL:
                shown = self._clock()
                self._plain(label, done, total, speed, shown - start)

        try:
            yield advance
        finally:
            if self._live is not None and task is not None:
                self._live.remove_task(task)
            else:
                seconds = self._clock() - start
                self._plain(label, last[0], total, _speed(last[1], seconds), seconds)

    def finish_step(
        self, step: int, *, reward: float | None, difficulty: float, seconds: float, note: str = ""
    ) -> None:
        """Shows the line of a finished step.

        Args:
          step: The step, from 1.
          reward: Mean reward of its valid episodes; None if there were none.
          difficulty: The difficulty it was played at.
          seconds: How long it took.
          note: Anything else worth a glance, e.g. "7/8 valid".
        """
        shown = "none valid" if reward is None else f"{reward:+.3f}"
        line = (
            f"step {step}/{self._steps}  reward {shown}  difficulty {difficulty:g}  {seconds:.1f} s"
        )
        self.message(f"{line}  {note}" if note else line)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _plain(self, label: str, done: int, total: int, speed: str, seconds: float) -> None:
        self.message(f"{label} {done}/{total}  {speed + '  ' if speed else ''}{seconds:.1f} s")


def _speed(tokens: int, seconds: float) -> str:
    if not tokens or seconds <= 0:
        return ""
    return f"{tokens:,} tokens, {tokens / seconds:,.0f}/s"
