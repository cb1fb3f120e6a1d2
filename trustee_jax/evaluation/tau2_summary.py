"""The figures of tau2-bench: pass^k, JSON, Markdown, the terminal."""

from __future__ import annotations

import json
import math
import pathlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table

from trustee_jax.evaluation.pairs import mean_interval
from trustee_jax.evaluation.summary import markdown_table
from trustee_jax.evaluation.tau2 import Trial
from trustee_jax.storage import write_text

_LEGEND = (
    "pass^k: the chance that k trials of a task all have the whole reward, mean over tasks, with "
    "its 95% interval by resampling tasks. Trials that ended as infrastructure_error, which "
    "tau2-bench leaves out, count as failures. Judged: tasks that were left out, since a language "
    "model has a part in their reward."
)


@dataclass(frozen=True)
class DomainResult:
    """What a domain came to.

    Attributes:
      tasks: How many have trials.
      trials: How many there are of them.
      judged: Tasks that were left out, since a language model has a part in their reward.
      pass_k: Values of pass^k for k from 1, each with the ends of its 95% interval.
      ended: Why trials ended, and how many.
      errors: What the server refused answers with, and how often.
    """

    tasks: int
    trials: int
    judged: int
    pass_k: tuple[tuple[float, float, float], ...]
    ended: Mapping[str, int]
    errors: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def summarize(trials: Sequence[Trial], judged: int) -> DomainResult:
    """Counts the trials of a domain.

    Args:
      trials: All that have ended.
      judged: Tasks that were left out.
    """
    by_task: dict[str, list[bool]] = {}
    for trial in trials:
        by_task.setdefault(trial.task, []).append(trial.success)
    most = min(map(len, by_task.values()), default=0)
    domain = trials[0].domain if trials else ""
    values = (
        np.array([pass_hat(len(found), sum(found), k) for found in by_task.values()])
        for k in range(1, most + 1)
    )
    return DomainResult(
        tasks=len(by_task),
        trials=len(trials),
        judged=judged,
        pass_k=tuple(
            (float(found.mean()), *mean_interval(found, f"{domain} {k}"))
            for k, found in enumerate(values, 1)
        ),
        ended=_counts(trial.ended for trial in trials),
        errors=_counts(trial.error for trial in trials if trial.error),
    )


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def pass_hat(trials: int, successes: int, k: int) -> float:
    """The chance that k of a task's trials, drawn without putting back, are all successes.

    Its mean over tasks is pass^k (Yao et al. 2024, arXiv 2406.12045, sec. 3).
    """
    return math.comb(successes, k) / math.comb(trials, k)


def write(
    results: Mapping[str, DomainResult], meta: Mapping[str, Any], folder: pathlib.Path
) -> None:
    """Writes `summary.json` and `summary.md`.

    Args:
      results: By domain.
      meta: What was measured.
      folder: Of the results.
    """
    found = {name: result.to_json() for name, result in results.items()}
    text = json.dumps({"meta": meta, "domains": found}, indent=1, ensure_ascii=False)
    write_text(folder / "summary.json", text + "\n")
    identity = meta["identity"]
    lines = [
        f"# tau2-bench: {identity['model']}",
        "",
        _LEGEND,
        "",
        *markdown_table(_rows(results)),
        "",
    ]
    lines += [
        *_errors(results),
        "",
        *(f"- {name}: `{value}`" for name, value in identity.items()),
        "",
    ]
    write_text(folder / "summary.md", "\n".join(lines))


def show(results: Mapping[str, DomainResult], console: Console) -> None:
    """Prints the table."""
    header, *rows = _rows(results)
    table = Table(title="tau2-bench", box=rich.box.SIMPLE)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(_LEGEND, highlight=False)
    console.print(table)
    for line in _errors(results):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _errors(results: Mapping[str, DomainResult]) -> Iterator[str]:
    for name, result in results.items():
        for error, count in result.errors.items():
            yield f"{name}: {count} x {error}"


def _rows(results: Mapping[str, DomainResult]) -> list[tuple[str, ...]]:
    most = max((len(result.pass_k) for result in results.values()), default=0)
    heads = (f"pass^{k}" for k in range(1, most + 1))
    rows: list[tuple[str, ...]] = [("domain", "tasks", *heads, "ended", "judged")]
    for name, result in results.items():
        values = [
            f"{value:.1%} ({100 * low:.0f}-{100 * high:.0f})" for value, low, high in result.pass_k
        ]
        values += ["-"] * (most - len(values))
        ended = ", ".join(f"{count} {reason}" for reason, count in result.ended.items()) or "-"
        rows.append((name, str(result.tasks), *values, ended, str(result.judged)))
    return rows
