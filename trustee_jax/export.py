"""The trained policy as a Hugging Face folder: merged, or the adapter alone."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Literal

import jax
from flax import nnx

from trustee_jax.build import abstract_policy, load, lora_config, open_format
from trustee_jax.config import Config
from trustee_jax.errors import InputError
from trustee_jax.model_card import Form, base_name, model_card
from trustee_jax.models import make_mesh
from trustee_jax.paths import user_path
from trustee_jax.report.run import open_run
from trustee_jax.rl import split_trainable
from trustee_jax.run import read_config, restore_trained
from trustee_jax.weights import (
    Checkpoint,
    Companions,
    export_adapter,
    export_hf,
    open_checkpoint,
)
from trustee_jax.weights.export import SHARD_BYTES
from trustee_jax.weights.new_folder import check_free


class ExportError(InputError):
    """A run cannot be exported in the form that was asked for."""


def export(
    workdir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    step: int | Literal["best"] | None = None,
    form: Form = "merged",
    shard_bytes: int = SHARD_BYTES,
) -> pathlib.Path:
    """Writes a checkpoint of a run with tokenizer, chat template, generation config and model card.

    The adapter belongs to the original weights, also where the run held them quantised.

    Args:
      workdir: Of the run.
      output: Must not exist yet, or be empty; it appears when it is complete.
      step: Which checkpoint; "best" is the one with the highest score, None the newest.
      form: "merged", the whole model with the adapter in its weights, or "adapter", for PEFT.
      shard_bytes: Largest size of one file of a merged model, in bytes.

    Returns:
      The folder.

    Raises:
      WorkdirError: There is no run in `workdir`.
      ExportError: The run has no adapter to export.
      RestoreError: It has no such checkpoint.
      ReportError: One of its logs is broken.
      CheckpointError: The base model cannot be read, or `output` is not empty or not writable.
    """
    config = read_config(workdir)
    lora = lora_config(config.model)
    if form == "adapter" and lora is None:
        raise ExportError(
            f"{workdir} trained all weights (model.lora_rank = 0) and has no adapter; "
            "export it merged"
        )
    output = check_free(output)  # before anything is read
    checkpoint = open_checkpoint(config.model.source)
    full_precision = dataclasses.replace(config.model, quantization=None)
    abstract = abstract_policy(checkpoint.config, full_precision)
    mesh = make_mesh()
    graphdef, trained, frozen = split_trainable(abstract)
    number, trained = restore_trained(workdir, trained, mesh, step=step)
    companions = _companions(workdir, config, checkpoint, number, form, output.name)
    if lora is not None and form == "adapter":
        base, revision = base_name(config.model.source)
        return export_adapter(
            output, checkpoint.config, trained, lora, base, companions, revision=revision
        )
    if jax.tree.leaves(frozen):
        _, _, frozen = split_trainable(load(checkpoint, abstract, mesh, config.seed))
    _, state = nnx.split(nnx.merge(graphdef, trained, frozen))
    return export_hf(
        output,
        checkpoint.config,
        state,
        companions,
        config.model.dtype,
        lora_scale=lora.scale if lora else None,
        shard_bytes=shard_bytes,
    )


def _companions(
    workdir: str | os.PathLike[str],
    config: Config,
    checkpoint: Checkpoint,
    step: int,
    form: Form,
    name: str,
) -> Companions:
    chat, _ = open_format(checkpoint, config.model)
    tokenizer = chat.tokenizer
    # What the policy was trained with, which need not be what came with the base.
    tokenizer.chat_template = chat.template
    run = open_run(user_path(workdir).absolute())
    card = model_card(run, config, step=step, form=form, name=name, license=checkpoint.license())
    sampling = dataclasses.asdict(config.environment.policy.sampling)
    return Companions(tokenizer, chat.stop_ids, {"do_sample": True, **sampling}, card)
