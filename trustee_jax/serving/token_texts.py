"""The text and the bytes of single tokens."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from trustee_jax.chat import ChatFormat

if TYPE_CHECKING:
    import transformers


@functools.cache
def _bytes_of_characters() -> dict[str, int]:
    """The characters that byte-level vocabularies write bytes as (GPT-2's table)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    table = {chr(byte): byte for byte in shown}
    hidden = (byte for byte in range(256) if byte not in shown)
    return table | {chr(256 + place): byte for place, byte in enumerate(hidden)}


class TokenTexts:
    """Tokens as OpenAI's log-probabilities show them."""

    def __init__(self, format: ChatFormat) -> None:
        """Takes whose tokens they are."""
        tokenizer: transformers.PreTrainedTokenizerFast = format.tokenizer
        self._tokenizer = tokenizer
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        self._byte_level = "ByteLevel" in json.dumps(described.get("decoder"))
        self._added = frozenset(tokenizer.added_tokens_decoder)

    def bytes_of(self, id: int) -> bytes:
        """The bytes of a token; those of several make a text although none of them does."""
        token: Any = self._tokenizer.convert_ids_to_tokens(id)
        if token is None:
            return b""
        if self._byte_level and id not in self._added:
            table = _bytes_of_characters()
            return bytes(table[c] for c in token if c in table)
        if id in self._added:
            return str(token).encode()
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return str(token).replace("\u2581", " ").encode()

    def entry(self, id: int, logprob: float) -> dict[str, Any]:
        """A token with its log-probability."""
        raw = self.bytes_of(id)
        return {
            "token": raw.decode("utf-8", "replace"),
            "logprob": logprob,
            "bytes": list(raw),
        }
