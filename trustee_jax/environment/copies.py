"""Whether a text says what another one says, in its words.

The measure of `novelty` cannot tell that: a copy that a limit of length cut is little like the
whole, and "Book the Ibis for two nights" is very like "Shall I book the Ibis for two nights?".
"""

import re
from collections.abc import Iterable

from trustee_jax.environment.solvability import plain_words

_RUN = 3
# Fewer words are anyone's: "Yes, please.", "Have a nice day!"
_FEW = 5
# So many in a row nobody takes from the beginning of another's message by chance.
_BEGINNING = 8
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_QUOTES = " \"'\u201d)"

Words = tuple[str, ...]


def copied_share(text: str, sources: Iterable[str]) -> float:
    """Returns how much of a text stands in others, in [0, 1]; 0 where it has too few words.

    It is the containment of the text's runs of three words in those of the others (Broder 1997, "On
    the resemblance and containment of documents", section 2), whatever their case and punctuation.
    """
    if len(plain_words(text)) < _FEW:
        return 0.0
    runs, known = _runs(text), {run for source in sources for run in _runs(source)}
    return len(runs & known) / len(runs)


def is_copy(text: str, other: str) -> bool:
    """Whether a text of five words or more only repeats another one, whole or in part.

    A part counts if it is the beginning, eight words of it or more, or whole sentences of which one
    asks or addresses somebody. So an answer that takes up an offer in its own words is no copy, nor
    is a choice from a list.
    """
    words, others = plain_words(text), plain_words(other)
    if len(words) < _FEW:
        return False
    if words == others or (len(words) >= _BEGINNING and words == others[: len(words)]):
        return True
    sentences = _sentences(text)
    return sentences.keys() <= _sentences(other).keys() and any(
        asks or "you" in sentence or "your" in sentence for sentence, asks in sentences.items()
    )


def _runs(text: str) -> set[Words]:
    words = plain_words(text)
    return {tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)}


def _sentences(text: str) -> dict[Words, bool]:
    """The sentences of a text as words, each with whether it is a question."""
    parts = (part.rstrip(_QUOTES) for part in _SENTENCE_END.split(text))
    found = {tuple(plain_words(part)): part.endswith("?") for part in parts}
    return {words: asks for words, asks in found.items() if words}
