"""A folder of exported weights: it appears whole, with tokenizer, generation config and card."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from trustee_jax.paths import user_path
from trustee_jax.weights.checkpoint import CheckpointError
from trustee_jax.weights.safetensors_folder import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclasses.dataclass(frozen=True)
class Companions:
    """What lies beside exported weights.

    Attributes:
      tokenizer: Saved with its chat template.
      stop_ids: Ids that end a turn, for generation_config.json; the tokenizer's eos if empty.
      sampling: Fields of generation_config.json that say how tokens are drawn.
      card: Text of README.md; without it there is none.
    """

    tokenizer: PreTrainedTokenizerFast
    stop_ids: Sequence[int] = ()
    sampling: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    card: str | None = None

    def token_ids(self) -> dict[str, Any]:
        """Fields of config.json and generation_config.json that name tokens."""
        eos = self.tokenizer.eos_token_id
        ends = list(self.stop_ids) or ([] if eos is None else [eos])
        ids = {
            "bos_token_id": self.tokenizer.bos_token_id,
            "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
            "pad_token_id": self.tokenizer.pad_token_id,
        }
        return {key: value for key, value in ids.items() if value is not None}

    def write(self, folder: pathlib.Path) -> None:
        """Writes all of it into a folder."""
        write_json(folder / "generation_config.json", self.token_ids() | dict(self.sampling))
        self.tokenizer.save_pretrained(str(folder))
        # transformers 5 writes a class name of its own, which transformers 4 does not know.
        tokenizer_config = read_json(folder / "tokenizer_config.json")
        tokenizer_config["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_json(folder / "tokenizer_config.json", tokenizer_config)
        if self.card is not None:
            (folder / "README.md").write_text(self.card, encoding="utf-8")


def check_free(folder: str | os.PathLike[str]) -> pathlib.Path:
    """The folder's absolute path, if it does not exist yet or is empty.

    Raises:
      CheckpointError: It is neither, in the process that would write it.
    """
    path = user_path(folder).absolute()
    first = jax.process_index() == 0
    if first and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise CheckpointError(
            path, "exists and is not empty", "choose another folder or remove this one"
        )
    return path


@contextlib.contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[tuple[pathlib.Path, bool]]:
    """A folder that appears under its name when the block ends well, and not at all if not.

    Args:
      folder: Must not exist yet, or be empty.

    Yields:
      Where to write until then, and whether to: in a multi-host run every process enters the block,
      and the first one writes.

    Raises:
      CheckpointError: The folder exists and is not empty, or cannot be written.
    """
    folder = check_free(folder)
    writes = jax.process_index() == 0
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        if writes:
            scratch.mkdir(parents=True)
        yield scratch, writes
        if writes:
            scratch.rename(folder)
    except OSError as error:
        raise CheckpointError(
            folder,
            f"cannot be written ({error.strerror or error})",
            "make room there, or choose another folder",
        ) from error
    finally:
        if writes:
            shutil.rmtree(scratch, ignore_errors=True)
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("new_folder")


def save_tensors(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes one safetensors file, contiguous tensors by name.

    Raises:
      OSError: There is no room for it, or the disk fails.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.touch()  # save_file alone leaves it to its owner
    mode = path.stat().st_mode
    try:
        # transformers insists on a format
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object, indented."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def to_host(array: jax.Array) -> np.ndarray:
    """The whole array in the host's memory; collective where it lies on several hosts."""
    if array.is_fully_addressable:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
