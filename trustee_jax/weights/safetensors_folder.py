"""A Hugging Face folder: config.json, *.safetensors, tokenizer.json."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trustee_jax.models.config import ModelConfig
from trustee_jax.weights.checkpoint import (
    Checkpoint,
    CheckpointError,
    Index,
    license_of,
    parse_config,
    redundant,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")
_NAMED = "transformers_weights"  # field of config.json
_AGAIN = "get the complete checkpoint again"


class SafetensorsFolder(Checkpoint):
    """Single-file and sharded safetensors checkpoints, memory-mapped and read by slices."""

    def __init__(self, folder: pathlib.Path, source: str) -> None:
        """Opens config and safetensors headers.

        Raises:
          CheckpointError: A file is missing, truncated or not what its name says, or the folder
            holds two different sets of weights.
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
        self._hf = hf
        self._files = _tensor_files(folder, hf, self.config)
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

    def license(self) -> dict[str, str]:
        """See `Checkpoint`. Of the model card, else of config.json."""
        import yaml
        from huggingface_hub import metadata_load

        try:
            card = metadata_load(self._folder / "README.md") or {}
        # There is none, or it is no card: nothing that the weights would need.
        except (OSError, ValueError, yaml.YAMLError):
            card = {}
        return license_of(card) or license_of(self._hf)

    def _open_tensor(self, name: str) -> Any:
        path, handle = self._files[name]
        if name not in handle.keys():  # noqa: SIM118 (not a mapping)
            raise CheckpointError(
                path, f"tensor {name} is missing, although the index places it here", _AGAIN
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


def weight_files(folder: pathlib.Path) -> list[str]:
    """Names of all weight files that the config and the index of a folder speak of.

    Raises:
      CheckpointError: The config or the index is missing or broken.
    """
    named = _named_file(folder, read_json(folder / "config.json"))
    index = folder / (named or INDEX)
    shards = _weight_map(index).values() if index.name.endswith(".json") and index.is_file() else ()
    return list(dict.fromkeys((named or SINGLE, *shards)))


_Files = dict[str, tuple[pathlib.Path, Any]]


def _tensor_files(folder: pathlib.Path, hf: Mapping[str, Any], config: ModelConfig) -> _Files:
    """Tensor name -> (file, open handle).

    The order is that of transformers: the file that config.json names, model.safetensors, an
    index. But saving over a folder leaves files of what was there before, so that what it takes
    need not be what was saved last. Here a part beside whole shards is passed over, and two sets
    that differ are refused.
    """
    if named := _named_file(folder, hf):
        return _indexed(folder, named) if named.endswith(".json") else _whole(folder, named)
    if not (folder / INDEX).is_file():
        return _whole(folder, SINGLE)
    weight_map = _weight_map(folder / INDEX)
    if SINGLE in weight_map.values() or not (folder / SINGLE).is_file():
        return _indexed(folder, INDEX)
    whole = _whole(folder, SINGLE)
    present = {name: file for name, file in weight_map.items() if (folder / file).is_file()}
    lacking = {name for name in weight_map.keys() - whole.keys() if not redundant(name, config)}
    if lacking and len(present) == len(weight_map):
        return _indexed(folder, INDEX)
    _check_same(folder, whole, present)
    return whole


def _check_same(folder: pathlib.Path, whole: _Files, shards: Mapping[str, str]) -> None:
    """Shards that lie beside a whole file hold the same values: nobody has to choose."""
    handles = {file: _open(folder / file) for file in sorted(set(shards.values()))}
    for name in sorted(shards.keys() & whole.keys()):
        if name not in handles[shards[name]].keys():  # noqa: SIM118 (not a mapping)
            continue
        ours, theirs = (h.get_tensor(name) for h in (whole[name][1], handles[shards[name]]))
        if ours.dtype != theirs.dtype or ours.tobytes() != theirs.tobytes():
            raise CheckpointError(
                folder,
                f"holds two sets of weights: {SINGLE} and {shards[name]} differ in {name}",
                f"keep one of them, or name the file to use in config.json as {_NAMED} "
                f"({SINGLE!r} or {INDEX!r})",
            )


def _named_file(folder: pathlib.Path, hf: Mapping[str, Any]) -> str:
    """The file that config.json names, empty if it names none."""
    named = hf.get(_NAMED) or ""
    if not isinstance(named, str) or (named and named != pathlib.PurePath(named).name):
        raise CheckpointError(
            folder / "config.json", f"{_NAMED}={named!r} is no file of this folder", _AGAIN
        )
    return named


def _indexed(folder: pathlib.Path, index: str) -> _Files:
    weight_map = _weight_map(folder / index)
    handles = {file: _open(folder / file) for file in sorted(set(weight_map.values()))}
    return {name: (folder / file, handles[file]) for name, file in weight_map.items()}


def _weight_map(path: pathlib.Path) -> dict[str, str]:
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(path, "field weight_map is missing", _AGAIN)
    for name, file in weight_map.items():
        if not isinstance(file, str):
            raise CheckpointError(path, f"weight_map places {name} in {file!r}", _AGAIN)
    return weight_map


def _whole(folder: pathlib.Path, file: str) -> _Files:
    if file == SINGLE and not (folder / file).is_file():
        raise CheckpointError(
            folder,
            f"neither {SINGLE} nor {INDEX}",
            "use a safetensors checkpoint, or convert this one with transformers' save_pretrained",
        )
    handle = _open(folder / file)
    return {name: (folder / file, handle) for name in handle.keys()}  # noqa: SIM118 (not a mapping)


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
