"""Device shards -> a Hugging Face folder, LoRA merged."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trustee_jax.models.config import ModelConfig
from trustee_jax.paths import user_path
from trustee_jax.weights.names import placement
from trustee_jax.weights.new_folder import (
    Companions,
    new_folder,
    save_tensors,
    to_host,
    write_json,
)
from trustee_jax.weights.safetensors_folder import INDEX, SINGLE

SHARD_BYTES = 5 * 10**9


def export_hf(
    folder: str | os.PathLike[str],
    config: ModelConfig,
    state: nnx.State,
    companions: Companions,
    dtype: jax.typing.DTypeLike,
    *,
    lora_scale: float | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> pathlib.Path:
    """Writes config, weights and what lies beside them as `transformers` reads them.

    LoRA factors are merged in float32: kernel + lora_scale * (lora_a @ lora_b).T. One file's
    tensors are in host memory at a time. The folder appears under its name only when it is
    complete. In a multi-host run every process calls this and the first one writes.

    Args:
      folder: Must not exist yet, or be empty.
      config: The model's architecture.
      state: Of the Transformer, with or without LoRA factors, scanned or unrolled.
      companions: What lies beside the weights.
      dtype: float32, bfloat16 or float16.
      lora_scale: Alpha / rank (`LoRAConfig.scale`); required if `state` has LoRA factors.
      shard_bytes: Largest size of one safetensors file, in bytes (one tensor may exceed it).

    Returns:
      The folder.

    Raises:
      CheckpointError: The folder exists and is not empty.
      ValueError: `lora_scale` is missing, or the state is quantised.
    """
    dtype = jnp.dtype(dtype)
    tensors = list(_tensors(config, state, lora_scale))
    with new_folder(folder) as (scratch, writes):
        if writes:
            names = {"torch_dtype": dtype.name, "dtype": dtype.name}
            write_json(scratch / "config.json", config.to_hf() | companions.token_ids() | names)
            companions.write(scratch)
        _write_weights(scratch, tensors, dtype, shard_bytes, writes)
    return user_path(folder).absolute()


@dataclasses.dataclass(frozen=True, eq=False)
class _Tensor:
    """One tensor to be written: a parameter, or one layer of a stacked one.

    Attributes:
      name: Hugging Face name.
      shape: Of the tensor.
      arrays: The parameter, and lora_a and lora_b where it has an adapter.
      layer: Index into the arrays' leading axis, or None.
      lora_scale: Factor of the adapter's product.
    """

    name: str
    shape: tuple[int, ...]
    arrays: tuple[jax.Array, ...]
    layer: int | None
    lora_scale: float

    def read(self, dtype: np.dtype) -> np.ndarray:
        """Merges, converts and brings it to the host, contiguous."""
        parts = (
            self.arrays if self.layer is None else tuple(array[self.layer] for array in self.arrays)
        )
        value = parts[0].astype(jnp.float32)
        if len(parts) == 3:
            product = jnp.matmul(
                parts[2].astype(jnp.float32).T,
                parts[1].astype(jnp.float32).T,
                precision=jax.lax.Precision.HIGHEST,
            )
            value = value + self.lora_scale * product
        return np.ascontiguousarray(to_host(value.astype(dtype)))


def _tensors(config: ModelConfig, state: nnx.State, lora_scale: float | None) -> Iterator[_Tensor]:
    arrays = {
        path: variable.get_value()
        for path, variable in nnx.to_flat_state(state)
        if isinstance(variable, nnx.Param)
    }
    for path, array in arrays.items():
        if path[-1] in ("lora_a", "lora_b"):
            continue
        adapter: tuple[jax.Array, ...] = ()
        if path[-1] == "kernel" and (*path[:-1], "lora_a") in arrays:
            adapter = (arrays[*path[:-1], "lora_a"], arrays[*path[:-1], "lora_b"])
            if lora_scale is None:
                raise ValueError("the state has LoRA factors: give lora_scale (LoRAConfig.scale)")
        if str(path[-1]).endswith("_scale"):
            raise ValueError("the state is quantised: load the original weights to export them")
        place = placement(path, config.num_layers)
        for layer, name in enumerate(place.tensors):
            yield _Tensor(
                name,
                place.hf_shape(array.shape),
                (array, *adapter),
                layer if place.stacked else None,
                lora_scale or 0.0,
            )


def _write_weights(
    folder: pathlib.Path,
    tensors: Sequence[_Tensor],
    dtype: np.dtype,
    shard_bytes: int,
    writes: bool,
) -> None:
    files: list[list[_Tensor]] = [[]]
    used = 0
    sizes = {tensor.name: int(np.prod(tensor.shape)) * dtype.itemsize for tensor in tensors}
    for tensor in tensors:
        if files[-1] and used + sizes[tensor.name] > shard_bytes:
            files.append([])
            used = 0
        files[-1].append(tensor)
        used += sizes[tensor.name]
    weight_map: dict[str, str] = {}
    for number, group in enumerate(files, 1):
        file = SINGLE if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        weight_map |= {tensor.name: file for tensor in group}
        content = {}
        for tensor in group:
            value = tensor.read(dtype)  # collective in a multi-host run
            if writes:
                content[tensor.name] = value
        if writes:
            save_tensors(folder / file, content)
    if writes and len(files) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        write_json(folder / INDEX, index)
