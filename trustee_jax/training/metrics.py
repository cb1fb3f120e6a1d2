"""Where a run's numbers go: TensorBoard, and a JSON-lines file with the same scalars."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tensorboardX import SummaryWriter

from trustee_jax.training.jsonl import JsonLines


class MetricWriter:
    """Writes scalars, text and the config of one run.

    A process other than the first makes one with `enabled=False`, which writes nothing.
    """

    def __init__(
        self,
        tensorboard: pathlib.Path,
        jsonl: pathlib.Path,
        *,
        resume_step: int = 0,
        enabled: bool = True,
    ) -> None:
        """Opens both, and removes or hides what a killed run wrote after its last checkpoint.

        Args:
          tensorboard: Folder of the event files.
          jsonl: File with one line of scalars a step.
          resume_step: The last step that stays; 0 starts afresh.
          enabled: Whether anything is written.
        """
        self._events: SummaryWriter | None = None
        self._lines: JsonLines | None = None
        self._resume_step = resume_step
        if enabled:
            self._events = SummaryWriter(
                str(tensorboard),
                purge_step=resume_step + 1,
                # Files are named by the second; a quick restart must not overwrite one.
                filename_suffix=f".{resume_step}",
            )
            self._lines = JsonLines(jsonl, resume_step=resume_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the step's scalars; call it once a step.

        Args:
          step: Training steps that are complete, from 1.
          values: Names like "reward/mean" and numbers (also 0-d arrays).
        """
        if self._events is None or self._lines is None:
            return
        numbers = {name: float(value) for name, value in values.items()}
        for name, number in numbers.items():
            self._events.add_scalar(name, number, step)
        self._events.flush()
        self._lines.append(step, numbers)

    def text(self, step: int, name: str, text: str) -> None:
        """Shows a text, as it is, in TensorBoard's text tab."""
        if self._events is not None:
            # TensorBoard renders Markdown; an indented block is shown as it is.
            block = "\n".join(f"    {line}" for line in text.splitlines())
            self._events.add_text(name, block, step)
            self._events.flush()

    def config(self, options: Mapping[str, Any]) -> None:
        """Shows the run's options as a table.

        Args:
          options: JSON values by dotted name, see `config.flatten`.
        """
        if self._events is not None:
            cells = {name: json.dumps(value).replace("|", r"\|") for name, value in options.items()}
            rows = [f"| {name} | `{cell}` |" for name, cell in cells.items()]
            table = "\n".join(["| option | value |", "|---|---|", *rows])
            self._events.add_text("config", table, self._resume_step)
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes both."""
        if self._events is not None:
            self._events.close()
        if self._lines is not None:
            self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
