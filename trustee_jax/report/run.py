"""What a run's folder holds, finished or not, of this version or an older one."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from trustee_jax import jsonl
from trustee_jax.errors import InputError
from trustee_jax.options import flatten
from trustee_jax.training import records
from trustee_jax.training.workdir import Layout


class ReportError(InputError):
    """A folder cannot be reported on: it holds no run, or one of its files is broken."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as its files have it now.

    Attributes:
      layout: Where they are.
      options: Dotted name -> value of config.json; empty before the first step is complete.
      metrics: Step -> name -> value, by increasing step; None where a value was not finite.
      episodes: How many complete lines episodes.jsonl has.
    """

    layout: Layout
    options: Mapping[str, Any]
    metrics: Mapping[int, Mapping[str, float | None]]
    episodes: int

    def read_episodes(self, skip: int = 0) -> Iterator[dict[str, Any]]:
        """The recorded episodes after the first `skip`, as they are in the file.

        Raises:
          ReportError: A line is broken; names it.
        """
        if not self.episodes:
            return
        try:
            # A run that goes on may have written more since they were counted.
            yield from itertools.islice(
                records.read_episodes(self.layout.episodes), skip, self.episodes
            )
        except ValueError as error:
            raise ReportError(str(error)) from None


def open_run(folder: pathlib.Path) -> Run:
    """Reads everything but the episodes.

    Args:
      folder: The workdir of a training.

    Raises:
      ReportError: It is none, or one of its files is broken.
    """
    layout = Layout(folder)
    files = (layout.config, layout.metrics, layout.episodes)
    if not any(file.is_file() for file in files):
        names = ", ".join(file.name for file in files)
        what = "holds no run" if folder.is_dir() else "is no folder"
        raise ReportError(f"{folder} {what} (looked for {names}); name the --workdir of a training")
    metrics = _metrics(layout.metrics)
    for step, found in _metrics(layout.evaluations).items():
        metrics[step] = metrics.get(step, {}) | found
    return Run(
        layout, _options(layout.config), dict(sorted(metrics.items())), _lines(layout.episodes)
    )


def _options(file: pathlib.Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        options = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(options, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise ReportError(f"{file} is not a config ({error}); restore or delete it") from None
    return flatten(options)


def _metrics(file: pathlib.Path) -> dict[int, dict[str, float | None]]:
    steps: dict[int, dict[str, float | None]] = {}
    if not file.is_file():
        return steps
    try:
        for number, line in enumerate(jsonl.read(file), start=1):
            step = line.pop("step", number)
            if not isinstance(step, int):
                raise ValueError(f"{file}, line {number}: step {step!r} is no integer")
            steps[step] = {
                name: float(value) if value is not None and math.isfinite(value) else None
                for name, value in line.items()
                if value is None or isinstance(value, int | float)
            }
    except ValueError as error:
        raise ReportError(str(error)) from None
    return steps


def _lines(file: pathlib.Path) -> int:
    if not file.is_file():
        return 0
    with file.open("rb") as opened:
        return sum(line.endswith(b"\n") for line in opened)
