r"""Patterns in the spelling of RE2, which finds them in time linear in the text.

RE2 has no look-arounds and no references to groups; its `\s` is ASCII's and its `\Z` is `\z`.
"""

import re
from typing import Any

import re2

from trustee_jax.text import without_surrogates

# As Python's `re` has them: inclusive ranges of code points, ascending.
_SPACES = (
    *((0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)
_TOKEN = re.compile(
    r"""\\u(?P<code>[0-9a-fA-F]{4})
    | (?P<other>\\[^A-Za-z1-9] | \\[dDwWBAnrtfvapPx])
    | \\(?P<special>[sSbZ])
    | (?P<unknown>\\. | \(\?(?!:|P<|[is]+[:)]) | \{,)
    | (?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
# Bytes of one pattern. A larger automaton would take seconds where it does not fit its cache.
_OPTIONS.max_mem = 2 << 20


def linear(text: str) -> Any:
    """Returns a pattern that can be compiled, in Python's spelling, for RE2; None: it cannot be."""
    spelled = _spelled(text)
    try:
        return None if spelled is None else re2.compile(spelled, _OPTIONS)
    except (re2.error, UnicodeEncodeError):
        return None


def is_found(compiled: Any, text: str) -> bool:
    """Whether a compiled pattern is found in a text; surrogates that stand alone are U+FFFD."""
    return compiled.search(without_surrogates(text, "\ufffd")) is not None


def _spelled(text: str) -> str | None:
    found: list[str] = []
    in_set = False
    for token in _TOKEN.finditer(text):
        kind, written = token.lastgroup, token[0]
        if kind == "unknown" and (not in_set or written.startswith("\\")):
            return None
        if kind == "code":
            code = int(token["code"], 16)
            if 0xD800 <= code <= 0xDFFF:
                return None
            written = f"\\x{{{code:x}}}"
        elif kind == "special":
            letter = token["special"]
            if letter in "sS":
                ranges = _set(_SPACES if letter == "s" else _others(_SPACES))
                written = ranges if in_set else f"[{ranges}]"
            elif letter == "Z":
                written = r"\z"
            elif in_set:
                written = r"\x08"
        elif kind == "plain" and not in_set:
            in_set = written == "["
        elif written == "]" and found[-1] not in ("[", "[^"):
            in_set = False
        elif written == "^" and found[-1] == "[":
            found[-1], written = "[^", ""
        found += [written] if written else []
    return "".join(found)


def _others(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    edges = [-1, *(edge for pair in ranges for edge in pair), 0x110000]
    return tuple((a + 1, b - 1) for a, b in zip(edges[::2], edges[1::2], strict=True))


def _set(ranges: tuple[tuple[int, int], ...]) -> str:
    return "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges)
