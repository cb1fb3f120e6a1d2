"""Descriptions as plain text: HTML and Markdown out, whitespace folded, cut at a length."""

import html
import re
from typing import Any

# A cheap bound before the regular expressions: some documents describe an operation in a book.
_MOST_READ = 20_000
_BLOCK = re.compile(
    r"</?(?:blockquote|br|center|dd|div|dl|dt|fullname|h[1-6]|hr|img|important|li|note|ol|p|pre|"
    r"script|table|tbody|td|th|thead|tr|ul)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_INLINE = re.compile(
    r"</?(?:a|abbr|b|code|em|font|i|s|small|span|strong|sub|sup|tt|u|xref)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.*?(?:-->|$)", re.DOTALL)
_MARKDOWN = (
    (re.compile(r"```.*?(?:```|$)", re.DOTALL), " "),  # examples in code: no prose
    (re.compile(r"^\s*\|.*$", re.MULTILINE), " "),  # rows of tables
    (re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)"), " "),
    (re.compile(r"\[([^\]\n]+)\]\([^)\n]*\)"), r"\1"),
    (re.compile(r"^\s{0,3}(?:#{1,6}|>)\s*", re.MULTILINE), ""),
    (re.compile(r"^\s*(?:[-=*_]\s*){3,}$", re.MULTILINE), " "),
    (re.compile(r"\*\*(\S(?:[^*\n]*\S)?)\*\*"), r"\1"),
    (re.compile(r"(?<!\w)__(\S(?:[^_\n]*\S)?)__(?!\w)"), r"\1"),
    (re.compile(r"`([^`\n]*)`"), r"\1"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")
_SENTENCE_END = re.compile(r"[.!?](?=\s)")


def plain(text: Any) -> str:
    """Returns a description as one line of plain text; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    text = _COMMENT.sub(" ", text[:_MOST_READ])
    text = html.unescape(_INLINE.sub("", _BLOCK.sub(" ", text)))
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    return " ".join(_CONTROL.sub(" ", text).split())


def cut(text: str, limit: int) -> str:
    """Cuts after the last sentence that fits, or else between words, marked by "..."."""
    if len(text) <= limit:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, limit)]
    if ends and ends[-1] >= limit // 2:
        return text[: ends[-1]]
    head = text[: limit - 3]
    return (head.rpartition(" ")[0] or head).rstrip(" ,;:") + "..."


def joined(summary: Any, description: Any) -> str:
    """Returns summary and description as one text, without saying the same twice."""
    first, second = plain(summary), plain(description)
    if second.casefold().startswith(first.rstrip(".").casefold()):
        return second
    if not second:
        return first
    return f"{first if first[-1] in '.!?:' else first + '.'} {second}"
