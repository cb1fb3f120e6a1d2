"""The checkpoint's tokenizer and chat template as one object: messages to ids, ids to turns."""

import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trustee_jax.chat.messages import Message, normal_messages
from trustee_jax.chat.parsing import (
    MARKERS,
    THINK_END,
    THINK_START,
    AssistantTurn,
    CallSyntax,
    ToolCall,
    parse_turn,
)
from trustee_jax.chat.plain_text import PlainText
from trustee_jax.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_STOP_TOKENS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>")
_DEFAULT_TEMPLATE = pathlib.Path(__file__).with_name("hermes_chatml.jinja")
_JSON_CALLS = pathlib.Path(__file__).with_name("json_calls.jinja")
_DEFAULT_NEEDS = ("<|im_start|>", "<|im_end|>")
# What tells parts of a prompt apart without being marked as special: in some vocabularies tokens,
# in others only spelled by the template.
_TAG = re.compile(r"</?\w+>")
_TAG_TOKEN = re.compile(r"<\S+>|\[\S+\]")
# Llama 3's templates print a date, newer ones today's; a run must not depend on the day of its
# resumption, so all get the date that the older ones print.
_DATE = "26 Jul 2024"

# Stand-ins whose place in a rendered dialogue shows what the template puts around them. No white
# space at the ends (templates trim), no word that a template would say.
_USER = {"role": "user", "content": "qzUSERzq"}
_SAID = "qzSAIDzq"
_THOUGHT = "qzTHOUGHTzq"
_ASSISTANT = {"role": "assistant", "content": _SAID}
_RESULT = {"role": "tool", "tool_call_id": "qzcall001", "name": "qztool", "content": "qzRESULTzq"}
_TOOL = {
    "type": "function",
    "function": {
        "name": "qztool",
        "description": "qzDESCRIPTIONzq",
        "parameters": {"type": "object", "properties": {"qzkey": {"type": "string"}}},
    },
}
_CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "qzcall001",
            "type": "function",
            "function": {"name": "qzcalled", "arguments": {"qzkey": "qzVALUEzq"}},
        }
    ],
}
_CALLED = (ToolCall("qzcalled", {"qzkey": "qzVALUEzq"}),)
_TOOL_WORDS = ("qzDESCRIPTIONzq", "qzcalled", "qzVALUEzq", "qzRESULTzq")


class ChatFormatError(InputError):
    """A chat template or a dialogue that cannot be turned into exact tokens."""


