"""A Hugging Face folder: config.json, *.safetensors, tokenizer.json."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from trustee_jax.weights.checkpoint import Checkpoint, CheckpointError, Index, parse_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")
_AGAIN = "get the complete checkpoint again"


class SafetensorsFolder(Checkpoint):
    """Single-file and sharded safetensors checkpoints, memory-mapped and read by slices."""

    def __init__(self, folder: pathlib.Path, source: str) -> None:
        """Opens config and safetensors headers.

        Raises:
          CheckpointError: A file is missing, truncated or not what its name says.
        """
        self.source = source
        self._folder = folder
        hf = read_json(folder / "config.json")
        if hf.get("quantization_config"):
            raise CheckpointError(
                folder / "config.json",
                "field quantization_config: quantised safetensors are not supported",
                "use the unquantised checkpoint or a GGUF file",
            )
        self.config = parse_config(folder / "config.json", hf)
        self._files = _tensor_files(folder)
        self._tensors = {name: self._open_tensor(name) for name in self._files}

    def names(self) -> set[str]:
        """See `Checkpoint`."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Checkpoint`."""
        return tuple(self._tensors[name].get_shape())

    def file(self, name: str) -> str:
        """See `Checkpoint`."""
        path, _ = self._files.get(name, (self._folder, None))
        return str(path)

    def read(self, name: str, index: Index) -> np.ndarray:
        """See `Checkpoint`."""
        return self._tensors[name][index]

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """See `Checkpoint`.

        Raises:
          CheckpointError: The folder has no tokenizer.json.
        """
        from transformers import PreTrainedTokenizerFast

        if not (self._folder / "tokenizer.json").is_file():
            raise CheckpointError(
                self._folder,
                "no tokenizer.json",
                "save the tokenizer there with transformers' save_pretrained",
            )
        # Not AutoTokenizer: it may rebuild the pre-tokenizer from the class name instead of reading
        # tokenizer.json.
        return PreTrainedTokenizerFast.from_pretrained(str(self._folder))

    def _open_tensor(self, name: str) -> Any:
        path, handle = self._files[name]
        if name not in handle.keys():  # noqa: SIM118 (not a mapping)
            raise CheckpointError(
                path, f"tensor {name} is missing, although {INDEX} places it here", _AGAIN
            )
        tensor = handle.get_slice(name)
        if tensor.get_dtype() not in _FLOATS:
            raise CheckpointError(
                path,
                f"tensor {name} has type {tensor.get_dtype()}, supported are {', '.join(_FLOATS)}",
                "use the unquantised checkpoint or a GGUF file",
            )
        return tensor


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      CheckpointError: The file is missing or is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(path, "no such file", _AGAIN) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"not readable as JSON ({error})", _AGAIN) from error
    if not isinstance(value, dict):
        raise CheckpointError(path, "not a JSON object", _AGAIN)
    return value


def _tensor_files(folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, Any]]:
    """Tensor name -> (file, open handle)."""
    if (folder / INDEX).is_file():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(folder / INDEX, "field weight_map is missing", _AGAIN)
        handles = {file: _open(folder / file) for file in sorted(set(weight_map.values()))}
        return {name: (folder / file, handles[file]) for name, file in weight_map.items()}
    if not (folder / SINGLE).is_file():
        raise CheckpointError(
            folder,
            f"neither {SINGLE} nor {INDEX}",
            "use a safetensors checkpoint, or convert this one with transformers' save_pretrained",
        )
    handle = _open(folder / SINGLE)
    return {name: (folder / SINGLE, handle) for name in handle.keys()}  # noqa: SIM118 (not a mapping)


def _open(path: pathlib.Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError as error:
        raise CheckpointError(path, "no such file", _AGAIN) from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            path, f"truncated or not a safetensors file ({error})", _AGAIN
        ) from error
