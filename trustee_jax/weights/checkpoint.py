"""What every source of weights offers, and the error that all of them raise."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trustee_jax.errors import InputError
from trustee_jax.models.config import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Index = tuple[slice, ...]
_LICENSE = ("license", "license_name", "license_link")


class CheckpointError(InputError):
    """A checkpoint cannot be found, read, or used as the model that it claims to be.

    Attributes:
      where: The file, folder or source string.
      problem: What is wrong with it, with the tensor or field.
      fix: What to do about it.
    """

    def __init__(self, where: object, problem: str, fix: str) -> None:
        """Builds the message from its three parts."""
        super().__init__(str(where), problem, fix)
        self.where = str(where)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        """The place, the problem and the remedy."""
        return f"{self.where}: {self.problem}; {self.fix}."


class Checkpoint(abc.ABC):
    """An open checkpoint: architecture, tensors under their Hugging Face names, tokenizer.

    Opening reads headers only; tensors are read piecewise by `read`.

    Attributes:
      source: The string that `open_checkpoint` was given.
      config: The architecture.
    """

    source: str
    config: ModelConfig

    @abc.abstractmethod
    def names(self) -> set[str]:
        """Names of the tensors, as `transformers` spells them."""

    @abc.abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor in Hugging Face orientation (kernels are [out, in])."""

    @abc.abstractmethod
    def file(self, name: str) -> str:
        """The file that holds (or would have to hold) a tensor, for messages."""

    @abc.abstractmethod
    def read(self, name: str, index: Index) -> np.ndarray:
        """Reads a part of a tensor.

        Args:
          name: Hugging Face name.
          index: One slice per dimension, with step 1 or None.

        Returns:
          That part, in the stored floating-point type (quantised types: float32). It may be a
          read-only view.
        """

    @abc.abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The checkpoint's tokenizer, with chat template and special tokens where it has them."""

    def license(self) -> dict[str, str]:
        """The licence that the checkpoint states, by a model card's fields; empty if it does not.

        These are `license`, and where that is "other" `license_name` and `license_link`.
        """
        return {}


def parse_config(where: object, hf: Mapping[str, Any]) -> ModelConfig:
    """`ModelConfig.from_hf`, with the file in the error.

    Raises:
      CheckpointError: The architecture is not supported or a field is missing.
    """
    try:
        return ModelConfig.from_hf(hf)
    except (ValueError, KeyError, TypeError) as error:
        problem = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
        fix = "use a Llama, Qwen2 or Qwen3 checkpoint with a complete config"
        raise CheckpointError(where, problem, fix) from error


def license_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """What of a model card's fields, or of what is named like them, states a licence."""
    found = {name: fields.get(name) for name in _LICENSE}
    return {name: text for name, text in found.items() if isinstance(text, str) and text}


def redundant(name: str, config: ModelConfig) -> bool:
    """Whether a checkpoint may hold or lack the tensor of that Hugging Face name alike."""
    # A tied checkpoint may carry the embedding twice; old ones carry the rotary frequencies, which
    # are computed here.
    tied_copy = name == "lm_head.weight" and config.tied_embeddings
    return tied_copy or name.endswith("rotary_emb.inv_freq")
