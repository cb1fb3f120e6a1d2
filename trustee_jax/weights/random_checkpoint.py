"""Random models for tests and debugging: `random:FAMILY` (tiny) or `random:path/to/config.json`.

`random:FAMILY+calls` has tokens that are whole tool calls: what picks tokens at random calls a tool
now and then, which it would never spell.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from trustee_jax import streams
from trustee_jax.models.config import ModelConfig
from trustee_jax.paths import user_path
from trustee_jax.streams import Purpose
from trustee_jax.weights.checkpoint import Checkpoint, CheckpointError, Index, parse_config
from trustee_jax.weights.names import BLOCK, TOP
from trustee_jax.weights.safetensors_folder import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FAMILIES = ("llama", "qwen2", "qwen3")
VOCAB_SIZE = 512
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WITH_CALLS = "+calls"
CALLS = tuple(
    f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'
    for name in ("find_thing", "buy_thing")
    for arguments in (*(f'{{"id": "r{number}"}}' for number in range(1, 8)), "{}")
)
"""The tokens of `+calls`. A call without an id is one that `configs/debug_tools.json` refuses."""
_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Pieces of what such a model reads most, so that prompts stay short; merged prefix by prefix until
# the vocabulary is full.
_PIECES = """ the| and| of| to| in| is| you| for| that| are| with| not| this| user| tool| call| name
| value| type| string| required|system|user|assistant|tool_call|tool_response|arguments|function
|parameters|properties|description|object|array|string|number|integer|boolean|enum|name|null|true
|false|": "|", "|{"|"}|": {"|": ["|"]|}}| one| all| can| will| must| answer| question| result
| request| information| please| which| what| when| about| from| have| as| on| by| be| or| if| it| an
|ing|tion|er|es|ed|ly"""


class RandomCheckpoint(Checkpoint):
    """Weights that depend on name and shape alone, and a byte-level BPE tokenizer of 512 tokens."""

    def __init__(self, source: str) -> None:
        """Reads or makes up the architecture.

        Raises:
          CheckpointError: The architecture is unknown, or its vocabulary is smaller than the
            tokenizer's.
        """
        self.source = source
        self._where = source.removeprefix("random:")
        family = self._where.removesuffix(_WITH_CALLS)
        self._calls: tuple[str, ...] = ()
        if family in FAMILIES:
            self.config = _tiny(family)
            if family != self._where:
                self._calls = CALLS
        else:
            path = user_path(self._where)
            if not path.is_file():
                fix = (
                    f"write random: and one of {', '.join(FAMILIES)}, or the path of a config.json"
                )
                raise CheckpointError(source, "neither a known family nor a file", fix)
            self.config = parse_config(path, read_json(path))
        if self.config.vocab_size < VOCAB_SIZE:
            raise CheckpointError(
                source,
                f"vocab_size={self.config.vocab_size} is smaller than the tokenizer's {VOCAB_SIZE}",
                f"set vocab_size to {VOCAB_SIZE} or more",
            )
        self._shapes = _shapes(self.config)

    def names(self) -> set[str]:
        """See `Checkpoint`."""
        return set(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Checkpoint`."""
        return self._shapes[name]

    def file(self, name: str) -> str:
        """See `Checkpoint`."""
        return self._where

    def read(self, name: str, index: Index) -> np.ndarray:
        """See `Checkpoint`.

        Norm scales lie around 1; kernels have deviation fan-in ** -0.5, embedding and biases 0.02.
        """
        shape = self._shapes[name]
        values = streams.generator(Purpose.RANDOM_MODEL, 0, name).standard_normal(shape, np.float32)
        if "norm" in name:
            values = 1 + 0.1 * values
        elif len(shape) == 1 or "embed_tokens" in name:
            values *= 0.02
        else:
            values *= shape[1] ** -0.5
        return values[index]

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """See `Checkpoint`. ChatML without tools; every byte is a token, so any text is."""
        return _tokenizer(self.config.max_position, self._calls)


def _tiny(family: str) -> ModelConfig:
    return ModelConfig.from_hf(
        {
            "model_type": family,
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 128,
            "tie_word_embeddings": family != "qwen3",
            "max_position_embeddings": 4096,
        }
    )


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    query, key_value = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    width, hidden = config.embed_dim, config.mlp_dim
    of_kind: dict[str, tuple[int, ...]] = {
        "embed.embedding": (config.vocab_size, width),
        "final_norm.scale": (width,),
        "attention_norm.scale": (width,),
        "attention.q.kernel": (query, width),
        "attention.k.kernel": (key_value, width),
        "attention.v.kernel": (key_value, width),
        "attention.o.kernel": (width, query),
        "mlp_norm.scale": (width,),
        "mlp.gate.kernel": (hidden, width),
        "mlp.up.kernel": (hidden, width),
        "mlp.down.kernel": (width, hidden),
    }
    if not config.tied_embeddings:
        of_kind["unembed.kernel"] = (config.vocab_size, width)
    if config.qkv_bias:
        of_kind |= {
            "attention.q.bias": (query,),
            "attention.k.bias": (key_value,),
            "attention.v.bias": (key_value,),
        }
    if config.qk_norm:
        of_kind |= {
            "attention.q_norm.scale": (config.head_dim,),
            "attention.k_norm.scale": (config.head_dim,),
        }
    shapes = {name.hf: of_kind[name.ours] for name in TOP if name.ours in of_kind}
    for layer in range(config.num_layers):
        shapes |= {
            f"model.layers.{layer}.{name.hf}": of_kind[name.ours]
            for name in BLOCK
            if name.ours in of_kind
        }
    return shapes


@functools.cache
def _vocabulary(calls: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    from tokenizers import pre_tokenizers

    tokens = [*_SPECIAL, *calls, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges: list[tuple[str, str]] = []
    for piece in _PIECES.replace("\n", "").split("|"):
        piece = piece.replace(" ", "Ġ")
        left = piece[0]
        for character in piece[1:]:
            if left + character not in vocab and len(vocab) < VOCAB_SIZE:
                vocab[left + character] = len(vocab)
                merges.append((left, character))
            left += character
    assert len(vocab) == VOCAB_SIZE, "too few pieces"
    return vocab, merges


def _tokenizer(max_length: int, calls: tuple[str, ...]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab, merges = _vocabulary(calls)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in _SPECIAL]
    )
    tokenizer.add_tokens([AddedToken(call, normalized=False) for call in calls])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_TEMPLATE,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
