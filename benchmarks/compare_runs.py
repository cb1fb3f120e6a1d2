"""Compares two runs bit for bit: episodes, metrics (clocks excepted), the newest checkpoint.

    python benchmarks/compare_runs.py BASE RUN [--common]

Prints a table with the first difference of each; the exit status is 0 if there is none. `--common`
passes over names that only one of the runs has, and lists them: for a change that adds or renames
what is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from trustee_jax import jsonl

CLOCKS = ("seconds/", "tokens_per_second/")


@dataclasses.dataclass
class Comparison:
    """What was compared, and what differs.

    Attributes:
      what: Its name.
      compared: How many values.
      differences: A line each, in the order of the runs.
      one_sided: Names that only one of the runs has.
    """

    what: str
    compared: int = 0
    differences: list[str] = dataclasses.field(default_factory=list)
    one_sided: dict[str, None] = dataclasses.field(default_factory=dict)

    def add(self, place: str, name: str, base: Any, run: Any, common: bool = False) -> None:
        """Compares two JSON values, part by part."""
        if isinstance(base, dict) and isinstance(run, dict):
            for key in dict.fromkeys([*base, *run]):
                inner = f"{name}.{key}" if name else key
                if key in base and key in run:
                    self.add(place, inner, base[key], run[key], common)
                    continue
                where = "BASE" if key in base else "RUN"
                if common:
                    self.one_sided[f"{inner} ({where})"] = None
                else:
                    self.differences.append(f"{place}: {inner} only in {where}")
        elif isinstance(base, list) and isinstance(run, list) and len(base) == len(run):
            for index, pair in enumerate(zip(base, run, strict=True)):
                self.add(place, f"{name}[{index}]", *pair, common)
        else:
            self.compared += 1
            # 1 is not 1.0 and 0.0 is not -0.0: what is written differs.
            if json.dumps(base) != json.dumps(run):
                self.differences.append(f"{place}: {name}: {_short(base)}, now {_short(run)}")

    def add_array(self, name: str, base: np.ndarray, run: np.ndarray) -> None:
        """Compares two arrays by their bytes."""
        self.compared += base.size
        forms = [f"{array.dtype}{list(array.shape)}" for array in (base, run)]
        if forms[0] != forms[1]:
            self.differences.append(f"{name}: {forms[0]}, now {forms[1]}")
        elif base.tobytes() != run.tobytes():
            raw = [np.frombuffer(a.tobytes(), np.uint8).reshape(a.size, -1) for a in (base, run)]
            count = np.count_nonzero((raw[0] != raw[1]).any(axis=1))
            distance = np.abs(base.astype(np.float64) - run.astype(np.float64)).max()
            self.differences.append(
                f"{name}: {count} of {base.size} numbers differ, by {distance:.3g} at most"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The scalars of all complete lines, without what a clock has measured."""
    return [
        {name: value for name, value in line.items() if not name.startswith(CLOCKS)}
        for line in jsonl.read(workdir / "metrics.jsonl")
    ]


def checkpoints(workdir: pathlib.Path) -> list[int]:
    """The steps of the complete ones."""
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def arrays(folder: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of every array of a checkpoint."""
    with warnings.catch_warnings(), ocp.PyTreeCheckpointer() as reader:
        warnings.simplefilter("ignore")
        for item in ("params", "optimizer"):
            tree = reader.restore(folder / item)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                yield item + jax.tree_util.keystr(path), np.asarray(leaf)


def compare_episodes(base: pathlib.Path, run: pathlib.Path, common: bool = False) -> Comparison:
    """Compares the records of all episodes, in their order."""
    found = [list(jsonl.read(workdir / "episodes.jsonl")) for workdir in (base, run)]
    return _compare_lines("episodes", *found, common)


def compare_metrics(base: pathlib.Path, run: pathlib.Path, common: bool = False) -> Comparison:
    """Compares the scalars of all steps."""
    return _compare_lines("metrics", metrics(base), metrics(run), common)


def _compare_lines(
    what: str, base: list[dict[str, Any]], run: list[dict[str, Any]], common: bool
) -> Comparison:
    comparison = Comparison(what)
    for number, (old, new) in enumerate(itertools.zip_longest(base, run), start=1):
        if old is None or new is None:
            comparison.differences.append(f"{len(base)} lines, now {len(run)}")
            break
        comparison.add(f"line {number}", "", old, new, common)
    return comparison


def compare_checkpoints(base: pathlib.Path, run: pathlib.Path) -> Comparison:
    """Compares parameters, optimizer state and the host's state of the newest checkpoints."""
    comparison = Comparison("checkpoint")
    steps = [checkpoints(workdir)[-1:] for workdir in (base, run)]
    if steps[0] != steps[1]:
        words = [f"step {step[0]}" if step else "none" for step in steps]
        comparison.differences.append(f"newest: {words[0]}, now {words[1]}")
        return comparison
    if not steps[0]:
        return comparison
    folders = [workdir / "checkpoints" / str(steps[0][0]) for workdir in (base, run)]
    hosts = [json.loads((folder / "host" / "metadata").read_text()) for folder in folders]
    comparison.add("host", "", *hosts)
    old, new = (dict(arrays(folder)) for folder in folders)
    for name in dict.fromkeys([*old, *new]):
        if name in old and name in new:
            comparison.add_array(name, old[name], new[name])
        else:
            comparison.differences.append(f"{name} only in {'BASE' if name in old else 'RUN'}")
    return comparison


def compare(base: pathlib.Path, run: pathlib.Path, common: bool = False) -> list[Comparison]:
    """Compares all that two runs have left."""
    return [
        compare_episodes(base, run, common),
        compare_metrics(base, run, common),
        compare_checkpoints(base, run),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=pathlib.Path, metavar="BASE", help="workdir before a change")
    parser.add_argument("run", type=pathlib.Path, metavar="RUN", help="workdir after it")
    parser.add_argument("--common", action="store_true", help="compare the names that both have")
    arguments = parser.parse_args()
    for workdir in (arguments.base, arguments.run):
        if not (workdir / "metrics.jsonl").exists():
            parser.error(f"{workdir} holds no run (no metrics.jsonl); name the workdir of one")
    jax.config.update("jax_platforms", "cpu")
    found = compare(arguments.base, arguments.run, arguments.common)
    print(f"{'':12}{'values':>10}{'differ':>8}  first difference")
    for one in found:
        first = next(iter(one.differences), "-")
        print(f"{one.what:12}{one.compared:>10,}{len(one.differences):>8}  {first}")
    for one in found:
        if one.one_sided:
            print(f"{one.what}, in one run only: {', '.join(one.one_sided)}")
    return int(any(one.differences for one in found))


if __name__ == "__main__":
    sys.exit(main())
