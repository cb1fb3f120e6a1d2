"""The record of every episode, readable while the run goes on."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from trustee_jax import jsonl
from trustee_jax.storage import Closing


class EpisodeLog(Closing):
    """Appends episodes, one JSON line each, to a file.

    A process other than the first makes one with `enabled=False`, which writes nothing.

    Attributes:
      dropped: Episodes that were removed when it was opened.
    """

    def __init__(self, path: pathlib.Path, *, resume_step: int = 0, enabled: bool = True) -> None:
        """Opens the file, and removes the episodes that a resumed run will play again.

        Args:
          path: The file.
          resume_step: The last step whose episodes stay; 0 starts afresh.
          enabled: Whether anything is written.

        Raises:
          LogError: Among the episodes that stay is a damaged line.
        """
        self._lines = jsonl.JsonLines(path, resume_step=resume_step) if enabled else None
        self.dropped = self._lines.dropped if self._lines is not None else 0

    def append(self, step: int, episode: Mapping[str, Any]) -> None:
        """Writes one episode; a reader sees it at once.

        Args:
          step: The training step it belongs to, from 1.
          episode: JSON values, see `Episode.to_json`.
        """
        if self._lines is not None:
            self._lines.append(step, episode)

    def sync(self) -> None:
        """Returns when all episodes are on the disk; see `JsonLines.sync`."""
        if self._lines is not None:
            self._lines.sync()

    def close(self) -> None:
        """Closes the file."""
        if self._lines is not None:
            self._lines.close()


def read_episodes(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """All complete episodes of a file, also of one that is being written.

    Raises:
      ValueError: A line other than the last is not JSON; names file and line.
    """
    return jsonl.read(path)
