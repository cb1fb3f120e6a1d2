"""A report on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:.2f} GB"


# Of each measurement: parameters, and figures with their headings.
_COLUMNS: Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[str, Callable[[float], str]]]]] = {
    "decode": (
        ("rows", "context", "temperature"),
        {
            "tokens_per_second": ("tokens/s", _number),
            "ms_per_step": ("ms a step", _number),
            "limit_ms_per_step": ("limit, ms", _number),
            "of_limit": ("of the limit", _share),
        },
    ),
    "prefill": (
        ("rows", "prompt"),
        {
            "seconds": ("seconds", _number),
            "tokens_per_second": ("tokens/s", _number),
            "utilisation": ("MFU", _share),
        },
    ),
    "episodes": (
        ("tasks", "group_size"),
        {
            "seconds": ("seconds", _number),
            "prefilled_share": ("prefilled", _share),
            "sampled_share": ("drawn/emitted", _share),
            "tokens_per_second": ("tokens/s", _number),
            "device_idle_share": ("device idle", _share),
            "host_share": ("host", _share),
        },
    ),
    "update": (
        ("sequences", "rows", "row_length", "filled"),
        {
            "seconds": ("seconds", _number),
            "tokens_per_second": ("tokens/s", _number),
            "utilisation": ("MFU", _share),
            "peak_memory_bytes": ("peak memory", _gigabytes),
        },
    ),
    "step": (
        ("tasks", "group_size"),
        {
            "seconds": ("seconds", _number),
            "tasks_seconds": ("tasks", _number),
            "episodes_seconds": ("episodes", _number),
            "learning_seconds": ("learning", _number),
            "other_seconds": ("other", _number),
            "updates": ("updates", _number),
        },
    ),
}


def show(report: Mapping[str, Any], console: Console) -> None:
    """Prints the tables of a report: medians, with the least and the most of the runs.

    Args:
      report: As `benchmark.run` makes it.
      console: Where to.
    """
    device, speeds = report["device"], report["machine"]
    console.print(
        f"{device['count']} x {device['kind']} ({device['processor']}), jax "
        f"{report['versions']['jax']}, commit {report['commit'] or 'unknown'}\n"
        f"one device: {speeds['bytes_per_second']['median'] / 1e9:,.1f} GB/s, "
        f"{speeds['flops_per_second']['median'] / 1e9:,.1f} GFLOP/s; medians of {report['runs']} "
        "runs (least to most)",
        highlight=False,
        soft_wrap=True,
    )
    for name, cases in report["measurements"].items():
        console.print(_table(name, cases))


def _table(name: str, cases: list[dict[str, Any]]) -> Table:
    parameters, figures = _COLUMNS[name]
    table = Table(title=name, box=rich.box.SIMPLE, title_justify="left")
    for heading in (*parameters, *(heading for heading, _ in figures.values()), "compiled"):
        table.add_column(heading.replace("_", " "), justify="right")
    for case in cases:
        cells = [f"{case[parameter]:g}" for parameter in parameters]
        if "skipped" in case:
            table.add_row(*cells, case["skipped"])
            continue
        for figure, (_, text) in figures.items():
            # What is worked out of a time spreads as it does; the JSON has all.
            show = _spread if text is _number else _median
            cells.append(show(case["figures"][figure], text))
        table.add_row(*cells, str(case["compilations"]))
    return table


def _median(figure: Mapping[str, float], text: Callable[[float], str]) -> str:
    return text(figure["median"])


def _spread(figure: Mapping[str, float], text: Callable[[float], str]) -> str:
    median, least, most = (text(figure[name]) for name in ("median", "min", "max"))
    return median if least == most else f"{median} ({least}..{most})"
