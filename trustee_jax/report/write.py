"""The page of a run: its figures, and every episode."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

from rich.console import Console

from trustee_jax.progress import counted
from trustee_jax.report import accounting, panels
from trustee_jax.report.archive import Index, compress, pack
from trustee_jax.report.episodes import Json, normalise
from trustee_jax.report.page import write_page
from trustee_jax.report.run import ReportError, Run, open_run
from trustee_jax.storage import replacing

# Concatenated in this order.
_PROGRAM = (
    "dom.js",
    "data.js",
    "charts.js",
    "overview.js",
    "list.js",
    "episode.js",
    "verdict.js",
    "app.js",
)
_LARGE = 200 << 20  # bytes from which a browser takes its time


def write_report(
    folder: pathlib.Path,
    output: pathlib.Path,
    *,
    defaults: Mapping[str, Any],
    most_episodes: int | None = None,
    console: Console | None = None,
) -> None:
    """Writes the report of a run, finished or not, as one HTML file that needs no other.

    Args:
      folder: The run's workdir.
      output: The file; it replaces an older one only when it is complete.
      defaults: Of all options, by dotted name: what the run changed is marked.
      most_episodes: Keep only so many, the most recent; None keeps all.
      console: Shows the progress; None is the standard output.

    Raises:
      ReportError: The folder holds no run, a file of it is broken, or the output cannot be written.
    """
    console = console or Console(highlight=False)
    run = open_run(folder)
    left_out = max(0, run.episodes - most_episodes) if most_episodes is not None else 0
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as file:
            _write(file, run, left_out, defaults, console)
    except OSError as error:
        raise ReportError(
            f"{output} cannot be written ({error.strerror}); choose another"
        ) from None
    size = output.stat().st_size
    shown, steps = run.episodes - left_out, max(run.metrics, default=0)
    console.print(
        f"wrote {output}: {steps} steps, {shown} episodes, {size / 1e6:.1f} MB",
        markup=False,
        soft_wrap=True,
    )
    if size > _LARGE:
        console.print("That is much for a browser: --episodes=N keeps the most recent N.")


def _write(
    file: IO[str], run: Run, left_out: int, defaults: Mapping[str, Any], console: Console
) -> None:
    index = Index()

    def data() -> Iterator[tuple[str, str]]:
        for number, chunk in enumerate(pack(_episodes(run, left_out, console), index)):
            yield f"chunk-{number}", chunk
        yield "summary", compress(_summary(run, index, left_out, defaults))

    write_page(file, run.layout.root.name, "run.html", _PROGRAM, data())


def _episodes(run: Run, left_out: int, console: Console) -> Iterator[Json]:
    records = enumerate(run.read_episodes(left_out), start=left_out + 1)
    total, shown = run.episodes - left_out, console.is_terminal
    with counted("episodes", total, console, enabled=shown) as advance:
        for number, record in records:
            yield normalise(record, number)
            advance()


def _summary(run: Run, index: Index, left_out: int, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but the episodes themselves."""
    metrics = panels.derive(run.metrics)
    options = run.options
    return {
        "run": {
            "name": run.layout.root.name,
            "model": options.get("model.source"),
            "simulator": options.get("model.simulator"),
            "tools": options.get("tools"),
            "steps": max(run.metrics, default=0),
            "planned": options.get("training.steps"),
            "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "left_out": left_out,
        },
        "options": [
            {
                "name": name,
                "value": value,
                "default": defaults.get(name),
                "changed": name in defaults and _plain(defaults[name]) != _plain(value),
            }
            for name, value in options.items()
        ],
        "metrics": panels.columns(metrics),
        "groups": panels.groups(metrics),
        "accounting": accounting.tables(run.metrics),
        "index": index.to_json(),
    }


def _plain(value: Any) -> Any:
    """A default as JSON would give it back."""
    return list(value) if isinstance(value, tuple) else value
