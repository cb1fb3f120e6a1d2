"""Several runs side by side: figures with intervals over seeds, curves with bands, one page."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console

from trustee_jax.progress import counted
from trustee_jax.report import figures, panels
from trustee_jax.report.archive import compress
from trustee_jax.report.figures import Interval, Values
from trustee_jax.report.page import write_page
from trustee_jax.report.run import ReportError, open_run
from trustee_jax.report.write import write_report
from trustee_jax.storage import replacing

T = TypeVar("T")

_PROGRAM = ("dom.js", "data.js", "charts.js", "overview.js", "tables.js", "sweep.js")
PAGE, REPORT = "sweep.html", "report.html"
# What a column is called -> of which metric, and which figure of its curve.
FIGURES: Mapping[str, tuple[str, Callable[[Values, str], float | None]]] = {
    "reward, begin": ("reward/mean", figures.at_begin),
    "reward, end": ("reward/mean", figures.at_end),
    "reward, highest": ("reward/mean", figures.highest),
    "difficulty, end": ("curriculum/difficulty", figures.at_end),
    "valid share, end": ("episodes/valid", figures.at_end),
    "valid calls, end": ("counts/valid_calls", figures.at_end),
    "KL, end": ("learner/kl", figures.at_end),
    "seconds a step": ("seconds/step", figures.over_all),
}
# The charts that are not folded away.
FIRST = (
    "reward/mean",
    "curriculum/difficulty",
    "episodes/valid",
    "counts/valid_calls",
    "counts/malformed_calls",
    "learner/kl",
)


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """A run of a sweep as its folder has it now.

    Attributes:
      name: Of the folder.
      variant: The runs that differ in the seed alone have the same.
      folder: Its workdir, which need not exist yet.
      state: What became of it, in a word.
      step: Of its newest checkpoint.
      steps: How many it has when it is complete.
      note: Anything else worth saying, e.g. why it failed.
      metrics: Step -> name -> value.
    """

    name: str
    variant: str
    folder: pathlib.Path
    state: str
    step: int
    steps: int
    note: str = ""
    metrics: Values = dataclasses.field(default_factory=dict)

    def read(self) -> SweepRun:
        """With the metrics of its folder; what is wrong with them becomes the note."""
        try:
            metrics = open_run(self.folder).metrics
        except ReportError as error:
            return self if self.note or not self.step else self.with_note(str(error))
        return dataclasses.replace(self, metrics=panels.derive(metrics))

    def with_note(self, note: str) -> SweepRun:
        """With another note."""
        return dataclasses.replace(self, note=note)

    def figures(self) -> list[float | None]:
        """Those of `FIGURES`, in its order."""
        return [figure(self.metrics, metric) for metric, figure in FIGURES.values()]


def variants(runs: Iterable[SweepRun]) -> dict[str, list[SweepRun]]:
    """The runs of each variant, in the order of their first."""
    found: dict[str, list[SweepRun]] = {}
    for run in runs:
        found.setdefault(run.variant, []).append(run)
    return found


def intervals(runs: Sequence[SweepRun]) -> list[Interval | None]:
    """Each of `FIGURES` over a variant's complete runs: others would be compared at other steps."""
    rows = [run.figures() for run in runs if run.state == "complete"]
    return [figures.interval([row[i] for row in rows]) for i in range(len(FIGURES))]


def write_sweep(
    runs: Sequence[SweepRun],
    folder: pathlib.Path,
    *,
    base: str,
    file: str,
    defaults: Mapping[str, Any],
    console: Console,
) -> pathlib.Path:
    """Writes the page of a sweep, and the reports of its runs that it leads to.

    Args:
      runs: After `SweepRun.read`.
      folder: Holds the runs' folders.
      base: Config file of the runs.
      file: The sweep's.
      defaults: Of all options, by dotted name, for the runs' reports.
      console: Shows the progress.

    Returns:
      The page.

    Raises:
      ReportError: It cannot be written.
    """
    output = folder / PAGE
    runs = [_reported(run, defaults) for run in _shown(runs, console)]
    try:
        with replacing(output) as opened:
            summary = compress(_summary(runs, base, file))
            write_page(opened, folder.name, "sweep.html", _PROGRAM, [("summary", summary)])
    except OSError as error:
        raise ReportError(
            f"{output} cannot be written ({error.strerror}); make room there"
        ) from None
    return output


