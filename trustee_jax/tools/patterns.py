r"""Regular expressions of schemas: JavaScript's spelling read by Python, and none that can hang.

JSON Schema's patterns are ECMA 262's. Most are the same in Python, whose `re` matches them here;
`regex` matches what only it knows of the rest, e.g. `\p{L}`. `\d` and `\w` are ASCII's, as there
and in the engine that decodes under schemas; `\s` is any space of Unicode.
"""

import functools
import re
import warnings
from typing import Any

import regex

MATCHED_TEXT = 1000
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
    """Whether a pattern that `is_usable` is found in a text; longer ones than 1,000 all pass."""
    compiled = _compiled(pattern)
    return compiled is None or len(text) > MATCHED_TEXT or compiled.search(text) is not None


def is_pattern(pattern: object) -> bool:
    """Whether a pattern can be compiled here."""
    return not isinstance(pattern, str) or _compiled(pattern) is not None


@functools.lru_cache(maxsize=4096)
def is_fast(pattern: str) -> bool:
    """Whether no repetition holds another one, or a choice: no text then takes exponential time."""
    text, compiled = python_text(pattern), _compiled(pattern)
    if compiled is None:
        return False
    if not isinstance(compiled, re.Pattern):
        # Python's parser has no classes like \p{L}, for which any will do here, and joins choices
        # that `regex` tries one by one.
        text = _CHOICE.sub(lambda found: found["other"] or "|(?=)", _CLASS.sub(r"\\w", text))
    try:
        parsed = re._parser.parse(text)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError):
        return False
    return not _branches_in_repeat(parsed, False)


def is_key_pattern(pattern: str) -> bool:
    """Whether a pattern of names can be left to `jsonschema`, which uses `re`."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return is_fast(pattern)


def python_text(pattern: str) -> str:
    """Returns a pattern as Python writes it.

    "]" right after "[" stands for itself where the set ends later, as in Python and in Rust;
    otherwise the set is empty, as in JavaScript.
    """
    literal = _translated(pattern, empty_sets=False)
    return literal if _compiled_text(literal) else _translated(pattern, empty_sets=True)


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    return _compiled_text(python_text(pattern))


def _compiled_text(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # "[a--b]": another set in a later Python
        for engine in (re, regex):
            try:
                return engine.compile(text)
            except (re.error, regex.error, RecursionError, OverflowError, FutureWarning):
                continue
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


def _branches_in_repeat(node: Any, repeated: bool) -> bool:
    if isinstance(node, tuple) and len(node) == 2 and str(node[0]).endswith("REPEAT"):
        _, (least, most, inner) = node
        if repeated and least != most:
            return True
        return _branches_in_repeat(inner, repeated or most > 1)
    if isinstance(node, tuple) and len(node) == 2 and str(node[0]) == "BRANCH" and repeated:
        return True
    is_parsed = hasattr(node, "data")
    children = node.data if is_parsed else node if isinstance(node, tuple | list) else ()
    return any(_branches_in_repeat(child, repeated) for child in children)
