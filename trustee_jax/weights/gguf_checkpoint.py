"""A GGUF file as a checkpoint: names, rotary row order and dequantisation by slices."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from trustee_jax.weights.checkpoint import (
    Checkpoint,
    CheckpointError,
    Index,
    license_of,
    parse_config,
)
from trustee_jax.weights.gguf_file import GGUFTensor
from trustee_jax.weights.gguf_split import read_model
from trustee_jax.weights.names import from_gguf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ROPE_FACTORS = "rope_freqs.weight"
# The only Llama-3 scaling that llama.cpp writes without saying so: Llama 3.1 to 3.3.
_LOW_FREQ, _HIGH_FREQ, _ORIGINAL_CONTEXT = 1.0, 4.0, 8192


class GGUFCheckpoint(Checkpoint):
    """A llama, qwen2 or qwen3 model in GGUF, dequantised to float32 as it is read."""

    def __init__(self, path: pathlib.Path, source: str) -> None:
        """Opens the header, of a split model those of all parts.

        Raises:
          CheckpointError: A file is missing, truncated or describes something that is not
            supported.
        """
        self.source = source
        self._path = path
        self._metadata, tensors = read_model(path)
        self.config = parse_config(path, hf_config(path, self._metadata, tensors))
        tensors.pop(_ROPE_FACTORS, None)
        self._tensors: dict[str, GGUFTensor] = {}
        self._rotary: set[str] = set()
        for gguf_name, tensor in tensors.items():
            name, rotary = from_gguf(gguf_name)
            self._tensors[name] = tensor
            # For this architecture alone llama.cpp rotates neighbouring pairs, so files store the
            # rows that way.
            if rotary and self.config.family == "llama":
                self._rotary.add(name)

    def names(self) -> set[str]:
        """See `Checkpoint`."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Checkpoint`."""
        return self._tensors[name].shape

    def file(self, name: str) -> str:
        """See `Checkpoint`."""
        tensor = self._tensors.get(name)
        return str(tensor.path if tensor else self._path)

    def read(self, name: str, index: Index) -> np.ndarray:
        """See `Checkpoint`. Only the rows and blocks that `index` touches are dequantised."""
        tensor = self._tensors[name]
        if len(tensor.shape) == 1:  # the file sees a vector as one row
            values = tensor.read(slice(0, 1), slice(None))[0]
            return (
                values[self._file_rows(name)[index[0]]] if name in self._rotary else values[index]
            )
        rows = self._file_rows(name)[index[0]] if name in self._rotary else index[0]
        return tensor.read(rows, index[1])

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """See `Checkpoint`.

        Raises:
          CheckpointError: The file has no byte-level BPE vocabulary of a known kind.
        """
        from trustee_jax.weights.gguf_tokenizer import build_tokenizer

        return build_tokenizer(self._path, self._metadata)

    def license(self) -> dict[str, str]:
        """See `Checkpoint`."""
        fields = {
            name.replace(".", "_"): self._metadata.get(f"general.{name}")
            for name in ("license", "license.name", "license.link")
        }
        return license_of(fields)

    def _file_rows(self, name: str) -> np.ndarray:
        """The row of the file for each row of the Hugging Face tensor.

        A head's rows are (first half, second half) there and (first, second) pairs in the file.
        """
        rows = np.arange(self._tensors[name].shape[0])
        return rows.reshape(-1, self.config.head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


def hf_config(
    path: pathlib.Path, metadata: dict[str, Any], tensors: dict[str, GGUFTensor]
) -> dict[str, Any]:
    """The config.json that describes a GGUF file.

    Raises:
      CheckpointError: A metadata key is missing, or rotary frequencies are scaled in an unknown
        way.
    """
    family = metadata.get("general.architecture")

    def required(key: str) -> Any:
        if f"{family}.{key}" not in metadata:
            raise CheckpointError(
                path, f"metadata key {family}.{key} is missing", "use a complete GGUF file"
            )
        return metadata[f"{family}.{key}"]

    if family not in ("llama", "qwen2", "qwen3"):
        raise CheckpointError(
            path,
            f"general.architecture={family!r} is not supported",
            "use a GGUF file of llama, qwen2 or qwen3",
        )
    if "token_embd.weight" not in tensors:
        raise CheckpointError(
            path, "tensor token_embd.weight is missing", "use a complete GGUF file"
        )
    width, heads = required("embedding_length"), required("attention.head_count")
    config = {
        "model_type": family,
        "vocab_size": tensors["token_embd.weight"].shape[0],
        "hidden_size": width,
        "num_hidden_layers": required("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get(f"{family}.attention.head_count_kv", heads),
        "head_dim": metadata.get(f"{family}.attention.key_length", width // heads),
        "intermediate_size": required("feed_forward_length"),
        "rms_norm_eps": _decimal(required("attention.layer_norm_rms_epsilon")),
        "rope_theta": metadata.get(f"{family}.rope.freq_base", 10_000.0),
        "tie_word_embeddings": "output.weight" not in tensors,
        "max_position_embeddings": required("context_length"),
    }
    if metadata.get(f"{family}.rope.scaling.type", "none") != "none":
        kind = metadata[f"{family}.rope.scaling.type"]
        raise CheckpointError(
            path,
            f"{family}.rope.scaling.type={kind!r} is not supported",
            "use a file without it, or the safetensors checkpoint",
        )
    if _ROPE_FACTORS in tensors:
        config["rope_scaling"] = _llama3_scaling(path, tensors[_ROPE_FACTORS], config["rope_theta"])
    return config


def _decimal(value: float) -> float:
    """The short decimal behind a float32: 9.99999974e-06 stands for 1e-05."""
    return float(f"{value:.6g}")


def _llama3_scaling(path: pathlib.Path, tensor: GGUFTensor, theta: float) -> dict[str, Any]:
    """Recovers the settings behind llama.cpp's frequency divisors, and checks all of them."""
    stored = tensor.read(slice(0, 1), slice(None))[0]
    factor = _decimal(float(stored.max()))
    wavelengths = 2 * np.pi * theta ** (np.arange(stored.size) / stored.size)
    keep = (_ORIGINAL_CONTEXT / wavelengths - _LOW_FREQ) / (_HIGH_FREQ - _LOW_FREQ)
    keep = np.clip(keep, 0.0, 1.0)
    if not np.allclose(stored, 1 / (keep + (1 - keep) / factor), rtol=1e-4):
        raise CheckpointError(
            path,
            f"tensor {_ROPE_FACTORS} is not the rotary scaling of Llama 3.1 with any factor",
            "use the safetensors checkpoint, whose config.json spells the scaling out",
        )
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": _LOW_FREQ,
        "high_freq_factor": _HIGH_FREQ,
        "original_max_position_embeddings": _ORIGINAL_CONTEXT,
    }
