r"""Regular expressions of schemas: JavaScript's spelling read by Python, and none that can hang.

JSON Schema's patterns are ECMA 262's. Most are the same in Python. RE2 matches them here, which
never backtracks. What it does not know, such as look-arounds, references and `\p{Emoji}`, `re` or
`regex` matches where that takes few steps for every text. `\d` and `\w` are ASCII's, as there and
in the engine that decodes under schemas; `\s` is any space of Unicode.
"""

import functools
import re
import warnings
from typing import Any

import regex

from trustee_jax.toolsets.linear_patterns import is_found, linear
from trustee_jax.toolsets.pattern_cost import most_steps, unrolled_size

MATCHED_TEXT = 1000
# About a quarter of a second. No clock decides: a run that is resumed must find the same.
_MOST_STEPS = 10_000_000
_LONGEST = 10_000
_LARGEST = 100_000  # items, of which `regex` takes 300 bytes each
# What JavaScript writes otherwise, and what must be told apart from it.
_TOKEN = re.compile(
    r"""\\u[dD](?P<high>[89abAB][0-9a-fA-F]{2})\\u[dD](?P<low>[c-fC-F][0-9a-fA-F]{2})
    | \\u\{(?P<code>[0-9a-fA-F]{1,6})\}
    | \\c(?P<control>[A-Za-z])
    | \\k<(?P<back>\w+)>
    | \(\?<(?P<group>\w+)>
    | (?P<other>\\.|.)""",
    re.VERBOSE | re.DOTALL,
)
_ASCII = {"d": "0-9", "w": "_A-Za-z0-9"}
_CLASS = re.compile(r"\\[pP](?:\{[^}]*\}|[A-Z])")
_CHOICE = re.compile(r"(?P<other>\\.|\[(?:\\.|[^\]\\])*\])|\|", re.DOTALL)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern that `is_fast` is found in a text; longer ones than 1,000 all pass."""
    if len(text) > MATCHED_TEXT:
        return True
    if (fast := _linear(pattern)) is not None:
        return is_found(fast, text)
    compiled = _compiled(pattern)
    return compiled is None or compiled.search(text) is not None


def is_pattern(pattern: object) -> bool:
    """Whether a pattern can be compiled here; those of more than 10,000 characters are not."""
    return not isinstance(pattern, str) or _compiled(pattern) is not None


@functools.lru_cache(maxsize=4096)
def is_fast(pattern: str) -> bool:
    """Whether a pattern is found, or not, in every text of up to 1,000 characters in short time.

    So it is where RE2 reads it, and where backtracking takes few steps at worst.
    """
    if _compiled(pattern) is None:
        return False
    return _linear(pattern) is not None or _has_few_steps(python_text(pattern))


def is_key_pattern(pattern: str) -> bool:
    """Whether a pattern of names can be left to `jsonschema`, which uses `re`."""
    if len(pattern) > _LONGEST:
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return _has_few_steps(pattern)


def python_text(pattern: str) -> str:
    """Returns a pattern as Python writes it.

    "]" right after "[" stands for itself where the set ends later, as in Python and in Rust;
    otherwise the set is empty, as in JavaScript.
    """
    literal = _translated(pattern, empty_sets=False)
    return literal if _compiled_text(literal) else _translated(pattern, empty_sets=True)


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    return _compiled_text(python_text(pattern)) if len(pattern) <= _LONGEST else None


@functools.lru_cache(maxsize=4096)
def _linear(pattern: str) -> Any:
    return linear(python_text(pattern))


def _parsed(text: str) -> Any:
    # Python's parser has no classes like \p{L}, for which any will do here, and joins choices that
    # `regex` tries one by one.
    text = _CHOICE.sub(lambda found: found["other"] or "|(?=)", _CLASS.sub(r"\\w", text))
    try:
        return re._parser.parse(text)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError):
        return None


def _has_few_steps(text: str) -> bool:
    parsed = _parsed(text)
    return parsed is not None and most_steps(parsed, MATCHED_TEXT) <= _MOST_STEPS


def _compiled_text(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # "[a--b]": another set in a later Python
        for engine in (re, regex):
            if engine is regex:  # which writes counted repetitions out
                parsed = _parsed(text)
                if parsed is None or unrolled_size(parsed) > _LARGEST:
                    return None
            try:
                return engine.compile(text)
            except (re.error, regex.error, RecursionError, OverflowError, FutureWarning):
                continue
            except MemoryError:
                return None
    return None


def _translated(pattern: str, empty_sets: bool) -> str:
    found: list[str] = []
    in_set = False
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token[0]
        if kind == "low":
            code = (
                0x10000 + ((int(token["high"], 16) & 0x3FF) << 10) + (int(token["low"], 16) & 0x3FF)
            )
            found.append(re.escape(chr(code)))
        elif kind == "code":
            code = int(token["code"], 16)
            found.append(re.escape(chr(code)) if code <= 0x10FFFF else text)
        elif kind == "control":
            found.append(f"\\x{ord(token['control']) % 32:02x}")
        elif kind == "back" and not in_set:
            found.append(f"(?P={token['back']})")
        elif kind == "group" and not in_set:
            found.append(f"(?P<{token['group']}>")
        elif in_set:
            is_first = found[-1] in ("[", "[^") and not (text == "^" and found[-1] == "[")
            if text == "^" and found[-1] == "[":
                found[-1] = "[^"
            elif text == "]" and is_first and empty_sets:
                found[-1] = r"[\s\S]" if found[-1] == "[^" else "(?!)"
                in_set = False
            elif text == "]" and not is_first:
                found.append(text)
                in_set = False
            elif text in (r"\d", r"\w"):
                if found[-1] == "-":  # it ends no range
                    found[-1] = r"\-"
                found.append(_ASCII[text[1]])
            else:
                # Python keeps these for operations on sets.
                found.append(f"\\{text}" if text in "[]&~|" else text)
        else:
            in_set = text == "["
            # Python's "$" also stands before a line break at the end.
            if text in (r"\d", r"\w", r"\D", r"\W"):
                text = f"[{'^' if text[1].isupper() else ''}{_ASCII[text[1].lower()]}]"
            found.append(r"\Z" if text == "$" else text)
    return "".join(found)
