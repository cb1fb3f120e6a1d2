"""Recent tasks, so that a simulator which writes the same one again is noticed."""

import collections
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from trustee_jax.errors import ConfigError

_GRAM = 3
_SEPARATORS = re.compile(r"\W+")


class RecentTasks:
    """The texts of the last tasks, compared by the letters and digits that they share.

    Two texts are as near as the Jaccard index of their sets of character trigrams (Broder 1997, "On
    the resemblance and containment of documents", section 2): 1 for equal texts, about 0.3 for
    different wishes to the same tool, and little moved by a changed number or spelling.

    Attributes:
      size: Tasks that are remembered.
      threshold: Nearness from which a text is a near-copy; above 1 none is.
    """

    def __init__(self, size: int, threshold: float):
        """Starts empty.

        Raises:
          ConfigError: Size below 0 or threshold not above 0.
        """
        if size < 0:
            raise ConfigError("size", size, "give 0 (off) or more")
        if not threshold > 0:
            raise ConfigError("threshold", threshold, "give more than 0; above 1 it is off")
        self.size, self.threshold = size, threshold
        self._texts: collections.deque[str] = collections.deque(maxlen=size)
        self._grams: collections.deque[frozenset[str]] = collections.deque(maxlen=size)

    def add(self, text: str) -> None:
        """Remembers a task's text; the oldest one is forgotten where there are too many."""
        self._texts.append(text)
        self._grams.append(_grams(text))

    def nearest(self, text: str) -> float:
        """Returns the nearness of the most similar remembered text, in [0, 1]."""
        grams = _grams(text)
        return max((_jaccard(grams, other) for other in self._grams), default=0.0)

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs, as JSON values."""
        return {"texts": list(self._texts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a state that `state` returned.

        Raises:
          ValueError: The state is not one of this class.
        """
        texts = state.get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"recent tasks: {str(state)[:80]!r} is no list of texts")
        self._texts.clear()
        self._grams.clear()
        for text in texts:
            self.add(text)


def similarity(one: str, other: str) -> float:
    """Returns the nearness of two texts, in [0, 1]."""
    return _jaccard(_grams(one), _grams(other))


def _grams(text: str) -> frozenset[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = f" {_SEPARATORS.sub(' ', plain).strip()} "
    return frozenset(plain[i : i + _GRAM] for i in range(max(1, len(plain) - _GRAM + 1)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
