"""Tasks that a simulator wrote once, to measure policies by: a file that knows its own hash."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustee_jax import streams
from trustee_jax.curriculum import Curriculum, CurriculumConfig
from trustee_jax.engine.types import Completion, Request, Role
from trustee_jax.environment import (
    Environment,
    RecentTasks,
    Task,
    check_tools,
    draw_tools,
    generate_task,
    run,
)
from trustee_jax.environment.driver import SupportsRequests
from trustee_jax.errors import InputError
from trustee_jax.simulator import Failure
from trustee_jax.storage import storage_errors, write_text
from trustee_jax.streams import Purpose
from trustee_jax.text import compact_json
from trustee_jax.toolsets import ToolRepository

FORMAT = "trustee-jax tasks 1"
_ATTEMPTS = 8  # draws of tools and aspects for one task


class TaskSetError(InputError):
    """A file of tasks cannot be used; the message says where, and what to do."""


@dataclass(frozen=True, eq=False)
class TaskSet:
    """Tasks, and where they come from.

    Attributes:
      tasks: In their order.
      about: What they were written by: simulator, seed, tools, versions; JSON values.
    """

    tasks: tuple[Task, ...]
    about: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 of the tasks, in hexadecimal."""
        return _hash([_line(task) for task in self.tasks])

    def write(self, path: pathlib.Path) -> None:
        """Writes the set: a line about it, then a line of JSON for each task.

        Raises:
          StorageError: The file cannot be written.
        """
        lines = [_line(task) for task in self.tasks]
        head = {"format": FORMAT, "tasks": len(lines), "sha256": _hash(lines), **self.about}
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, "\n".join([compact_json(head), *lines]) + "\n")


def read_task_set(path: pathlib.Path) -> TaskSet:
    """Reads what `TaskSet.write` wrote.

    Raises:
      TaskSetError: It is no such file, or not as it was written.
    """
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        about = json.loads(head)
        kind = about.pop("format")
        count, digest = about.pop("tasks"), about.pop("sha256")
    except FileNotFoundError:
        raise TaskSetError(f"{path}: no such file; write one with `trustee eval tasks`") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise TaskSetError(
            f"{path} is no set of tasks ({error}); see `trustee eval tasks`"
        ) from None
    if kind != FORMAT:
        raise TaskSetError(f"{path}: format is {kind!r}, not {FORMAT!r}; write the tasks anew")
    if count != len(lines) or digest != _hash(lines):
        raise TaskSetError(
            f"{path} is not as it was written (its tasks have another sha256 than its first line "
            "says), so results would not compare; restore it, or write the tasks anew"
        )
    try:
        tasks = tuple(Task.from_json(json.loads(line)) for line in lines)
    except (ValueError, KeyError, TypeError) as error:
        raise TaskSetError(f"{path}: a task lacks {error}; write the tasks anew") from None
    return TaskSet(tasks, about)


def write_tasks(
    environment: Environment,
    engines: Mapping[Role, SupportsRequests],
    repository: ToolRepository,
    curriculum: CurriculumConfig,
    difficulties: Sequence[float],
    per_difficulty: int,
    seed: int,
    *,
    on_task: Callable[[], None] = lambda: None,
) -> tuple[tuple[Task, ...], collections.Counter[str]]:
    """Has the simulator write tasks, so many at each difficulty.

    No aspect is redrawn: a task is as its difficulty says. The random streams are none that a
    training run draws from.

    Args:
      environment: Its options, and the simulator that writes.
      engines: By role.
      repository: The tools that tasks are about.
      curriculum: Its ramps say what a difficulty means.
      difficulties: Each within the curriculum's range.
      per_difficulty: Tasks wanted at each.
      seed: Decides tools and aspects; what the simulator writes follows from the engine's seed.
      on_task: Called after each task, written or given up.

    Returns:
      The tasks, and the failures by cause: a task that is not written in a few attempts is missing.

    Raises:
      ConfigError: The repository lacks what the curriculum asks for (`check_tools`).
    """
    check_tools(repository, curriculum)
    failures: collections.Counter[str] = collections.Counter()
    recent = RecentTasks(len(difficulties) * per_difficulty, environment.config.near_copy)

    def write(level: int, number: int) -> Generator[Request, Completion, Task | None]:
        difficulty = difficulties[level]
        pinned = dataclasses.replace(curriculum, rule="fixed", initial=difficulty, epsilon=0.0)
        for attempt in range(_ATTEMPTS):
            place = (level, number, attempt)
            rng = streams.generator(Purpose.EVALUATION_TASKS, seed, *place)
            aspects = Curriculum(pinned).aspects(rng)
            tools, offered = draw_tools(repository, rng, aspects)
            # Four numbers, where a training run's keys have three.
            key = (Purpose.EVALUATION_TASKS, *place)
            task = yield from generate_task(
                environment, tools, aspects, key, offered=offered, recent=recent
            )
            if isinstance(task, Failure):
                failures[task.cause] += 1
            elif recent.nearest(task.text) < recent.threshold:
                recent.add(task.text)
                on_task()
                return task
            else:
                failures["near_copy"] += 1  # of one that was written at the same time
        on_task()
        return None

    wanted = [(level, n) for level in range(len(difficulties)) for n in range(per_difficulty)]
    written = run([write(*place) for place in wanted], engines)
    return tuple(task for task in written if task is not None), failures


def _line(task: Task) -> str:
    return compact_json(task.to_json())


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
