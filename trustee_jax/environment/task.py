"""A task: what the user wants, what the policy is offered, and the world behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trustee_jax.curriculum import Aspects
from trustee_jax.environment.world import Records
from trustee_jax.simulator.simulator import tool_fields
from trustee_jax.toolsets import Tool


@dataclass(frozen=True, eq=False)
class Task:
    """One task, shared by the episodes of a group.

    Attributes:
      tools: What the policy is offered.
      aspects: What the task was asked to be like, and the limits of its episodes.
      persona: Who the user is.
      intent: What the user wants; the policy never sees it.
      expected_calls: Names of the tools that solve it, in order; none where no tool does
        (`aspects.irrelevant`).
      query: The user's first message.
      expected_values: For each expected call the values of required parameters, as the intent has
        them; empty where they were not asked for.
      world: The records at the start; None where there are none.
    """

    tools: tuple[Tool, ...]
    aspects: Aspects
    persona: str
    intent: str
    expected_calls: tuple[str, ...]
    query: str
    expected_values: tuple[dict[str, str], ...] = ()
    world: Records | None = None

    @property
    def text(self) -> str:
        """What makes the task another one than the last: intent and query."""
        return f"{self.intent}\n{self.query}"

    def to_json(self) -> dict[str, Any]:
        """Returns the task as plain JSON values."""
        return {
            "category": self.tools[0].category,
            "tools": tool_fields(self.tools),
            "aspects": self.aspects.to_json(),
            "persona": self.persona,
            "intent": self.intent,
            "expected_calls": list(self.expected_calls),
            "expected_values": list(self.expected_values),
            "query": self.query,
            "world": self.world,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Task":
        """Reads what `to_json` returned.

        Raises:
          KeyError, TypeError: A field is missing or of another type.
        """
        tools = (
            Tool(t["name"], t["description"], t["parameters"], value["category"])
            for t in value["tools"]
        )
        return cls(
            tools=tuple(tools),
            aspects=Aspects(**value["aspects"]),
            persona=value["persona"],
            intent=value["intent"],
            expected_calls=tuple(value["expected_calls"]),
            query=value["query"],
            expected_values=tuple(value.get("expected_values", ())),
            world=value.get("world"),
        )
