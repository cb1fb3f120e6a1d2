"""First queries that are not their user's: in the assistant's voice, or about another wish."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from trustee_jax.environment.solvability import plain_words

QueryFault = Literal["assistant_voice", "other_wish"]

_SENTENCE_END = re.compile(r"(?<=[.!?\n])\s*")
# What somebody else is to be told may be said in any voice: Text Anna: do you want to come?
_QUOTED = re.compile(r"[\"\u201c][^\"\u201d]*[\"\u201d]?|(?<!\w)'[^']*'|:.*", re.DOTALL)
_GREETING = r"(?:(?:hi|hello|hey|sure|okay|ok|great|well|so|and|now)\b(?: there)?[ ,]*)*"
_VOICE = re.compile(
    rf"{_GREETING}(?:"
    # What recipe do you want to make? Which city are you looking for?
    r"(?:what|which|how|when|where|who)\b[^?]{0,60}?"
    r"\b(?:(?:do|would) you (?:want|like)|are you looking)\b"
    r"|(?:do|would) you (?:want|like)\b(?! to help)"
    r"|(?:how|what) (?:can|may|could) i (?:help|assist|do for)(?: you\b(?! find)|\W*$)"
    r"|(?:can|may|could) i (?:help|assist) you\b"
    r"|i(?: can|'ll| will| am here to|'m here to|'d be happy to| would be happy to) "
    r"(?:help|assist) you\b"
    r"|(?:please )?(?:provide|enter|specify) your\b"
    r"|thank you for (?:contacting|reaching|your (?:interest|inquiry|request|message))\b"
    r"|(?:i(?:.m| am) sorry,? but )?you (?:need|have) to (?:provide|enter|specify)\b"
    r"|is there anything else\b"
    r"|as an ai\b)"
)
# Words that say nothing of what is wanted.
_COMMON = frozenset(
    plain_words(
        """
        a about all am an and any are as at be been by can could did do does for from get give had
        has have hello help hey hi how i id if im in is it its ive know like look looking may me
        might my need of on or our please search see shall should show so some tell thank thanks
        that the them there these they this to us use user want wants was we what when where which
        who whom why will with would you your
        """
    )
)
_STEM = 5


def find_query_fault(
    query: str, intent: str, calls: Sequence[Mapping[str, Any]], *, clear: bool
) -> tuple[QueryFault, str] | None:
    """Checks the first message of a task's user.

    A query in the assistant's voice offers help, or asks the user what is wanted, or for what a
    call needs. About another wish is one that has no word of the intent in common, or asks about
    the values of its calls and nothing that is to be done with them: "Where is London?" for a
    museum in London. Only a clear query is told to say what the intent says; one that may be
    ambiguous is never about another wish, since nothing that it leaves out is a fault.

    Args:
      query: The message.
      intent: What the user wants.
      calls: {name, values: parameter -> text} of the calls that fulfil it; none where only their
        names are known.
      clear: Whether the query was to state every detail.

    Returns:
      The fault, and a sentence for a reader; None if there is none.
    """
    inputs = [name.replace("_", " ") for call in calls for name in call["values"]]
    for sentence in _SENTENCE_END.split(_QUOTED.sub(" ", query)):
        plain = " ".join(sentence.casefold().replace("\u2019", "'").split())
        if found := _VOICE.match(plain):
            return "assistant_voice", f"the query speaks as the assistant: {found[0]!r}"
        for name in inputs:
            asks = rf"what(?:'s| is) (?:the|your) {re.escape(name)}(?:[?,.!]|$| and )"
            if re.match(asks, plain):
                return "assistant_voice", f"the query asks the user for the {name}"
    if not clear:
        return None
    asked, wanted = _stems([query]), _stems([intent])
    values = _stems(value for call in calls for value in call["values"].values())
    if not asked & (wanted | values):
        return "other_wish", "the query has no word of the intent"
    if asked <= values and not wanted <= values:
        return "other_wish", "the query does not say what is to be done"
    return None


def _stems(texts: Iterable[str]) -> set[str]:
    """The beginnings of the words that matter: museum and museums, book and booking."""
    words = {word for text in texts for word in plain_words(text)}
    return {_stem(word) for word in words - _COMMON}


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)[:_STEM]
    return word[:_STEM]
