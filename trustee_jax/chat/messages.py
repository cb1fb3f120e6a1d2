"""OpenAI messages, made ready for a chat template and read again."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


def normal_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Brings copies of messages into the form that templates expect.

    `content` becomes a string (null: "", a list of parts: their text), `arguments` an object where
    its JSON text is one.
    """
    return [_normal(message) for message in messages]


def attempts(message: Message) -> list[dict[str, Any]]:
    """The calls and malformed calls of a message in the order in which they were written.

    Args:
      message: As `AssistantTurn.message` makes it; malformed calls without a place, which older
        files have, come last.

    Returns:
      Its `tool_calls` and `malformed_calls`; only the latter have a `problem`.
    """
    found = list(message.get("tool_calls") or ())
    for call in message.get("malformed_calls") or ():
        found.insert(min(call.get("place", len(found)), len(found)), call)
    return found


def _normal(message: Message) -> dict[str, Any]:
    normal = dict(message)
    content = message.get("content")
    if not isinstance(content, str):
        parts = content if isinstance(content, Sequence) else ()
        texts = (part.get("text", "") if isinstance(part, Mapping) else part for part in parts)
        normal["content"] = "".join(map(str, texts))
    if calls := message.get("tool_calls"):
        normal["tool_calls"] = [
            {**call, "function": _with_object(call["function"])} for call in calls
        ]
    return normal


def _with_object(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict):
            arguments = parsed
    return {**function, "arguments": arguments}
