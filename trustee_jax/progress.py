"""How far work is: a live line on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Protocol, Self

import rich.progress
from rich.console import Console

_PLAIN_INTERVAL = 30.0  # seconds between two lines in a log
_TABLE_WIDTH = 116  # in a log
_COLUMNS = (
    rich.progress.TextColumn("{task.description}"),
    rich.progress.BarColumn(bar_width=24),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TextColumn("{task.fields[note]}"),
    rich.progress.TimeElapsedColumn(),
)


def standard_output(width: int = _TABLE_WIDTH, *, highlight: bool = True) -> Console:
    """The console that is the standard output, so wide, for tables, where it is a log."""
    console = Console(highlight=highlight)
    return console if console.is_terminal else Console(highlight=highlight, width=width)


class Advance(Protocol):
    """Reports how far a phase is."""

    def __call__(self, done: int, tokens: int = 0) -> None:
        """Shows it.

        Args:
          done: Tasks, episodes or batches that are finished.
          tokens: Tokens that the phase has processed so far.
        """


@contextlib.contextmanager
def counted(
    label: str,
    total: int,
    console: Console | None = None,
    *,
    enabled: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[..., None]]:
    """Shows how many of so many are done.

    Args:
      label: What they are.
      total: How many there will be.
      console: Where to; None is the standard output.
      enabled: Whether anything is shown.
      clock: Seconds since some moment.

    Yields:
      The function to call as they are done: how many more, 1 if not given, and as `note` what is
      under way.
    """
    console = console or Console(highlight=False)
    if console.is_terminal:
        columns = (*_COLUMNS, rich.progress.TimeRemainingColumn())
        with rich.progress.Progress(
            *columns, console=console, transient=True, disable=not enabled
        ) as live:
            task = live.add_task(label, total=total, note="")
            yield lambda more=1, note="": live.update(task, advance=more, note=note)
        return
    start = shown = clock()
    done = 0

    def advance(more: int = 1, note: str = "") -> None:
        nonlocal done, shown
        done += more
        if enabled and more and (clock() - shown >= _PLAIN_INTERVAL or done == total):
            shown = clock()
            left = (shown - start) / done * (total - done)
            console.print(
                f"{label} {done}/{total}  {shown - start:.0f} s, about {left:.0f} s left",
                highlight=False,
            )

    yield advance


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
            self._live = rich.progress.Progress(*_COLUMNS, console=self._console, transient=True)

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
        task = None if self._live is None else self._live.add_task(label, total=total, note="")
        last, shown = (0, 0), start

        def advance(done: int, tokens: int = 0) -> None:
            nonlocal last, shown
            last = (done, tokens)
            speed = _speed(tokens, self._clock() - start)
            if self._live is not None and task is not None:
                self._live.update(task, completed=done, note=speed)
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

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _plain(self, label: str, done: int, total: int, speed: str, seconds: float) -> None:
        self.message(f"{label} {done}/{total}  {speed + '  ' if speed else ''}{seconds:.1f} s")


def _speed(tokens: int, seconds: float) -> str:
    if not tokens or seconds <= 0:
        return ""
    return f"{tokens:,} tokens, {tokens / seconds:,.0f}/s"
