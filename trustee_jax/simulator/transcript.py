"""A conversation as the simulators read it: one line per event, which its content cannot break."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trustee_jax.chat import attempts
from trustee_jax.text import compact_json

# What models write into the field of an error that did not happen.
_NO_ERROR = ("", "none", "null", "false", "no error")
_NO_ERROR_BEGINS = tuple(f'{{"error":{text}' for text in ('""', "false", "null", "0,"))
_PLAIN_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)

LINE_LABEL = re.compile(
    r"^[ \"'(*]{0,4}(?:assistant(?: calls| attempts a call)?:|tool returns:|user: ?\")",
    re.IGNORECASE | re.MULTILINE,
)
"""How a line of a transcript begins; a message that has it was written as part of one."""


def call_text(name: str, arguments: Mapping[str, Any] | str) -> str:
    """Writes a call as `name(arguments)`; arguments are an object or its JSON."""
    shown = name if _PLAIN_NAME.fullmatch(name) else compact_json(name)
    return f"{shown}({arguments if isinstance(arguments, str) else compact_json(arguments)})"


def is_error(answer: Mapping[str, Any] | str) -> bool:
    """Whether a tool's answer says that the call failed.

    A field `error` says so, unless what it says is that there is none.

    Args:
      answer: The answer, or its JSON, possibly cut.
    """
    if isinstance(answer, str):
        try:
            answer = json.loads(answer)
        except (ValueError, RecursionError):
            text = str(answer)
            return text.startswith('{"error":') and not text.startswith(_NO_ERROR_BEGINS)
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return bool(error) and str(error).strip().casefold() not in _NO_ERROR


def transcript(
    messages: Sequence[Mapping[str, Any]],
    width: int | None = None,
    most_lines: int | None = None,
    *,
    numbered: bool = False,
    unmarked: bool = False,
) -> list[str]:
    """Writes a conversation line by line, without system message and private reasoning.

    Texts are quoted as JSON strings, so that no text can pose as another line.

    Args:
      messages: OpenAI messages; an assistant's `malformed_calls` are shown as well.
      width: Characters that a line may have; the middle of a longer one is left out.
      most_lines: Lines that there may be; the middle of a longer conversation is left out.
      numbered: Put each line's number, from 1, before it.
      unmarked: Say which texts are calls without the form of one; for people, not for simulators,
        which see what the policy said and no more.
    """
    lines = []
    for number, (index, attempt) in enumerate(events(messages), start=1):
        line = _line(messages[index], attempt)
        lines.append(f"{number}. {line}" if numbered else line)
        if unmarked and attempt is None and (names := messages[index].get("unmarked_calls")):
            lines.append(f"(that text calls {', '.join(names)} without the form of a call)")
    return cut_lines(lines, width, most_lines)


def events(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int | None]]:
    """What has a line of the transcript, in the order of the lines, which count from 1.

    Args:
      messages: OpenAI messages; an assistant's `malformed_calls` count as well.

    Yields:
      The message's index, and which of its attempts at a call the line shows; None for its text.
    """
    for index, message in enumerate(messages):
        made = attempts(message) if message["role"] == "assistant" else []
        if message["role"] != "system" and (message.get("content") or not made):
            yield index, None
        for attempt in range(len(made)):
            yield index, attempt


def _line(message: Mapping[str, Any], attempt: int | None) -> str:
    if attempt is not None:
        return _attempt(attempts(message)[attempt])
    content = message.get("content") or ""
    if message["role"] == "tool":
        # Single-line JSON already, possibly cut.
        return f"tool returns: {content}"
    return f"{message['role']}: {compact_json(content)}"


def _attempt(call: Mapping[str, Any]) -> str:
    if "problem" in call:
        return f"assistant attempts a call: {compact_json(call['text'])}"
    function = call["function"]
    return f"assistant calls: {call_text(function['name'], function['arguments'])}"


def cut_lines(
    lines: Sequence[str], width: int | None = None, most_lines: int | None = None
) -> list[str]:
    """Leaves out the middle of lines longer than `width`, and of more lines than `most_lines`."""
    if most_lines is not None and len(lines) > most_lines:
        half = most_lines // 2
        omitted = f"[{len(lines) - 2 * half} lines left out]"
        lines = [*lines[:half], omitted, *lines[-half:]]
    return [_shortened(line, width) for line in lines]


def _shortened(line: str, width: int | None) -> str:
    if width is None or len(line) <= width:
        return line
    half = width // 2
    return f"{line[:half]} [...] {line[-half:]}"
