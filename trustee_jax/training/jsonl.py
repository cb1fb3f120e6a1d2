"""Append-only JSON lines that can be read while they grow and cut back to a step."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any


class JsonLines:
    """A file with one JSON object a line, each with its "step". Every line is flushed at once."""

    def __init__(self, path: pathlib.Path, *, resume_step: int) -> None:
        """Opens `path` for appending, without what a resumed run will write again.

        Args:
          path: The file.
          resume_step: Lines of later steps are removed, and a line that was cut off while it was
            written. 0: all lines.
        """
        _keep_until(path, resume_step)
        self._file = path.open("a", encoding="utf-8")

    def append(self, step: int, record: Mapping[str, Any]) -> None:
        """Writes one line. Numbers that JSON lacks (NaN, infinities) become null."""
        line = {"step": step, **{key: _finite(value) for key, value in record.items()}}
        self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a file, also of one that is being written.

    Raises:
      ValueError: A line other than the last is not a JSON object; names the line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            record = _record(line)
            if record is None:
                raise ValueError(f"{path}, line {number}: not a JSON object; remove the line")
            yield record


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _keep_until(path: pathlib.Path, step: int) -> None:
    """Drops later and unreadable lines; rewrites beside the file, so a kill here loses nothing."""
    if not path.exists():
        return
    rest = path.with_name(path.name + ".tmp")
    with path.open("rb") as old, rest.open("wb") as new:
        for line in old:
            record = _record(line) if line.endswith(b"\n") else None
            if record is not None and record.get("step", step + 1) <= step:
                new.write(line)
    os.replace(rest, path)
