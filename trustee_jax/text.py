"""Texts that any program can take: compact JSON, and no halves of surrogate pairs."""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def compact_json(value: Any, *, allow_nan: bool = True) -> str:
    """Writes a value as one line of JSON, without a space that it does not need.

    Raises:
      ValueError: It holds NaN or an infinity, and `allow_nan` is false.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=allow_nan, separators=(",", ":"))


def without_surrogates(text: str, by: str = "?") -> str:
    """Replaces lone surrogates, which JSON can spell, but neither UTF-8 nor a tokenizer encode."""
    return _SURROGATE.sub(by, text)
