"""A sweep on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trustee_jax import progress
from trustee_jax.report.figures import Interval
from trustee_jax.report.sweep import FIGURES, SweepRun, intervals, variants

_LOG_WIDTH = 160  # what the table needs
_NAME_WIDTH = 44


def standard_output() -> Console:
    """The console that is the standard output, wide enough for the table where it is a log."""
    return progress.standard_output(_LOG_WIDTH, highlight=False)


def show(runs: Sequence[SweepRun], console: Console) -> None:
    """Prints a table of the variants with their runs, and what became of those that failed.

    Args:
      runs: After `SweepRun.read`.
      console: Where to.
    """
    table = Table(box=rich.box.SIMPLE)
    table.add_column("variant, run", no_wrap=True, overflow="ellipsis", max_width=_NAME_WIDTH)
    table.add_column("steps")
    # What no run has is no column.
    known = [i for i in range(len(FIGURES)) if any(run.figures()[i] is not None for run in runs)]
    for place in known:
        table.add_column(list(FIGURES)[place], justify="right")
    for name, members in variants(runs).items():
        cells = intervals(members)
        table.add_row(Text(name, "bold"), "", *(_interval(cells[i]) for i in known))
        for run in members:
            steps = f"{run.step}/{run.steps}"
            state = steps if run.state == "complete" else f"{steps} {run.state}"
            found = run.figures()
            short = run.name.removeprefix(f"{name},")
            table.add_row(Text(f"  {short}"), state, *(_number(found[i]) for i in known))
    console.print(table)
    for run in runs:
        if run.note:
            console.print(f"{run.name}: {run.note}", markup=False, soft_wrap=True)


def _interval(cell: Interval | None) -> Text:
    if cell is None:
        return Text("-")
    margin = "" if cell.margin is None else f" ± {cell.margin:.2g}"
    return Text(f"{_number(cell.mean)}{margin}", "bold")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
