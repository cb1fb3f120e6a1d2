"""What a judge may know of an episode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustee_jax.environment.calls import CallRecord, read_calls
from trustee_jax.environment.records import End
from trustee_jax.environment.task import Task
from trustee_jax.environment.world import Change, Records


@dataclass(frozen=True, eq=False)
class Evidence:
    """A finished dialogue; private reasoning is not part of it.

    Attributes:
      task: The task.
      messages: The dialogue in the OpenAI form; `reasoning_content` is not shown.
      calls: The calls that the messages make.
      ended: How the dialogue ended.
      world: The records at the end; None where the episode had none.
      changes: What the calls changed.
    """

    task: Task
    messages: Sequence[Mapping[str, Any]]
    calls: Sequence[CallRecord]
    ended: End
    world: Records | None = None
    changes: Sequence[Change] = ()

    @classmethod
    def read(
        cls, task: Task, messages: Sequence[Mapping[str, Any]], ended: End = "user", **more: Any
    ) -> "Evidence":
        """Of a recorded dialogue, whose calls are read; see `read_calls`."""
        return cls(task, messages, read_calls(task.tools, messages), ended, **more)
