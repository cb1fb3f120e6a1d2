"""The task generator: tools and aspects -> persona, intent, expected calls, first query."""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from trustee_jax.curriculum import Aspects
from trustee_jax.engine.types import Completion, Request
from trustee_jax.simulation.schemas import task_schema
from trustee_jax.simulation.simulator import (
    ROLE_KEYS,
    Failure,
    Key,
    Simulator,
    SimulatorError,
    Usage,
    tool_fields,
)
from trustee_jax.tools import Tool


@dataclass(frozen=True, eq=False)
class Task:
    """One task, shared by the episodes of a group.

    Attributes:
      tools: what the policy is offered.
      aspects: what the task was asked to be like, and the limits of its episodes.
      persona: who the user is.
      intent: what the user wants; the policy never sees it.
      expected_calls: names of the tools that solve it, in order.
      query: the user's first message.
    """

    tools: tuple[Tool, ...]
    aspects: Aspects
    persona: str
    intent: str
    expected_calls: tuple[str, ...]
    query: str

    def to_json(self) -> dict[str, Any]:
        """Returns the task as plain JSON values."""
        return {
            "category": self.tools[0].category,
            "tools": tool_fields(self.tools),
            "aspects": self.aspects.to_json(),
            "persona": self.persona,
            "intent": self.intent,
            "expected_calls": list(self.expected_calls),
            "query": self.query,
        }


def generate_task(
    simulator: Simulator,
    tools: Sequence[Tool],
    aspects: Aspects,
    key: Key,
    usage: Usage | None = None,
) -> Generator[Request, Completion, Task | Failure]:
    """Coroutine that writes one task.

    Args:
      simulator: the frozen model.
      tools: the tools of the task, all of one category.
      aspects: what the task shall be like.
      key: (step, task, attempt); the same triple may be used for an episode, not for another task.
      usage: is added to.

    Returns:
      The task, or why there is none: draw anew and ask under another key.
    """
    limit = simulator.config.text_limit
    try:
        answer = yield from simulator.ask(
            "task",
            {
                "tools": tool_fields(tools),
                "category": tools[0].category,
                "calls": aspects.calls,
                "persona": aspects.persona,
                "ambiguity": aspects.ambiguity,
                "turns": aspects.turns,
            },
            task_schema(tuple(tool.name for tool in tools), aspects.calls, limit),
            (*key, ROLE_KEYS["task"], 0),
            check=lambda answer: _problem(answer, tools),
            usage=usage,
        )
    except SimulatorError as error:
        return error.failure
    return Task(
        tools=tuple(tools),
        aspects=aspects,
        persona=answer["persona"].strip(),
        intent=answer["intent"].strip(),
        expected_calls=tuple(answer["expected_calls"]),
        query=answer["query"].strip(),
    )


def _problem(answer: dict[str, Any], tools: Sequence[Tool]) -> str | None:
    for field in ("persona", "intent", "query"):
        if not answer[field].strip():
            return f"the {field} is blank"
    for tool in tools:
        # A name like "search" is also a word; one like "search_hotels" no user would write.
        if not re.fullmatch(r"[A-Za-z]?[a-z]*", tool.name) and re.search(
            rf"(?<!\w){re.escape(tool.name)}(?!\w)", answer["query"], re.IGNORECASE
        ):
            return f"the query names the tool {tool.name!r}"
    return None
