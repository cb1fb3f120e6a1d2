"""What a model wrote, read as reasoning, text and tool calls. Total: any text gives a result."""

import enum
import json
import math
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from trustee_jax.text import without_surrogates

THINK_START, THINK_END = "<think>", "</think>"
CALL_START, CALL_END = "<tool_call>", "</tool_call>"
PYTHON_TAG = "<|python_tag|>"
MARKERS = frozenset({THINK_START, THINK_END, CALL_START, CALL_END, PYTHON_TAG})

# Far beyond real schemas, far below the recursion limit of whatever handles the arguments next.
_MAX_DEPTH = 64


class CallSyntax(enum.Enum):
    """How a model family writes its tool calls."""

    HERMES = "hermes"
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, any number, text between them."""
    LLAMA = "llama"
    """`{"name": ..., "parameters": {...}}` as the whole turn or after `<|python_tag|>`, `;` between
    calls."""
    JSON = "json"
    """`{"name": ..., "arguments": {...}}` without any tag, for models that cannot write one: one or
    several objects, or a list of them, as the whole turn, or in fences with or without text around
    them."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The texts without which no call can be written."""
        return (CALL_START, CALL_END) if self is CallSyntax.HERMES else ()

    @property
    def frame(self) -> tuple[str, str]:
        """What stands before and after the JSON object of a call."""
        return (f"{CALL_START}\n", f"\n{CALL_END}") if self is CallSyntax.HERMES else ("", "")

    @property
    def arguments_field(self) -> str:
        """The field of that object that holds the arguments."""
        return "parameters" if self is CallSyntax.LLAMA else "arguments"


@dataclass(frozen=True)
class ToolCall:
    """A well-formed call; whether tool and arguments exist is for the caller to check."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class MalformedCall:
    """Text that was meant as a call, and what is wrong with it."""

    text: str
    problem: str


@dataclass(frozen=True)
class AssistantTurn:
    """One assistant turn.

    Attributes:
      reasoning: The private thoughts, without their tags; "" if there are none.
      content: The text outside thoughts and calls, stripped.
      attempts: Calls and malformed calls in the order in which they were written, which is the
        order of their answers.
    """

    reasoning: str = ""
    content: str = ""
    attempts: tuple[ToolCall | MalformedCall, ...] = ()

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The well-formed calls."""
        return tuple(call for call in self.attempts if isinstance(call, ToolCall))

    @property
    def malformed(self) -> tuple[MalformedCall, ...]:
        """The attempts that are no calls."""
        return tuple(call for call in self.attempts if isinstance(call, MalformedCall))

    def message(self, ids: Sequence[str] = ()) -> dict[str, Any]:
        """The turn as an OpenAI message; `messages.attempts` gives the order back.

        Args:
          ids: One per attempt.

        Returns:
          `{"role", "content"}`, with `tool_calls` (arguments as a JSON string) if there are calls
          and `reasoning_content` if there are thoughts. Malformed attempts, which OpenAI's form
          lacks, are in `malformed_calls`: id, text, problem, and place among the attempts.

        Raises:
          ValueError: Another number of ids than attempts.
        """
        if len(ids) != len(self.attempts):
            raise ValueError(
                f"{len(ids)} ids for {len(self.attempts)} calls, malformed ones among them: "
                "give one per call"
            )
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        for place, (id, call) in enumerate(zip(ids, self.attempts, strict=True)):
            if isinstance(call, ToolCall):
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                function = {"name": call.name, "arguments": arguments}
                made = {"id": id, "type": "function", "function": function}
                message.setdefault("tool_calls", []).append(made)
            else:
                failed = {"id": id, "place": place, "text": call.text, "problem": call.problem}
                message.setdefault("malformed_calls", []).append(failed)
        return message


