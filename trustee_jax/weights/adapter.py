"""LoRA factors -> a folder in PEFT's layout."""

from __future__ import annotations

import os
import pathlib

import numpy as np
from flax import nnx

from trustee_jax.models.config import ModelConfig
from trustee_jax.models.layers import LoRAConfig
from trustee_jax.paths import user_path
from trustee_jax.weights.names import placement
from trustee_jax.weights.new_folder import (
    Companions,
    new_folder,
    save_tensors,
    to_host,
    write_json,
)

_FACTORS = {"lora_a": "lora_A", "lora_b": "lora_B"}


def export_adapter(
    folder: str | os.PathLike[str],
    config: ModelConfig,
    state: nnx.State,
    lora: LoRAConfig,
    base: str,
    companions: Companions,
    *,
    revision: str | None = None,
) -> pathlib.Path:
    """Writes the adapter as `peft.PeftModel.from_pretrained` reads it, in float32.

    PEFT computes (alpha / r) B A x with A [r, in] and B [out, r], the transposes of the factors
    here. The folder appears under its name only when it is complete. In a multi-host run every
    process calls this and the first one writes.

    Args:
      folder: Must not exist yet, or be empty.
      config: The base model's architecture.
      state: Of a Transformer with LoRA factors, scanned or unrolled; other parameters may be there.
      lora: Rank and alpha of the factors.
      base: Name or path under which the base is found.
      companions: What lies beside the weights.
      revision: Of the base, where it is one of the hub's.

    Returns:
      The folder.

    Raises:
      CheckpointError: The folder exists and is not empty.
    """
    with new_folder(folder) as (scratch, writes):
        tensors: dict[str, np.ndarray] = {}
        for path, variable in nnx.to_flat_state(state):
            if path[-1] not in _FACTORS:
                continue
            factor = to_host(variable.get_value()).astype(np.float32)
            place = placement((*path[:-1], "kernel"), config.num_layers)
            for layer, name in enumerate(place.tensors):
                module = name.removesuffix(".weight")
                one = factor[layer] if place.stacked else factor
                key = f"base_model.model.{module}.{_FACTORS[path[-1]]}.weight"
                tensors[key] = np.ascontiguousarray(one.T)
        if writes:
            _write(scratch, tensors, lora, base, revision)
            companions.write(scratch)
    return user_path(folder).absolute()


def _write(
    folder: pathlib.Path,
    tensors: dict[str, np.ndarray],
    lora: LoRAConfig,
    base: str,
    revision: str | None,
) -> None:
    save_tensors(folder / "adapter_model.safetensors", tensors)
    write_json(
        folder / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "revision": revision,
            "r": lora.rank,
            "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
            "lora_dropout": 0.0,
            "target_modules": sorted({name.split(".")[-3] for name in tensors}),
            "bias": "none",
            "fan_in_fan_out": False,
            "use_rslora": False,
            "inference_mode": True,
        },
    )
