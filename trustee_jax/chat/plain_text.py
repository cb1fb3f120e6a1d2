"""Keeps what others write plain text in a rendered prompt, wherever a template puts it."""

import bisect
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from trustee_jax.text import without_surrogates

# A noncharacter of Unicode (its section 23.7): for a program's own use, never in a text.
_MARK = "\ufdd0"
# A template may write JSON in ASCII.
_MARKS = re.compile(r"\ufdd0|\\ufdd0")


class PlainText:
    """Breaks up control tokens that a template's data spells out.

    A control token in a rendered prompt is tokenised as that token, whoever wrote it: a tool's
    description, or a policy whose words are shown to its judge, could end a turn and speak as
    another role. So data is marked before it is rendered, around each sign of which control
    tokens are made, and the marks are taken out of the rendering again. A control token that a mark
    had divided came from data, in whole or in part, be it from one field or from several that the
    template has joined, trimmed or escaped: a space takes the mark's place.
    """

    def __init__(self, control_tokens: Iterable[str]) -> None:
        """Takes the texts that data must not spell; one of a single character cannot be broken."""
        tokens = sorted({t for t in control_tokens if len(t) > 1}, key=len, reverse=True)
        self._tokens = re.compile("|".join(map(re.escape, tokens)) or r"(?!)")
        signs = sorted(set(re.sub(r"[\w\s]", "", "".join(tokens))))
        # A token without any is only seen as a whole, within which the mark has to be.
        words = [token for token in tokens if not set(token) & set(signs)]
        self._signs = re.compile("|".join(map(re.escape, signs)) or r"(?!)")
        inside = (f"(?<={re.escape(word[0])})(?={re.escape(word[1:])})" for word in words)
        self._words = re.compile("|".join(inside) or r"(?!)")

    def mark(self, data: Any) -> Any:
        """Copies JSON-like data with marks in all its texts, keys included.

        Lone surrogates, which JSON can spell and no tokenizer can encode, become "?".
        """
        if isinstance(data, str):
            text = without_surrogates(data).replace(_MARK, "\ufffd")
            text = text.replace(r"\ufdd0", rf"\{_MARK}ufdd0")  # or it would pass for a mark
            text = self._words.sub(_MARK, text)
            return self._signs.sub(rf"{_MARK}\g<0>{_MARK}", text)
        if isinstance(data, Mapping):
            return {self.mark(key): self.mark(value) for key, value in data.items()}
        if isinstance(data, list | tuple):
            return [self.mark(item) for item in data]
        return data

    def restore(self, rendered: str) -> str:
        """The rendering without marks, and without control tokens that were not the template's."""
        pieces = _MARKS.split(rendered)
        text = "".join(pieces)
        marks = list(itertools.accumulate(map(len, pieces[:-1])))
        breaks: set[int] = set()
        position = 0
        while marks and (token := self._tokens.search(text, position)):
            mark = bisect.bisect_right(marks, token.start())
            if mark < len(marks) and marks[mark] < token.end():
                breaks.add(marks[mark])
            position = token.start() + 1  # the next one may begin within this one
        edges = [0, *sorted(breaks), len(text)]
        return " ".join(text[start:end] for start, end in itertools.pairwise(edges))
