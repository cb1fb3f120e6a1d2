"""The trained policy as a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import jax
from flax import nnx

from trustee_jax.build import abstract_policy, load, lora_config, open_format
from trustee_jax.models import make_mesh
from trustee_jax.rl import split_trainable
from trustee_jax.run import read_config, restore_trained
from trustee_jax.weights import export_hf, open_checkpoint


def export(
    workdir: str | os.PathLike[str], output: str | os.PathLike[str], *, step: int | None = None
) -> pathlib.Path:
    """Writes a checkpoint of a run, LoRA merged, with tokenizer and chat template.

    The adapter is merged into the original weights, also where the run held them quantised.

    Args:
      workdir: Of the run.
      output: Must not exist yet, or be empty.
      step: Which checkpoint; None is the newest.

    Returns:
      The folder.

    Raises:
      WorkdirError: There is no run in `workdir`.
      RestoreError: It has no such checkpoint.
      CheckpointError: The base model cannot be read, or `output` is not empty.
    """
    config = read_config(workdir)
    checkpoint = open_checkpoint(config.model.source)
    full_precision = dataclasses.replace(config.model, quantization=None)
    abstract = abstract_policy(checkpoint.config, full_precision)
    mesh = make_mesh()
    graphdef, trained, frozen = split_trainable(abstract)
    _, trained = restore_trained(workdir, trained, mesh, step=step)
    if jax.tree.leaves(frozen):
        _, _, frozen = split_trainable(load(checkpoint, abstract, mesh, config.seed))
    _, state = nnx.split(nnx.merge(graphdef, trained, frozen))

    chat, _ = open_format(checkpoint, config.model)
    tokenizer = chat.tokenizer
    # What the policy was trained with, which need not be what came with the base.
    tokenizer.chat_template = chat.template
    lora = lora_config(config.model)
    return export_hf(
        output,
        checkpoint.config,
        state,
        tokenizer,
        config.model.dtype,
        lora_scale=lora.scale if lora else None,
        stop_ids=chat.stop_ids,
    )
