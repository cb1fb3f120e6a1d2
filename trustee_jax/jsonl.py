"""Append-only JSON lines that can be read while they grow and cut back to a step."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from trustee_jax.errors import InputError
from trustee_jax.storage import sync_folder


class LogError(InputError):
    """What a resumed run goes on from is damaged; the message names the line."""


class JsonLines:
    """A file with one JSON object a line, each with its "step", the steps in ascending order.

    A line is handed to the system whole when `append` returns: from then on the end of the process,
    however it comes, cannot lose it. That of the machine can, up to the last `sync`.

    Attributes:
      dropped: Complete lines that were removed when it was opened.
    """

    def __init__(self, path: pathlib.Path, *, resume_step: int) -> None:
        """Opens `path` for appending, without what a resumed run will write again.

        Args:
          path: The file.
          resume_step: Lines of later steps are removed, and a line that was cut off while it was
            written. 0: all lines.

        Raises:
          LogError: Among the lines that stay is one that is none of these steps.
        """
        self._end, self.dropped = _kept(path, resume_step) if path.exists() else (0, 0)
        self._file = path.open("ab", buffering=0)
        sync_folder(path.parent)
        # In place: one step of the file system, which needs no room on a full disk.
        self._file.truncate(self._end)

    def append(self, step: int, record: Mapping[str, Any]) -> None:
        """Writes one line. Numbers that JSON lacks (NaN, infinities) become null.

        Raises:
          OSError: The line could not be written; nothing of it stays.
        """
        line = {"step": step} | {k: _finite(v) for k, v in record.items() if k != "step"}
        text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        # A lone surrogate, which UTF-8 cannot write, becomes its escape in JSON.
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
        except BaseException:
            self._file.truncate(self._end)
            raise
        self._end += len(data)

    def sync(self) -> None:
        """Returns when all lines are on the disk, not just in the system's memory."""
        os.fsync(self._file.fileno())

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


def _kept(path: pathlib.Path, last_step: int) -> tuple[int, int]:
    """Bytes up to the last line of a step up to `last_step`, and complete lines after them.

    What was on its way when the machine stopped may be anything, but comes after all that a
    checkpoint counts on. Damage before that is none of a crash, and not ours to remove.
    """
    end = position = later = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            position += len(line)
            record = _record(line) if line.endswith(b"\n") else None
            step = record.get("step") if record else None
            if not (type(step) is int and step <= last_step):
                later += line.endswith(b"\n")
            elif later:
                raise LogError(
                    f"{path}, line {number - later}: not a JSON object of a step up to "
                    f"{last_step}, but followed by one; remove the line to go on without it"
                )
            else:
                end = position
    return end, later
