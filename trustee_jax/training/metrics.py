"""Where a run's numbers go: TensorBoard, and a JSON-lines file with the same scalars."""

from __future__ import annotations

import json
import pathlib
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter

from trustee_jax.jsonl import JsonLines, read
from trustee_jax.storage import Closing


class _EventFile:
    """TensorBoard events that are on the disk when `add` returns.

    `tensorboardX.SummaryWriter` leaves them in a queue, from which a killed run loses them although
    its checkpoint counts their step as done.
    """

    def __init__(self, folder: pathlib.Path, resume_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = RecordWriter(str(folder / _next_name(folder)))
        # Makes TensorBoard hide what earlier files hold from that step on.
        start = SessionLog(status=SessionLog.START)
        self._write(
            Event(file_version="brain.Event:2"), Event(step=resume_step + 1, session_log=start)
        )

    def add(self, step: int, *summaries: Any) -> None:
        self._write(*(Event(step=step, summary=one) for one in summaries))

    def _write(self, *events: Event) -> None:
        for event in events:
            event.wall_time = time.time()
            self._writer.write(event.SerializeToString())
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _next_name(folder: pathlib.Path) -> str:
    """A name after all that are there, whatever the clock says.

    TensorBoard reads the files in the order of their names, which begin with a time in seconds.
    """
    found = (re.match(r"events\.out\.tfevents\.(\d+)", file.name) for file in folder.iterdir())
    after = [int(match[1]) + 1 for match in found if match]
    return f"events.out.tfevents.{max([int(time.time()), *after]):010d}.{socket.gethostname()}"


class MetricWriter(Closing):
    """Writes scalars, text and the config of one run.

    A process other than the first makes one with `enabled=False`, which writes nothing.
    """

    def __init__(
        self,
        tensorboard: pathlib.Path,
        jsonl: pathlib.Path,
        *,
        evaluations: pathlib.Path | None = None,
        causes: tuple[str, ...] = (),
        resume_step: int = 0,
        enabled: bool = True,
    ) -> None:
        """Opens both, and removes or hides what a killed run wrote after its last checkpoint.

        Args:
          tensorboard: Folder of the event files.
          jsonl: File with one line of scalars a step.
          evaluations: File with one line of scalars for each evaluation, if there are any.
          causes: How names begin that are given only in steps in which they occur. They are written
            from the first such step on, as 0 where they are not given: a curve with holes would
            join two rare events by a line. What is known of earlier steps is read from `jsonl`, so
            that a resumed run writes what an uninterrupted one does.
          resume_step: The last step that stays; 0 starts afresh.
          enabled: Whether anything is written.

        Raises:
          LogError: Among the lines that stay is a damaged one.
        """
        self._events: _EventFile | None = None
        self._lines: JsonLines | None = None
        self._evaluations: JsonLines | None = None
        self._evaluated: set[int] = set()
        self._resume_step = resume_step
        self._causes = causes
        self._known: dict[str, float] = {}
        if enabled:
            self._lines = JsonLines(jsonl, resume_step=resume_step)
            if evaluations is not None:
                self._evaluations = JsonLines(evaluations, resume_step=resume_step)
                self._evaluated = {line["step"] for line in read(evaluations)}
            for line in read(jsonl):
                self._learn(line)
            self._events = _EventFile(tensorboard, resume_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the step's scalars; call it once a step.

        Args:
          step: Training steps that are complete, from 1.
          values: Names like "reward/mean" and numbers (also 0-d arrays).
        """
        if self._events is None or self._lines is None:
            return
        numbers = self._known | {name: float(value) for name, value in values.items()}
        self._learn(numbers)
        self._events.add(step, *(summary.scalar(name, value) for name, value in numbers.items()))
        self._lines.append(step, numbers)

    def _learn(self, names: Iterable[str]) -> None:
        self._known |= {name: 0.0 for name in names if name.startswith(self._causes)}

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Writes what an evaluation found.

        Args:
          step: Training steps that the policy has behind it, from 0.
          values: Names like "eval/simulated/success" and numbers.
        """
        self._evaluated.add(step)
        if self._events is None or self._evaluations is None:
            return
        self._events.add(step, *(summary.scalar(name, value) for name, value in values.items()))
        self._evaluations.append(step, values)

    def evaluated(self, step: int) -> bool:
        """Whether there is an evaluation of that step."""
        return step in self._evaluated

    def text(self, step: int, name: str, text: str) -> None:
        """Shows a text, as it is, in TensorBoard's text tab."""
        if self._events is not None:
            # TensorBoard renders Markdown; an indented block is shown as it is.
            block = "\n".join(f"    {line}" for line in text.splitlines())
            self._events.add(step, summary.text(name, block))

    def config(self, options: Mapping[str, Any]) -> None:
        """Shows the run's options as a table.

        Args:
          options: JSON values by dotted name, see `options.flatten`.
        """
        if self._events is not None:
            cells = {name: json.dumps(value).replace("|", r"\|") for name, value in options.items()}
            rows = [f"| {name} | `{cell}` |" for name, cell in cells.items()]
            table = "\n".join(["| option | value |", "|---|---|", *rows])
            self._events.add(self._resume_step, summary.text("config", table))

    def layout(self, layout: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Arranges charts of TensorBoard's tab "Custom scalars".

        Args:
          layout: Category -> chart -> regular expressions, each of whole names of scalars.
        """
        if self._events is not None:
            categories = {
                # TensorBoard asks only whether a name begins with what an expression matches.
                category: {
                    c: ["Multiline", [f"{n}$" for n in names]] for c, names in charts.items()
                }
                for category, charts in layout.items()
            }
            self._events.add(self._resume_step, summary.custom_scalars(categories))

    def sync(self) -> None:
        """Returns when all scalars are on the disk; see `JsonLines.sync`."""
        for lines in (self._lines, self._evaluations):
            if lines is not None:
                lines.sync()

    def close(self) -> None:
        """Closes both."""
        if self._events is not None:
            self._events.close()
        for lines in (self._lines, self._evaluations):
            if lines is not None:
                lines.close()