def parse_turn(text: str, syntax: CallSyntax, *, in_thought: bool = False) -> AssistantTurn:
    """Reads one assistant turn.

    Tags are read left to right, so a tag inside a thought or inside the JSON of a call means
    nothing. A thought that is not closed reaches to the end. A closing `</think>` without an
    opening one makes everything before it thought.

    Args:
      text: The turn without its end-of-turn token.
      syntax: The form of the calls.
      in_thought: Whether the generation prompt has already opened a thought.
    """
    reasoning: list[str] = []
    content: list[str] = []
    found: list[ToolCall | MalformedCall] = []
    opening = 0  # end of what a closing tag without an opening one makes thought
    tags = _HERMES_TAGS if syntax is CallSyntax.HERMES else _THINK_TAGS
    position = 0
    while True:
        match = None if in_thought else tags.search(text, position)
        if match:
            content.append(text[position : match.start()])
            position = match.end()
        tag = THINK_START if in_thought else match and match.group()
        in_thought = False
        if tag is None:
            content.append(text[position:])
            break
        if tag == THINK_START:
            end = text.find(THINK_END, position)
            end = len(text) if end < 0 else end
            reasoning.append(text[position:end])
            position = end + len(THINK_END)
        elif tag == THINK_END:
            opening = position - len(tag)
            reasoning, content, found = [], [], []
        elif tag == CALL_START:
            call, position = _hermes_call(text, position)
            found.append(call)
        else:
            found.append(MalformedCall(tag, f"{CALL_END} without {CALL_START}"))
    thoughts = [text[:opening].replace(THINK_START, "").replace(THINK_END, ""), *reasoning]
    said = "".join(content).strip()
    if syntax is CallSyntax.LLAMA:
        said, found = _llama_calls(said)
    elif syntax is CallSyntax.JSON:
        said, found = _json_calls(said)
    return AssistantTurn(
        reasoning="\n".join(filter(None, (part.strip() for part in thoughts))),
        content=said,
        attempts=tuple(found),
    )


