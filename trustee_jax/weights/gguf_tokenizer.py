"""The tokenizer that a GGUF file's metadata describes, built with `tokenizers` alone.

`transformers` has such a conversion too; it needs torch, and it leaves out the digit rule of SmolLM
vocabularies.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from trustee_jax.weights.checkpoint import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# llama.cpp's token types (llama_token_type).
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5


def _word_split(digits: str) -> pre_tokenizers.PreTokenizer:
    """The splits of Qwen2 and Llama 3, which differ in how many digits stay together."""
    contractions = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+"
    symbols = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
    spaces = r"\s*[\r\n]+|\s+(?!\S)|\s+"
    pattern = "|".join((contractions, words, digits, symbols, spaces))
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _smollm() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _qwen2() -> pre_tokenizers.PreTokenizer:
    return _word_split(r"\p{N}")


def _llama3() -> pre_tokenizers.PreTokenizer:
    return _word_split(r"\p{N}{1,3}")


_PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt-2": _gpt2,
    "gpt2": _gpt2,
    "smollm": _smollm,
    "qwen2": _qwen2,
    "llama-bpe": _llama3,
}


def build_tokenizer(path: pathlib.Path, metadata: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Builds the tokenizer, with special tokens, chat template and maximum length.

    Args:
      path: The file, for messages.
      metadata: Its metadata.

    Raises:
      CheckpointError: The vocabulary is missing or of a kind that is not supported.
    """
    from transformers import PreTrainedTokenizerFast

    pre = _check(path, metadata)
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    # Unused entries only pad the embedding to a round size.
    vocab = {
        token: i
        for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind != _UNUSED
    }
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    # Llama 3 takes a word that is in the vocabulary whole, whatever its merges say.
    model = models.BPE(vocab=vocab, merges=merges, ignore_merges=pre == "llama-bpe")
    tokenizer = Tokenizer(model)
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    for token, kind in zip(tokens, kinds, strict=True):
        if kind == _CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])

    def named(key: str) -> str | None:
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        return None if number is None or number >= len(tokens) else tokens[number]

    bos = named("bos")
    # llama.cpp adds it for Llama 3 even where the file does not say so.
    if bos is not None and metadata.get("tokenizer.ggml.add_bos_token", pre == "llama-bpe"):
        begin = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocab[bos])]
        )
        tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, begin])
    family = metadata["general.architecture"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=named("eos"),
        unk_token=named("unknown"),
        pad_token=named("padding"),
        chat_template=metadata.get("tokenizer.chat_template"),
        model_max_length=metadata.get(f"{family}.context_length"),
        clean_up_tokenization_spaces=False,
    )


def _check(path: pathlib.Path, metadata: dict[str, Any]) -> str:
    """Returns the name of the pre-tokenizer."""
    remedy = "use a file with a byte-level BPE vocabulary, or the checkpoint's Hugging Face folder"
    if (model := metadata.get("tokenizer.ggml.model")) != "gpt2":
        raise CheckpointError(
            path, f"tokenizer.ggml.model={model!r} is not supported, only 'gpt2' is", remedy
        )
    pre = metadata.get("tokenizer.ggml.pre")
    if pre not in _PRE_TOKENIZERS:
        known = ", ".join(sorted(_PRE_TOKENIZERS))
        raise CheckpointError(
            path, f"tokenizer.ggml.pre={pre!r} is not supported, only {known} are", remedy
        )
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges"):
        if not metadata.get(key):
            raise CheckpointError(path, f"metadata key {key} is missing", remedy)
    return pre
