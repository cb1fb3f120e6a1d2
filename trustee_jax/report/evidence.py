"""The page of `trustee prove`: what is claimed, what was found, curves of the runs side by side."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from trustee_jax.report.archive import compress
from trustee_jax.report.page import write_page
from trustee_jax.report.run import ReportError
from trustee_jax.report.sweep import FIRST, SweepRun, chart_groups, curves, metric_names
from trustee_jax.storage import replacing

_PROGRAM = ("dom.js", "data.js", "charts.js", "overview.js", "tables.js", "evidence.js")
_MEASURES = ("eval/", "cold_start/probe", "probe/")


def write_evidence(
    found: Mapping[str, Any], runs: Sequence[SweepRun], output: pathlib.Path, title: str
) -> None:
    """Writes the page.

    Args:
      found: See `evidence.summary.to_json`.
      runs: That were measured, after `SweepRun.read`; each is a variant of its own.
      output: The page.
      title: Of the page.

    Raises:
      ReportError: It cannot be written.
    """
    names = [run.name for run in runs]
    metrics, bands = curves([[run] for run in runs])
    first = [name for name in metric_names(runs) if name.startswith(_MEASURES)]
    summary = {
        "found": found,
        "title": title,
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "metrics": metrics | {"bands": bands},
        "groups": chart_groups(runs, names, first=[*FIRST, *first], note=""),
    }
    try:
        with replacing(output) as opened:
            blocks = [("summary", compress(summary))]
            write_page(opened, title, "sweep.html", _PROGRAM, blocks)
    except OSError as error:
        raise ReportError(
            f"{output} cannot be written ({error.strerror}); make room there"
        ) from None
