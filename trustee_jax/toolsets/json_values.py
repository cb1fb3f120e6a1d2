"""JSON values one after another in a text: one document, JSON lines, or objects over many lines."""

import json
import re
from collections.abc import Iterator
from typing import Any

from trustee_jax.toolsets.files import unique_keys

_SPACE = re.compile(r"\s*")
_NEXT = re.compile(r"^[\[{]", re.MULTILINE)


def json_values(text: str) -> Iterator[tuple[int, Any, str]]:
    """Yields (line, value, "") of each value; (line, None, what is wrong) where there is none.

    An object that has a key twice is none: one of the two values would be lost.
    After something broken it goes on with the next line that begins with "{" or "[".
    """
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
    position, line, counted = _SPACE.match(text).end(), 1, 0  # type: ignore[union-attr]
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield line, None, str(error) or type(error).__name__
            following = _NEXT.search(text, position + 1)
            position = following.start() if following else len(text)
        else:
            yield line, value, ""
            position = _SPACE.match(text, position).end()  # type: ignore[union-attr]
