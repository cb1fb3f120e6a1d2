"""What the policy called, and what came of it: one record per well-formed call."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustee_jax.simulator.transcript import call_text, is_error
from trustee_jax.toolsets import check_arguments
from trustee_jax.toolsets.tool import Tool


@dataclass(frozen=True)
class CallRecord:
    """A call, checked once when it is read.

    Attributes:
      message: Index of the message that makes it.
      id: What its answer refers to.
      name: Of the tool.
      arguments: Decoded.
      problem: Why no tool takes it, in the words of a real API; None if it fits.
      answer: The text that came back; None if nothing did.
    """

    message: int
    id: str
    name: str
    arguments: dict[str, Any]
    problem: str | None = None
    answer: str | None = None

    @property
    def fits(self) -> bool:
        """Whether there is such a tool and the arguments fit it."""
        return self.problem is None

    @property
    def error(self) -> bool:
        """Whether what came back says that the call failed."""
        return self.answer is not None and is_error(self.answer)

    @property
    def succeeded(self) -> bool:
        """Whether its tool answered, and not with an error."""
        return self.fits and self.answer is not None and not self.error

    @property
    def text(self) -> str:
        """The call as simulators and `Change.call` have it."""
        return call_text(self.name, self.arguments)

    def to_json(self) -> dict[str, Any]:
        """Returns the record as plain JSON values."""
        return {**vars(self), "error": self.error}


def find_problem(tools: Mapping[str, Tool], name: str, arguments: dict[str, Any]) -> str | None:
    """What a real API would say of a call that never gets to its tool; None if it fits.

    Args:
      tools: By name.
      name: Of the tool that is called.
      arguments: Decoded.
    """
    tool = tools.get(name)
    if tool is None:
        return f"unknown tool {name!r}; available: {', '.join(tools)}"
    if problems := check_arguments(tool, arguments):
        return f"invalid arguments: {'; '.join(problems)}"
    return None


def read_calls(
    tools: Sequence[Tool], messages: Sequence[Mapping[str, Any]]
) -> tuple[CallRecord, ...]:
    """The calls of a recorded dialogue, as the episode itself had them.

    Args:
      tools: Those that were offered.
      messages: The dialogue in the OpenAI form.

    Raises:
      KeyError: A call or an answer lacks a field.
    """
    by_name = {tool.name: tool for tool in tools}
    answers = {m.get("tool_call_id"): m["content"] for m in messages if m["role"] == "tool"}
    calls = []
    for index, message in enumerate(messages):
        for call in message.get("tool_calls") or ():
            name, arguments = call["function"]["name"], _decoded(call["function"]["arguments"])
            if isinstance(arguments, dict):
                problem = find_problem(by_name, name, arguments)
            else:
                arguments, problem = {}, "invalid arguments: not an object"
            answer = answers.get(call["id"])
            calls.append(CallRecord(index, call["id"], name, arguments, problem, answer))
    return tuple(calls)


def _decoded(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return None