class ChatFormat:
    """Turns messages into token ids and sampled ids into assistant turns.

    Everything about the model's format is found out by rendering small dialogues with its template:
    the end of a turn, the form of calls, whether it thinks, what it adds after a turn. A template
    that shows no tools (or no template) is replaced by the Hermes ChatML default beside this file.
    Calls as bare JSON, for a model that cannot write its template's tags, are put into any template
    by `json_calls.jinja`.

    Messages are OpenAI dicts, tools OpenAI function dicts. Control tokens spelled out in any
    field of them, and tags of the template or the vocabulary, are broken up: see `PlainText`.

    Attributes:
      tokenizer: The tokenizer that was given, unchanged.
      template: The Jinja chat template in use; an exported tokenizer should carry it. Another
        `ChatFormat` of that tokenizer is then the same without being told the syntax.
      stop_ids: Every id that ends a turn, the template's own first.
      thinks: Whether the template knows private thoughts.
      think_start_id: The id of `<think>`, None if the model does not think.
      think_end_id: The id of `</think>`, None if the model does not think.
      call_syntax: The form in which the model writes calls.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerFast", call_syntax: CallSyntax | None = None
    ) -> None:
        """Probes the tokenizer's template.

        Args:
          tokenizer: With the template, if there is one.
          call_syntax: The form of calls; None is the template's.

        Raises:
          ChatFormatError: The template ends turns without a token of the vocabulary, writes calls
            in an unknown form or rewrites earlier turns, or there is none and the default's tokens
            are missing. Or the form of calls needs another template.
        """
        self.tokenizer = tokenizer
        self._backend: Any = tokenizer.backend_tokenizer
        added = tokenizer.added_tokens_decoder
        special = {token.content: id for id, token in added.items() if token.special}
        self._dropped_ids = frozenset(id for text, id in special.items() if text not in MARKERS)
        self.template, self.call_syntax = self._choose_template(call_syntax)
        tags = {token.content for token in added.values() if _TAG_TOKEN.fullmatch(token.content)}
        self._data = PlainText({*special, *tags, *_TAG.findall(self.template)})

        eos = (str(tokenizer.eos_token),) if tokenizer.eos_token else ()
        stop_tokens = {text: self._id(text) for text in (*eos, *_STOP_TOKENS)}
        self._end = self._find_end([text for text, id in stop_tokens.items() if id is not None])
        stops = (self._id(self._end), *stop_tokens.values())
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(id for id in stops if id is not None))

        start, end = self._id(THINK_START), self._id(THINK_END)
        self.thinks = start is not None and end is not None and self._template_thinks()
        self.think_start_id = start if self.thinks else None
        self.think_end_id = end if self.thinks else None
        self._check_stable()

    def prompt(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        thinking: bool = False,
    ) -> np.ndarray:
        """Renders a whole dialogue and opens the assistant's next turn.

        Returns:
          int32 [n].

        Raises:
          ChatFormatError: The template refuses the dialogue.
        """
        return self.encode(self._render(messages, tools, thinking=thinking))

    def increment(
        self, messages: Sequence[Message], *, closed: bool, thinking: bool = False
    ) -> np.ndarray:
        """What follows a turn that was just sampled, through the next generation prompt.

        Args:
          messages: The new tool or user messages.
          closed: Whether the sampled ids end with a stop id; if not, the increment begins with one.
          thinking: As in `prompt`.

        Returns:
          int32 [n], to be appended to the sampled ids.

        Raises:
          ChatFormatError: The template refuses the messages.
        """
        tail = self._tail([_USER, _ASSISTANT], messages, thinking=thinking)
        return self.encode(tail if closed else self._end + tail)

    def parse(self, ids: Sequence[int] | np.ndarray, *, in_thought: bool = False) -> AssistantTurn:
        """Reads a sampled turn; any ids give a result.

        Args:
          ids: The sampled ids, with or without the stop id.
          in_thought: Whether the generation prompt ends inside a thought.
        """
        return parse_turn(self.decode(ids), self.call_syntax, in_thought=in_thought)

    def encode(self, text: str) -> np.ndarray:
        """Ids of `text` as it stands, int32 [n]; special tokens in it become their ids."""
        return np.array(self._backend.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of `ids` without control tokens and unknown ids; thought and call tags stay."""
        size = len(self.tokenizer)
        kept = [id for id in map(int, ids) if 0 <= id < size and id not in self._dropped_ids]
        return str(self._backend.decode(kept, skip_special_tokens=False))

    def generation_prompt(self, *, thinking: bool = False) -> np.ndarray:
        """The ids that open an assistant turn, int32 [n]."""
        return self.encode(self._generation_text(thinking))

    def opens_thought(self, *, thinking: bool = False) -> bool:
        """Whether the generation prompt ends inside a thought."""
        text = self._generation_text(thinking)
        return self.thinks and text.rfind(THINK_START) > text.rfind(THINK_END)

    def drops_thoughts(self, messages: Sequence[Message], *, empty: bool) -> bool:
        """Whether the template takes the thoughts out of earlier turns once `messages` follow.

        Args:
          messages: The new tool or user messages.
          empty: Asks about empty thoughts, such as a generation prompt contains when thinking is
            off.
        """
        turn = _ASSISTANT if empty else {**_ASSISTANT, "reasoning_content": _THOUGHT}
        text = self._render([_USER, turn, *messages])
        kept = text.partition(_USER["content"])[2].partition(_SAID)[0]
        return (THINK_START if empty else _THOUGHT) not in kept

    def thought_spans(self, ids: np.ndarray) -> Iterator[tuple[int, int, bool]]:
        """Finds thoughts by their tag ids.

        Args:
          ids: int32 [n], one assistant turn, with its generation prompt if that may open the
            thought.

        Yields:
          (start, end, empty) of each thought with its tags and the white space that follows; an
          unclosed thought ends before the stop id or with the turn.
        """
        position = 0
        while self.thinks and position < len(ids):
            starts = np.flatnonzero(ids[position:] == self.think_start_id)
            if not len(starts):
                return
            start = position + int(starts[0])
            ends = np.flatnonzero(ids[start:] == self.think_end_id)
            if len(ends):
                inner_end = start + int(ends[0])
                end = inner_end + 1
                while (
                    end < len(ids)
                    and ids[end] not in self._dropped_ids
                    and self._is_space(ids[end])
                ):
                    end += 1
            else:
                inner_end = end = len(ids) - (int(ids[-1]) in self.stop_ids)
            yield start, end, not self.decode(ids[start + 1 : inner_end]).strip()
            position = end

    def _is_space(self, id: int) -> bool:
        return self.decode([id]).isspace()

    def _id(self, text: str) -> int | None:
        return self._backend.token_to_id(text)

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        thinking: bool = False,
        generate: bool = True,
    ) -> str:
        """The dialogue as text, in which all control tokens are the template's own."""
        marked = self._data.mark([normal_messages(messages), tools])
        text = self._apply(self.template, *marked, thinking=thinking, generate=generate)
        return self._data.restore(text)

    def _apply(
        self,
        template: str,
        messages: list[dict[str, Any]],
        tools: list[Any] | None,
        *,
        thinking: bool = False,
        generate: bool = True,
    ) -> str:
        import jinja2

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tools=tools or None,
                    chat_template=template,
                    add_generation_prompt=generate,
                    tokenize=False,
                    enable_thinking=thinking,
                    date_string=_DATE,
                )
            )
        except (jinja2.TemplateError, TypeError) as error:
            roles = ", ".join(str(message.get("role")) for message in messages)
            raise ChatFormatError(
                f"the chat template refuses a dialogue of roles [{roles}]: {error}"
            ) from error

    def _choose_template(self, wanted: CallSyntax | None) -> tuple[str, CallSyntax]:
        """The template for the form of calls that is wanted, and that form."""
        template, problem = self._own_template()
        found = self._call_syntax_of(template) if template is not None else None
        if wanted is CallSyntax.JSON and found is not wanted:
            template = _JSON_CALLS.read_text() + self._plain_template()
            found = self._call_syntax_of(template)
        elif wanted is CallSyntax.HERMES and found not in (None, wanted):
            template, problem = None, f"writes calls as {found.value}"
        if template is None:
            template = self._default_template(problem)
            found = self._call_syntax_of(template)
        if found is None:
            call = self._show_call(template)
            raise ChatFormatError(
                f"the chat template writes tool calls in an unknown form: {call!r}"
            )
        if wanted not in (None, found):
            raise ChatFormatError(
                f"the chat template writes tool calls as {found.value}, not as {wanted.value}: "
                'set call_syntax to "auto"'
            )
        return template, found

    def _own_template(self) -> tuple[str | None, str]:
        """The tokenizer's template, or None and why it cannot be used with tools."""
        try:
            own = self.tokenizer.get_chat_template(tools=[_TOOL])
            text = self._apply(own, [_USER, _CALLING, _RESULT], [_TOOL])
        except ChatFormatError as error:
            return None, str(error)
        except ValueError:
            return None, "is missing"
        shown = all(word in text for word in _TOOL_WORDS)
        return (own, "") if shown else (None, "shows no tools")

    def _plain_template(self) -> str:
        """The tokenizer's template for dialogues without tools."""
        try:
            return str(self.tokenizer.get_chat_template())
        except ValueError:
            return self._default_template("is missing")

    def _default_template(self, problem: str) -> str:
        missing = [text for text in _DEFAULT_NEEDS if self._id(text) is None]
        if missing:
            raise ChatFormatError(
                f"the tokenizer's chat template cannot be used ({problem}), and the default "
                f"one needs {' and '.join(missing)} in the vocabulary: set "
                "tokenizer.chat_template to one with tools"
            )
        return _DEFAULT_TEMPLATE.read_text()

    def _find_end(self, candidates: list[str]) -> str:
        """The token with which the template ends a turn."""
        text = self._render([_USER, _ASSISTANT, _USER]).partition(_SAID)[2].lstrip()
        for token in sorted(candidates, key=len, reverse=True):
            if text.startswith(token):
                return token
        raise ChatFormatError(
            f"the chat template puts {text[:20]!r} after an assistant turn, which is none of the "
            f"stop tokens {candidates}: set the tokenizer's eos_token to the one that ends a turn"
        )

    def _template_thinks(self) -> bool:
        turn = {**_ASSISTANT, "reasoning_content": _THOUGHT}
        shown = self._render([_USER, turn], thinking=True, generate=False)
        opened = (self._generation_text(True), self._generation_text(False))
        return _THOUGHT in shown or any(THINK_START in text for text in opened)

    def _call_syntax_of(self, template: str) -> CallSyntax | None:
        """The form in which a call is read again from its rendering; None if there is none."""
        call = self._show_call(template)
        forms = [syntax for syntax in CallSyntax if parse_turn(call, syntax).attempts == _CALLED]
        # Without a tag, both JSON forms are read with either name of the arguments.
        other = CallSyntax.JSON if '"parameters"' in call else CallSyntax.LLAMA
        return next((syntax for syntax in forms if len(forms) == 1 or syntax is not other), None)

    def _show_call(self, template: str) -> str:
        """What stands for a call where, without one, the assistant's words are."""
        said = self._apply(template, [_USER, _ASSISTANT], [_TOOL], generate=False)
        made = self._apply(template, [_USER, _CALLING], [_TOOL], generate=False)
        start, end = _equal(said, made), _equal(said[::-1], made[::-1])
        return made[start : len(made) - end]

    def _check_stable(self) -> None:
        """New messages must leave earlier text as it was and render alike after any history."""
        for new in ([_USER], [_RESULT], [_RESULT, _RESULT]):
            short = self._tail([_USER, _ASSISTANT], new)
            before = [_USER, {"role": "assistant", "content": "qzEARLIERzq"}, _USER]
            text = self._render([*before, _ASSISTANT, *new], [_TOOL])
            opening = self._render(before, [_TOOL], generate=False)
            long = self._tail([*before, _ASSISTANT], new, tools=[_TOOL])
            if long != short or not text.startswith(opening):
                raise ChatFormatError(
                    "the chat template rewrites earlier turns when messages are added, so sampled "
                    "tokens could not be kept: set tokenizer.chat_template to one that only appends"
                )

    def _tail(
        self,
        history: Sequence[Message],
        new: Sequence[Message],
        *,
        thinking: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The text from after the end-of-turn token of `history`'s last turn to the next turn."""
        text = self._render([*history, *new], tools, thinking=thinking).partition(_SAID)[2]
        space, end, tail = text.partition(self._end)
        if space.strip() or not end:
            raise ChatFormatError(
                "the chat template does not close an assistant turn before messages of roles "
                f"{[message.get('role') for message in new]}"
            )
        return tail

    def _generation_text(self, thinking: bool) -> str:
        closed = self._render([_USER], thinking=thinking, generate=False)
        opened = self._render([_USER], thinking=thinking)
        if not opened.startswith(closed):
            raise ChatFormatError("the chat template's generation prompt changes what precedes it")
        return opened[len(closed) :]


def _equal(one: str, other: str) -> int:
    """How many characters two texts have in common at the beginning."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in pairs)
