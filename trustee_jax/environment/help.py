"""Help for a policy that hardly ever calls: demonstrations in its context, turns held to calls.

A demonstration is written by code: a request for one tool, the call that answers it, a result and a
last word to the user; or, where no tool serves the task, words that say so. It stands before the
conversation, for the policy alone; user, tools and judge do not see it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustee_jax.chat import CallSyntax
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.task import Task
from trustee_jax.simulator.schemas import Schema, closed
from trustee_jax.streams import Purpose
from trustee_jax.text import compact_json
from trustee_jax.toolsets import Tool, ToolRepository
from trustee_jax.toolsets.example_calls import (
    draw_call,
    example_answer,
    example_refusal,
    example_request,
    example_result,
)


@dataclass(frozen=True)
class Demonstration:
    """An earlier exchange.

    Attributes:
      tool: What it calls; offered as long as it is shown. None if it shows a request that no tool
        serves.
      messages: OpenAI messages: user, call, result, answer; or user and answer.
    """

    tool: Tool | None
    messages: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Help:
    """What the policy of an episode has, and will have to do without.

    Attributes:
      demonstrations: Stand before the conversation.
      hold_calls: Hold a turn to the grammar of a call that the task still expects, while it does;
        it is free where the engine cannot, and where a template has the model think first.
    """

    demonstrations: tuple[Demonstration, ...] = ()
    hold_calls: bool = False

    def opening(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """System message and query, with the demonstrations between them."""
        shown = [message for one in self.demonstrations for message in one.messages]
        return [*messages[:-1], *shown, messages[-1]]

    def tools(self, tools: Sequence[Tool]) -> list[dict[str, Any]]:
        """What is offered, as OpenAI tools: those of the task, and those demonstrated."""
        shown = (one.tool for one in self.demonstrations if one.tool is not None)
        return [tool.openai() for tool in (*tools, *shown)]


def draw_demonstrations(
    repository: ToolRepository, task: Task, count: int, seed: int, *place: int
) -> tuple[Demonstration, ...]:
    """Writes demonstrations of tools that the task does not have.

    They show what the task wants: calls, or, where its tools are irrelevant, none.

    Args:
      repository: Where tools are drawn from.
      task: The one that the demonstrations stand before.
      count: How many; there are fewer where code can write no arguments for the tools drawn.
      seed: Of the run.
      *place: Step, task and episode: no two of them share demonstrations.
    """
    known = {tool.name for tool in task.tools}
    found = []
    for number in range(count):
        drawn = draw_call(
            repository, Purpose.DEMONSTRATION, seed, *place, number, unlike=frozenset(known)
        )
        if drawn is not None:
            (tool,) = drawn.tools
            known.add(tool.name)
            show = _refusal if task.aspects.irrelevant else _demonstration
            found.append(show(tool, drawn.arguments, number))
    return tuple(found)


def _demonstration(tool: Tool, arguments: dict[str, Any], number: int) -> Demonstration:
    result, id = example_result(arguments), f"demonstration_{number}"
    call = {"name": tool.name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return Demonstration(
        tool,
        (
            {"role": "user", "content": example_request(tool, arguments)},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": id, "type": "function", "function": call}],
            },
            {
                "role": "tool",
                "tool_call_id": id,
                "name": tool.name,
                "content": compact_json(result),
            },
            {"role": "assistant", "content": example_answer(result)},
        ),
    )


def _refusal(tool: Tool, arguments: dict[str, Any], number: int) -> Demonstration:
    return Demonstration(
        None,
        (
            {"role": "user", "content": example_request(tool, arguments)},
            {"role": "assistant", "content": example_refusal(tool)},
        ),
    )


def outstanding_tools(task: Task, calls: Iterable[CallRecord]) -> tuple[Tool, ...]:
    """The tools that the task expects a call of that was not made in a form that they take."""
    made = Counter(call.name for call in calls if call.problem is None)
    left = Counter(task.expected_calls) - made
    return tuple(tool for tool in task.tools if left[tool.name])


def call_schema(tools: Sequence[Tool], syntax: CallSyntax) -> Schema:
    """Schema of the JSON object of one call of one of the tools.

    Args:
      tools: Those that may be called.
      syntax: Says what the field of the arguments is called.
    """
    return {
        "anyOf": [
            closed(
                **{
                    "name": {"type": "string", "enum": [tool.name]},
                    syntax.arguments_field: _strict(tool.parameters),
                }
            )
            for tool in tools
        ]
    }


def _strict(schema: Any) -> Any:
    """A schema without fields that it does not list: what `check_arguments` takes."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    strict = {
        word: {name: _strict(part) for name, part in value.items()}
        if word in ("properties", "patternProperties")
        else _strict(value)
        for word, value in schema.items()
    }
    return {"additionalProperties": False, **strict} if "properties" in strict else strict