def _shown(items: Sequence[T], console: Console) -> Iterable[T]:
    with counted("reports", len(items), console, enabled=console.is_terminal) as advance:
        for item in items:
            yield item
            advance()


def _reported(run: SweepRun, defaults: Mapping[str, Any]) -> SweepRun:
    """Writes the run's own report where it has none of what is in its folder now."""
    logs = [run.folder / name for name in ("metrics.jsonl", "episodes.jsonl")]
    times = [log.stat().st_mtime for log in logs if log.is_file()]
    report = run.folder / REPORT
    if not run.metrics or (report.is_file() and report.stat().st_mtime >= max(times, default=0)):
        return run
    try:
        write_report(run.folder, report, defaults=defaults, console=Console(quiet=True))
    except ReportError as error:
        return run.with_note(run.note or str(error))
    return run


def _summary(runs: Sequence[SweepRun], base: str, file: str) -> dict[str, Any]:
    groups = variants(runs)
    metrics, bands = curves(list(groups.values()))
    return {
        "sweep": {
            "base": base,
            "file": pathlib.PurePath(file).name,
            "complete": sum(run.state == "complete" for run in runs),
            "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        },
        "figures": list(FIGURES),
        "variants": [
            {
                "name": name,
                "complete": sum(run.state == "complete" for run in members),
                "count": len(members),
                "cells": [cell and [cell.mean, cell.margin] for cell in intervals(members)],
            }
            for name, members in groups.items()
        ],
        "runs": [
            {
                "name": run.name,
                "state": run.state,
                "step": run.step,
                "steps": run.steps,
                "note": run.note,
                "report": _link(run),
                "cells": run.figures(),
            }
            for run in runs
        ],
        "metrics": metrics | {"bands": bands},
        "groups": chart_groups(runs, list(groups)),
    }


def _link(run: SweepRun) -> str | None:
    if not (run.folder / REPORT).is_file():
        return None
    return f"{urllib.parse.quote(run.folder.name)}/{REPORT}"


def _key(metric: str, variant: int) -> str:
    return f"{metric}#{variant}"


def curves(groups: Sequence[Sequence[SweepRun]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns of the means over a variant's runs, and the least and the most of these."""
    steps = sorted({step for runs in groups for run in runs for step in run.metrics})
    means: dict[str, list[float | None]] = {}
    bands: dict[str, tuple[list[float | None], list[float | None]]] = {}
    for number, runs in enumerate(groups):
        for metric in metric_names(runs):
            found = [_at(runs, step, metric) for step in steps]
            key = _key(metric, number)
            means[key] = [panels.rounded(sum(v) / len(v)) if v else None for v in found]
            if len(runs) > 1:
                low = [panels.rounded(min(values, default=None)) for values in found]
                high = [panels.rounded(max(values, default=None)) for values in found]
                bands[key] = (low, high)
    return {"steps": steps, "values": means}, bands


def _at(runs: Sequence[SweepRun], step: int, metric: str) -> list[float]:
    values = (run.metrics.get(step, {}).get(metric) for run in runs)
    return [value for value in values if value is not None]


def metric_names(runs: Iterable[SweepRun]) -> list[str]:
    """Every metric of some step of some run, in the order of their first."""
    return list(
        dict.fromkeys(name for run in runs for line in run.metrics.values() for name in line)
    )


def chart_groups(
    runs: Sequence[SweepRun],
    names: Sequence[str],
    first: Iterable[str] = FIRST,
    note: str = "mean over a variant's runs; the band is from the least to the most",
) -> list[dict[str, Any]]:
    """The charts: one for each metric, with a curve for each variant that has it.

    Args:
      runs: Of all variants.
      names: Of the variants.
      first: The metrics whose charts are not folded away.
      note: How to read a chart.
    """
    having = {
        number: set(metric_names(members)) for number, members in enumerate(variants(runs).values())
    }
    charts = {
        metric: panels.Panel(
            metric,
            {_key(metric, n): names[n] for n, known in having.items() if metric in known},
            note,
        ).to_json()
        for metric in metric_names(runs)
    }
    shown = [charts.pop(metric) for metric in first if metric in charts]
    result = [{"title": "Curves", "folded": False, "panels": shown}] if shown else []
    if charts:
        rest = list(charts.values())
        result.append({"title": "All other metrics", "folded": True, "panels": rest})
    return result
