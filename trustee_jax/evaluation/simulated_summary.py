"""The figures of simulated episodes: JSON, Markdown, the terminal."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from trustee_jax.evaluation.simulated import Outcome, summarize
from trustee_jax.evaluation.summary import markdown_table
from trustee_jax.storage import write_text

_COLUMNS = ("episodes", "reward", "success by code", "valid")
_LEGEND = (
    "Reward: mean over the valid episodes, 95% interval by resampling tasks. Success by code: "
    "every expected call carried out with the values of the wish, nothing malformed; no model is "
    "asked; Wilson's 95% interval."
)


def write(outcomes: Sequence[Outcome], meta: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Writes `summary.json` and `summary.md`."""
    rows = [row.to_json() for row in summarize(outcomes)]
    text = json.dumps({"meta": meta, "rows": rows}, indent=1, ensure_ascii=False)
    write_text(folder / "summary.json", text + "\n")
    lines = [f"# Simulated episodes: {meta['identity']['model']}", "", _LEGEND, ""]
    lines += markdown_table([_COLUMNS, *_cells(outcomes)])
    write_text(folder / "summary.md", "\n".join(lines) + "\n")


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Prints the table."""
    table = Table(title="Simulated episodes", box=rich.box.SIMPLE)
    for place, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for cells in _cells(outcomes):
        table.add_row(*cells)
    console.print(_LEGEND, highlight=False)
    console.print(table)


def _cells(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    return [
        (row.name, str(row.reward), str(row.success), str(row.valid)) for row in summarize(outcomes)
    ]
