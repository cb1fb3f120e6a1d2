"""Messages that no user would write: what a weak model gets wrong in the user's role."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from trustee_jax.environment.copies import copied_share, is_copy
from trustee_jax.environment.solvability import plain_words
from trustee_jax.simulator.transcript import LINE_LABEL

UserFault = Literal["echo", "repeat", "recital", "label"]
USER_FAULTS: tuple[UserFault, ...] = get_args(UserFault)
"""Why a message of the user is refused: echo, it repeats the assistant's last message; repeat, one
of the user's own; recital, it says what its prompt says, of the rules or of the persona; label, it
has a label of the prompt, like "Your wish:", or of a line of the transcript."""

# Shares of a message in the prompt's words, and of a persona in the message.
_OF_MESSAGE = 0.5
_OF_PERSONA = 0.8
# A persona of fewer words is also how people introduce themselves.
_PERSONA = 8
_ARTICLES = ("a", "an", "the")
_FIRST_PERSON = ("i", "im", "my")


def find_user_fault(
    message: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    persona: str,
    wording: Sequence[str],
) -> tuple[UserFault, str] | None:
    """Checks a message of the simulated user.

    The end of the dialogue, "", has no fault. A policy must not get an episode thrown out by what
    it writes: where the assistant itself only repeats what was said before, the user may answer as
    before.

    Args:
      message: What the user would say.
      messages: The dialogue before it, in the OpenAI form; the last message is the assistant's.
      persona: What the user was told of itself; "" if nothing.
      wording: The fixed text of its prompt; see `Prompts.wording`.

    Returns:
      The fault, and a sentence for a reader; None if there is none.
    """
    if label := _label(message, wording):
        return "label", f"the user's message has {label!r}, a label of its prompt"
    if copied_share(message, wording) >= _OF_MESSAGE or _recites(persona, message):
        return "recital", "the user's message recites its prompt"
    *before, (_, last) = _said(messages)
    if any(is_copy(last, text) for _, text in before):
        return None
    if is_copy(message, last):
        return "echo", "the user's message repeats the assistant's"
    own = (text for role, text in before if role == "user")
    if any(is_copy(message, text) and is_copy(text, message) for text in own):
        return "repeat", "the user's message repeats an earlier one"
    return None


def _said(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for message in messages:
        if message["role"] in ("user", "assistant") and (text := message.get("content")):
            yield message["role"], text


def _label(message: str, wording: Sequence[str]) -> str | None:
    if line := LINE_LABEL.search(message):
        return line[0].strip()
    plain = " ".join(message.casefold().split())
    for text in wording:
        # A single word and a colon may also begin a user's line: "Date: 3 May".
        if text.endswith(":") and " " in text and text.casefold() in plain:
            return text
    return None


def _recites(persona: str, message: str) -> bool:
    """Whether a message describes the persona from outside, or tells the user who he is."""
    told = plain_words(persona)
    told = told[2:] if told[:2] == ["you", "are"] else told
    described = len(told) >= _PERSONA and told[0] not in _FIRST_PERSON
    if described and copied_share(persona, [message]) >= _OF_PERSONA:
        return True
    beginning = ["you", "are", *(word for word in told if word not in _ARTICLES)][:3]
    words = [word for word in plain_words(message) if word not in _ARTICLES]
    starts = range(len(words) - 2)
    return len(beginning) == 3 and any(words[i : i + 3] == beginning for i in starts)
