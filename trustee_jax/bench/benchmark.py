"""All measurements of a run, one after another."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from trustee_jax.bench import machine
from trustee_jax.bench.generation import decode_cases, prefill_cases
from trustee_jax.bench.show import show
from trustee_jax.bench.steps import episode_cases, step_cases, update_cases
from trustee_jax.bench.subject import Subject
from trustee_jax.bench.timing import Case, Result, measure
from trustee_jax.errors import InputError
from trustee_jax.progress import counted
from trustee_jax.storage import write_text

MEASUREMENTS: Mapping[str, Callable[[Subject], Iterator[Case]]] = {
    "decode": decode_cases,
    "prefill": prefill_cases,
    "episodes": episode_cases,
    "update": update_cases,
    "step": step_cases,
}


class BenchError(InputError):
    """What is written cannot be written there."""


def check_output(path: pathlib.Path) -> None:
    """Raises BenchError if a file cannot be written."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise BenchError(f"{path} cannot be written; name a file in an existing folder: --output")


def check_trace(path: pathlib.Path) -> None:
    """Makes the folder of the traces; raises BenchError if that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"{path} cannot be made ({error.strerror}); name a folder: --trace"
        ) from None
    if not os.access(path, os.W_OK):
        raise BenchError(f"{path} cannot be written; name another folder: --trace")


def run(
    subject: Subject,
    only: Sequence[str],
    runs: int,
    options: Mapping[str, Any],
    console: Console,
    *,
    output: pathlib.Path | None = None,
    trace: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Measures, prints tables and writes the report.

    Args:
      subject: What is measured.
      only: Names out of `MEASUREMENTS`.
      runs: Measured runs of each case.
      options: Of the run, by dotted names; the report repeats them.
      console: Where to.
      output: JSON file to write, or None.
      trace: Folder that receives a trace of one run of each measurement, or None.

    Returns:
      The report, as JSON values.
    """
    cases = {name: list(MEASUREMENTS[name](subject)) for name in only}
    results: dict[str, list[Result]] = {}
    total = runs * sum(map(len, cases.values()))
    with counted("runs", total, console) as advance:
        for name, listed in cases.items():
            results[name] = []
            for number, case in enumerate(listed, start=1):
                folder = trace / name if trace is not None and number == len(listed) else None
                advance(0, name)
                result = measure(case, runs, folder, functools.partial(advance, 1, name))
                results[name].append(result)
                if result.skipped is not None:
                    advance(runs, name)
    report = {
        **machine.describe(),
        "runs": runs,
        "machine": {
            "bytes_per_second": subject.roofline.bytes_per_second.to_json(),
            "flops_per_second": subject.roofline.flops_per_second.to_json(),
        },
        "model": {
            "weight_bytes": subject.costs.weight_bytes,
            "cache_bytes_per_token": subject.costs.cache_bytes,
            "block_parameters": subject.costs.kernels,
            "adapter_parameters": subject.costs.adapters,
            "output_parameters": subject.costs.output,
        },
        "measurements": {
            name: [result.to_json() for result in found] for name, found in results.items()
        },
        "options": dict(options),
    }
    show(report, console)
    if output is not None:
        write_text(output, json.dumps(report, indent=1) + "\n")
        console.print(f"wrote {output}", highlight=False, soft_wrap=True)
    return report