_THINK_TAGS = re.compile("|".join((THINK_START, THINK_END)))
_HERMES_TAGS = re.compile("|".join((THINK_START, THINK_END, CALL_START, CALL_END)))
_CALL_TAGS = re.compile("|".join((CALL_START, CALL_END)))
_SPACE = re.compile(r"\s*")
_QUOTED_WORD = re.compile(r'"(\w+)"')
_JSON_KEYS = ("arguments", "parameters")
_LLAMA_KEYS = ("parameters", "arguments")
# A fence that is still open at the end has the rest of the turn.
_FENCE = re.compile(r"```\w*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_JSON_SEPARATOR = re.compile(r"[\s,;]*")
_LLAMA_SEPARATOR = re.compile(rf"(?:[\s;]|{re.escape(PYTHON_TAG)})*")


def _hermes_call(text: str, start: int) -> tuple[ToolCall | MalformedCall, int]:
    """The call whose tag ends at `start`, and where the text goes on."""
    try:
        value, end = _decode_json(text, start)
        problem = "text after the JSON object"
    except _NoJson as error:
        problem = str(error)
    else:
        end = _end_of(_SPACE, text, end)
        if text.startswith(CALL_END, end):
            return _as_call(value, text[start:end], ("arguments",)), end + len(CALL_END)
    tag = _CALL_TAGS.search(text, start)
    end = tag.start() if tag else len(text)
    if tag is None or tag.group() == CALL_START:
        return MalformedCall(text[start:end].strip(), f"no closing {CALL_END}"), end
    return MalformedCall(text[start:end].strip(), problem), tag.end()


def _llama_calls(text: str) -> tuple[str, list[ToolCall | MalformedCall]]:
    """Splits a turn in the Llama form into its text and its calls.

    Without the tag, JSON is an answer unless it has the fields of a call, as vLLM and Llama Stack
    read it.
    """
    content, tag, body = text.partition(PYTHON_TAG)
    if not tag:
        if not text.startswith("{"):
            return text, []
        content, body = "", text
    found: list[ToolCall | MalformedCall] = []
    position = _end_of(_LLAMA_SEPARATOR, body, 0)
    while position < len(body):
        try:
            value, end = _decode_json(body, position)
        except _NoJson as error:
            if not (tag or found or _has_call_fields(_QUOTED_WORD.findall(body))):
                return text, []
            found.append(MalformedCall(body[position:], str(error)))
            break
        if not (tag or found or _has_call_fields(value)):
            return text, []
        found.append(_as_call(value, body[position:end], _LLAMA_KEYS))
        position = _end_of(_LLAMA_SEPARATOR, body, end)
    if tag and not found:
        found.append(MalformedCall(tag, f"nothing after {PYTHON_TAG}"))
    return content.strip(), found


def _json_calls(text: str) -> tuple[str, list[ToolCall | MalformedCall]]:
    """Splits a turn in the JSON form into its text and its calls."""
    whole, complete = _bare_calls(text)
    if complete and whole:
        return "", whole
    found: list[ToolCall | MalformedCall] = []
    content: list[str] = []
    position = 0
    for fence in _FENCE.finditer(text):
        calls, _ = _bare_calls(fence[1].strip())
        if calls:
            found += calls
            content.append(text[position : fence.start()])
            position = fence.end()
    if whole and not found:
        return "", whole
    content.append(text[position:])
    return "\n".join(filter(None, (part.strip() for part in content))), found


def _bare_calls(text: str) -> tuple[list[ToolCall | MalformedCall], bool]:
    """The calls that a text consists of, none if there is anything else, and whether all is JSON.

    What begins like a call and is no JSON is a malformed one.
    """
    found: list[ToolCall | MalformedCall] = []
    position = 0
    while position < len(text):
        try:
            value, end = _decode_json(text, position)
        except _NoJson as error:
            rest = text[position:]
            if rest[0] in "[{" and _has_call_fields(_QUOTED_WORD.findall(rest)):
                return [*found, MalformedCall(rest, str(error))], False
            return [], False
        for part in value if isinstance(value, list) else [value]:
            if not _is_meant_as_call(part):
                return [], True
            shown = text[position:end] if part is value else json.dumps(part, ensure_ascii=False)
            found.append(_as_call(part, shown, _JSON_KEYS))
        position = _end_of(_JSON_SEPARATOR, text, end)
    return found, True


def _is_meant_as_call(value: Any) -> bool:
    # Some repeat the description of a tool, which has the name and the schema of its parameters.
    if not (isinstance(value, dict) and _has_call_fields(value)):
        return False
    arguments = next(value[key] for key in _JSON_KEYS if key in value)
    return not (isinstance(arguments, dict) and "properties" in arguments and "type" in arguments)


def _has_call_fields(names: Container[str]) -> bool:
    return "name" in names and any(key in names for key in _LLAMA_KEYS)


def _end_of(separator: re.Pattern[str], text: str, start: int) -> int:
    match = separator.match(text, start)
    return match.end() if match else start


def _as_call(value: Any, text: str, keys: tuple[str, ...]) -> ToolCall | MalformedCall:
    problem = ""
    if not isinstance(value, dict):
        problem = "not a JSON object"
    elif not (isinstance(value.get("name"), str) and value["name"].strip()):
        problem = 'no "name" string'
    else:
        arguments = next((value[key] for key in keys if key in value), None)
        if isinstance(arguments, dict):
            return ToolCall(value["name"].strip(), arguments)
        problem = f'no "{keys[0]}" object'
    return MalformedCall(text.strip(), problem)


class _NoJson(ValueError):
    pass


def _decode_json(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at `start` (after white space), and its end."""
    start = _end_of(_SPACE, text, start)
    try:
        value, end = _DECODER.raw_decode(text, start)
        return _clean(value, _MAX_DEPTH), end
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")  # as some messages end
        raise _NoJson(f"invalid JSON: {what} at character {error.pos - start}") from None
    except RecursionError:
        raise _NoJson("invalid JSON: nested too deeply") from None
    except ValueError as error:
        raise _NoJson(f"invalid JSON: {error}") from None


def _clean(value: Any, depth: int) -> Any:
    """Refuses endless nesting and replaces lone surrogates, which no tokenizer can encode."""
    if depth == 0:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [_clean(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key, depth): _clean(item, depth - 1) for key, item in value.items()}
    return value


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is out of range")
    return value


_DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite)
