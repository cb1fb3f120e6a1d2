"""The figures of an evaluation and of a comparison: JSON, Markdown, the terminal, TensorBoard."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from trustee_jax.evaluation.board import OVERALL, Score, scores
from trustee_jax.evaluation.pairs import Comparison, Difference, Pair
from trustee_jax.evaluation.play import READINGS
from trustee_jax.evaluation.results import Results
from trustee_jax.rates import Rate
from trustee_jax.storage import write_text

_LEGEND = (
    "Right answers, with Wilson's 95% interval; below, the official board's weighted means of what "
    "was measured.\n"
    "Strict: calls in the model's own form. Lenient: in any form that a reader would accept.\n"
    "Refused: the context was full. Checker: it hung, died or failed. Both count as wrong."
)
Rows = list[tuple[str, ...]]


def summarize(results: Results) -> dict[str, Any]:
    """All figures, as JSON values."""
    errors = _errors(results)
    rates = {reading: results.rates(reading) for reading in READINGS}
    sizes = results.meta["sizes"]
    categories = {
        category: {
            "size": size,
            **{reading: _json(rates[reading].get(category)) for reading in READINGS},
            "errors": errors.get(category, {}),
        }
        for category, size in sizes.items()
        if any(category in found for found in rates.values())
    }
    board = {
        reading: {name: score.to_json() for name, score in scores(found, sizes).items()}
        for reading, found in rates.items()
    }
    return {"meta": results.meta, "categories": categories, "board": board}


def write(results: Results, folder: pathlib.Path) -> None:
    """Writes `summary.json` and `summary.md`."""
    text = json.dumps(summarize(results), indent=1, ensure_ascii=False)
    write_text(folder / "summary.json", text + "\n")
    identity = results.meta["identity"]
    title = " ".join(str(identity[name]) for name in ("model", "step") if identity.get(name))
    lines = [f"# BFCL: {title}", "", *_LEGEND.splitlines(), "", *markdown_table(_rows(results))]
    lines += ["", *(f"- {name}: `{value}`" for name, value in identity.items()), ""]
    write_text(folder / "summary.md", "\n".join(lines))


def show(results: Results, console: Console) -> None:
    """Prints the table."""
    console.print(_LEGEND, highlight=False)
    console.print(_table(_rows(results), "BFCL"))


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the tables of a comparison."""
    console.print(_table(_pair_rows(comparison), "B against A, case by case"))
    console.print(
        "p: exact McNemar test; intervals: 95%, by resampling cases. "
        f"Left out: {comparison.only_in_a} cases of A alone, {comparison.only_in_b} of B alone.",
        highlight=False,
    )


def write_tensorboard(results: Results, folder: pathlib.Path, step: int) -> None:
    """Adds the shares as scalars of a run.

    They are in a folder beside the run's own event files: TensorBoard reads on in the newest file
    of a folder only, and the run may be writing.

    Args:
      results: What was measured.
      folder: The run's `tensorboard`.
      step: Of the policy that was measured.
    """
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder / "eval")) as writer:
        for reading in READINGS:
            suffix = "" if reading == "strict" else f"_{reading}"
            rates = results.rates(reading)
            board = scores(rates, results.meta["sizes"])
            values = {name: rate.share for name, rate in rates.items()}
            values |= {name: score.value for name, score in board.items()}
            for name, value in values.items():
                writer.add_scalar(f"eval/bfcl{suffix}/{name}", value, step)


def _errors(results: Results) -> dict[str, dict[str, int]]:
    """Category -> kind of error -> cases."""
    counts: dict[str, dict[str, int]] = {}
    for record in results.records.values():
        if record.error:
            kinds = counts.setdefault(record.category, {})
            kind = record.error.partition(":")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
    return counts


def _rows(results: Results) -> Rows:
    """Header, a row for each category, and one for each of the board's figures."""
    errors = _errors(results)
    rates = {reading: results.rates(reading) for reading in READINGS}
    board = {reading: scores(found, results.meta["sizes"]) for reading, found in rates.items()}
    rows: Rows = [("category", "strict", "lenient", "refused", "checker")]
    for category in dict.fromkeys(name for found in rates.values() for name in found):
        shares = (str(rates[reading].get(category, "-")) for reading in READINGS)
        kinds = errors.get(category, {})
        lost = (str(kinds.get(kind, 0)) for kind in ("refused", "checker"))
        rows.append((category, *shares, *lost))
    for figure in dict.fromkeys(name for found in board.values() for name in found):
        name = f"{figure}*" if any(_partial(figure, found) for found in board.values()) else figure
        values = (_score(board[reading].get(figure)) for reading in READINGS)
        rows.append((f"board: {name}", *values, "", ""))
    return rows


def _partial(figure: str, board: Mapping[str, Score]) -> bool:
    """Whether the official figure has other parts; "agentic" is never among what is measured."""
    missing = board[figure].missing if figure in board else ()
    return any(part != "agentic" for part in missing) if figure == OVERALL else bool(missing)


def _score(score: Score | None) -> str:
    if score is None:
        return "-"
    return f"{score.value:.1%} ({100 * score.low:.0f}-{100 * score.high:.0f})"


def _pair_rows(comparison: Comparison) -> Rows:
    rows: Rows = [("category", "cases", "A", "B", "only A", "only B", "p", "B - A")]
    for name, pair in comparison.pairs.items():
        cases = pair.cases
        right = (f"{(pair.both + only) / cases:.1%}" for only in (pair.only_a, pair.only_b))
        only = str(pair.only_a), str(pair.only_b)
        rows.append((name, str(cases), *right, *only, f"{pair.p:.2g}", difference_text(pair)))
    for name, found in comparison.board.items():
        rows.append((f"board: {name}", "", "", "", "", "", "", difference_text(found)))
    return rows


def difference_text(found: Pair | Difference, unit: str = "") -> str:
    """A difference in percent with its interval, e.g. "+3.0 points (-1.0 to +7.0)"."""
    ends = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
    return f"{100 * found.difference:+.1f}{unit} ({ends})"


def _table(rows: Rows, title: str) -> Table:
    table = Table(title=title, box=rich.box.SIMPLE)
    for place, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for before, row in itertools.pairwise(rows):
        if row[0].startswith("board: ") and not before[0].startswith("board: "):
            table.add_section()
        table.add_row(*row)
    if any(row[0].endswith("*") for row in rows):
        table.caption = "* not all categories of the official figure were measured"
    return table


def markdown_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a table whose first row is its head and whose first column are names."""
    header, *rest = (f"| {' | '.join(row)} |" for row in rows)
    yield header
    yield f"|---|{'---:|' * (len(rows[0]) - 1)}"
    yield from rest


def _json(rate: Rate | None) -> dict[str, Any] | None:
    return None if rate is None else rate.to_json()
