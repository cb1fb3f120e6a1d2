"""A model's answer while it is being written: tokens to text, text to words and calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trustee_jax.chat import AssistantTurn, CallSyntax, ChatFormat, MalformedCall, ToolCall
from trustee_jax.chat.parsing import (
    CALL_END,
    CALL_START,
    PYTHON_TAG,
    THINK_END,
    THINK_START,
    parse_turn,
)

_UNFINISHED = "\ufffd"  # what the first bytes of a character are decoded to
_FENCE = "```"
_TAGS = {
    CallSyntax.HERMES: (THINK_START, THINK_END, CALL_START, CALL_END),
    CallSyntax.LLAMA: (THINK_START, THINK_END, PYTHON_TAG),
    CallSyntax.JSON: (THINK_START, THINK_END, _FENCE),
}


def partial_end(text: str, marks: Sequence[str]) -> int:
    """Where the longest end of a text begins that one of some marks begins with."""
    longest = max(map(len, marks), default=0)
    for start in range(max(0, len(text) - longest + 1), len(text)):
        if any(mark.startswith(text[start:]) for mark in marks):
            return start
    return len(text)


class TextStream:
    """Decodes tokens as they come; a character is given out once all its bytes are there."""

    def __init__(self, format: ChatFormat) -> None:
        """Takes what decodes."""
        self._format = format
        self._ids: list[int] = []
        # Ids from `start` are decoded again, because what follows may depend on them.
        self._start = self._read = 0
        self._said = 0

    def add(self, ids: Sequence[int]) -> str:
        """The text that these ids complete."""
        self._ids += ids
        before = self._format.decode(self._ids[self._start : self._read])
        text = self._format.decode(self._ids[self._start :])
        if text.endswith(_UNFINISHED) or not text.startswith(before):
            return ""
        self._start, self._read = self._read, len(self._ids)
        self._said += len(text) - len(before)
        return text[len(before) :]

    def end(self) -> str:
        """What is left, whether complete or not."""
        rest = self._format.decode(self._ids)[self._said :]
        self._said += len(rest)
        return rest


class StopFinder:
    """Looks for texts that end an answer and are no part of it.

    Attributes:
      found: Whether one was found.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Takes the texts."""
        self._stops = stops
        self._kept = ""
        self.found = False

    def add(self, text: str) -> str:
        """What can be given out of the text so far: no stop can begin in it any more."""
        if self.found or not self._stops:
            return "" if self.found else text
        text = self._kept + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._kept = True, ""
            return text[: min(places)]
        end = partial_end(text, self._stops)
        self._kept = text[end:]
        return text[:end]

    def end(self) -> str:
        """What was kept back and is no stop after all."""
        kept, self._kept = self._kept, ""
        return kept


@dataclass(frozen=True)
class TurnDelta:
    """What a turn has gained.

    Attributes:
      reasoning: More of its thoughts.
      content: More of its words.
      calls: Complete calls.
    """

    reasoning: str = ""
    content: str = ""
    calls: tuple[ToolCall, ...] = ()

    def __add__(self, more: TurnDelta) -> TurnDelta:
        """Both gains, one after the other."""
        return TurnDelta(
            self.reasoning + more.reasoning,
            self.content + more.content,
            self.calls + more.calls,
        )

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.reasoning or self.content or self.calls)


@dataclass
class TurnStream:
    """Reads a turn as `parse_turn` does, while it comes.

    What may still become a tag, or be stripped, is kept back. Attempts at calls that are none are
    words in the end: a client has no other place for them.

    Attributes:
      syntax: The form of calls; None reads all as words and thoughts.
      in_thought: Whether the prompt has opened a thought.
      text: All of the turn so far.
    """

    syntax: CallSyntax | None
    in_thought: bool = False
    text: str = ""
    _told: TurnDelta = field(default_factory=TurnDelta)

    def add(self, text: str) -> TurnDelta:
        """Takes more of the turn's text."""
        self.text += text
        return self._gain(self._parse(self.text[: self._settled()]), last=False)

    def end(self) -> TurnDelta:
        """What is left."""
        return self._gain(self._parse(self.text), last=True)

    def _parse(self, text: str) -> AssistantTurn:
        if self.syntax is not None:
            return parse_turn(text, self.syntax, in_thought=self.in_thought)
        # No tag of the LLAMA form is a word, and a turn of that form is words unless it is JSON.
        head, tag, tail = text.partition(THINK_END) if self.in_thought else ("", "", text)
        if self.in_thought and not tag:
            return AssistantTurn(reasoning=text.strip())
        if not self.in_thought and tail.lstrip().startswith(THINK_START):
            head, tag, tail = tail.lstrip()[len(THINK_START) :].partition(THINK_END)
        return AssistantTurn(reasoning=head.strip(), content=tail.strip())

    def _settled(self) -> int:
        """How much of the text no later text makes anything else of."""
        marks = _TAGS[self.syntax] if self.syntax else (THINK_START, THINK_END)
        end = partial_end(self.text, marks)
        if self.syntax in (None, CallSyntax.HERMES):
            return end
        # A call has no tag of its own: what may be one is not known before the end.
        said = self.text.rpartition(THINK_END)[2]
        start = len(self.text) - len(said)
        if self.in_thought and not start:
            return end
        if said.lstrip()[:1] in ("{", "["):
            return start
        mark = PYTHON_TAG if self.syntax is CallSyntax.LLAMA else _FENCE
        place = self.text.find(mark, start)
        return end if place < 0 else min(end, place)

    def _gain(self, turn: AssistantTurn, *, last: bool) -> TurnDelta:
        content, attempts = turn.content, turn.attempts
        if last:
            failed = (call.text for call in attempts if isinstance(call, MalformedCall))
            content = "\n".join(filter(None, (content, *failed)))
        else:
            # The last one may only seem to be over, or to be malformed.
            while attempts and isinstance(attempts[-1], MalformedCall):
                attempts = attempts[:-1]
        calls = tuple(call for call in attempts if isinstance(call, ToolCall))
        told = self._told
        gained = TurnDelta(
            _after(told.reasoning, turn.reasoning),
            _after(told.content, content),
            calls[len(told.calls) :],
        )
        self._told = told + gained
        return gained


def _after(told: str, text: str) -> str:
    """What a text has beyond what was told of it; nothing if it has become another one."""
    return text[len(told) :] if text.startswith(told) else ""
