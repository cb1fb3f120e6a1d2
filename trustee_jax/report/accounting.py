"""What was lost on the way, by cause, over the whole run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trustee_jax.environment import INVALID_CAUSES, REJECTIONS, USER_FAULTS
from trustee_jax.report.panels import Values
from trustee_jax.training.summary import TASK_CAUSES

_RECENT = 10  # steps


def tables(metrics: Values) -> list[dict[str, Any]]:
    """Counts over all complete steps, with their rates.

    Args:
      metrics: Step -> name -> value.

    Returns:
      [{"title", "unit", "total", "rows", "never"}]: rows are {"label", "count", "share",
      "recent", "steps", "series"}, where share is of the total, recent the same over the
      last steps, steps how many steps it occurred in, and series its count at every step. `never`
      lists the causes that are known but did not occur.
    """
    steps = list(metrics.values())
    valid = _counts(steps, "episodes/valid", _column(steps, "episodes/played"))
    made = [
        _table(
            "Episodes",
            "episodes played",
            _column(steps, "episodes/played"),
            [
                ("valid", valid),
                *_causes(steps, "episodes/invalid_", INVALID_CAUSES),
            ],
        ),
        # A draw that fails may have written several tasks before, each refused.
        _parted(
            "Tasks drawn",
            "draws of tools and aspects",
            [
                ("written", _column(steps, "tasks/written")),
                ("unused", _column(steps, "tasks/unused")),
                *_causes(steps, "tasks/failed_", TASK_CAUSES),
            ],
        ),
        _parted(
            "Tasks written",
            "tasks, used or refused",
            [
                ("used", _column(steps, "tasks/written")),
                ("unused", _column(steps, "tasks/unused")),
                *_causes(steps, "tasks/rejected_", REJECTIONS),
            ],
        ),
        _parted(
            "Messages of the user",
            "messages written after the first query, used or refused",
            [
                ("used", _column(steps, "user/used")),
                *_causes(steps, "user/refused_", USER_FAULTS),
            ],
        ),
        _parted(
            "Groups",
            "groups played",
            [
                ("trainable", _column(steps, "groups/trainable")),
                *(
                    (kind, series)
                    for kind, series in _causes(steps, "groups/")
                    if kind not in ("trainable", "refills")
                ),
            ],
        ),
        _parted(
            "Calls written",
            "calls in valid episodes, well-formed or not",
            [
                ("well-formed", _counts(steps, "counts/calls", valid)),
                ("malformed", _counts(steps, "counts/malformed_calls", valid)),
                ("unmarked, read as text", _counts(steps, "counts/unmarked_calls", valid)),
            ],
        ),
    ]
    return [table for table in made if table["total"]]


def _parted(title: str, unit: str, rows: list[tuple[str, list[float]]]) -> dict[str, Any]:
    """A table whose rows add up to its total."""
    return _table(title, unit, _sum(series for _, series in rows), rows)


def _table(
    title: str, unit: str, totals: list[float], rows: list[tuple[str, list[float]]]
) -> dict[str, Any]:
    total, recent_total = sum(totals), sum(totals[-_RECENT:])
    return {
        "title": title,
        "unit": unit,
        "total": total,
        "rows": [
            {
                "label": label,
                "count": sum(series),
                "share": sum(series) / total if total else None,
                "recent": sum(series[-_RECENT:]) / recent_total if recent_total else None,
                "steps": sum(value > 0 for value in series),
                "series": [
                    round(value / of, 4) if of else None
                    for value, of in zip(series, totals, strict=True)
                ],
            }
            # The first row is what was not lost; its absence is worth a row.
            for place, (label, series) in enumerate(rows)
            if sum(series) or not place
        ],
        "never": [label for label, series in rows[1:] if not sum(series)],
        "recent_steps": min(_RECENT, len(totals)),
    }


def _causes(
    steps: list[Any], prefix: str, known: Iterable[str] = ()
) -> list[tuple[str, list[float]]]:
    found = (name for values in steps for name in values if name.startswith(prefix))
    names = dict.fromkeys([*found, *(f"{prefix}{cause}" for cause in known)])
    return [
        (name.removeprefix(prefix), _column(steps, name))
        for name in sorted(names, key=lambda name: -sum(_column(steps, name)))
    ]


def _column(steps: list[Any], name: str) -> list[float]:
    return [values.get(name) or 0.0 for values in steps]


def _counts(steps: list[Any], mean: str, wholes: list[float]) -> list[float]:
    """A mean or share, times what it is of, is a count again, up to rounding."""
    pairs = zip(_column(steps, mean), wholes, strict=True)
    return [float(round(one * other)) for one, other in pairs]


def _sum(columns: Iterable[list[float]]) -> list[float]:
    return [sum(values) for values in zip(*columns, strict=True)]
