"""Checkpoint -> device shards, without a second copy of the weights in host memory."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from flax import nnx

from trustee_jax.models.layers import LoRAParam
from trustee_jax.weights.checkpoint import Checkpoint, CheckpointError, Index, redundant
from trustee_jax.weights.names import Placement, placement
from trustee_jax.weights.transpose import transpose_into

_SHOWN_PROBLEMS = 20

Path = tuple[Any, ...]


def load_params(
    checkpoint: Checkpoint, abstract_state: nnx.State, shardings: Any, dtype: jax.typing.DTypeLike
) -> nnx.State:
    """Reads the base parameters of a Transformer, each device shard straight from the file.

    All names and shapes are checked before anything is read. Every process of a multi-host run
    reads only the shards of its own devices.

    Args:
      checkpoint: From `open_checkpoint`.
      abstract_state: From `nnx.split(nnx.eval_shape(...))[1]`, for scanned or unrolled layers.
      shardings: From `models.param_shardings(abstract_state, rules)`.
      dtype: Of the loaded parameters.

    Returns:
      The state of the base parameters alone. LoRA factors and anything that is no parameter stay
      with the model; `nnx.update(model, state)` puts the two together.

    Raises:
      CheckpointError: A tensor is missing, unknown or of another shape.
    """
    places = _plan(checkpoint, abstract_state)
    sharding_of = dict(nnx.to_flat_state(shardings))
    loaded = {}
    for path, variable in nnx.to_flat_state(abstract_state):
        if path not in places:
            continue
        value = _read_param(
            checkpoint,
            places[path],
            variable.get_value().shape,
            sharding_of[path].get_value(),
            np.dtype(dtype),
        )
        loaded[path] = variable.replace(value)
    return nnx.from_flat_state(loaded)


def _plan(checkpoint: Checkpoint, abstract_state: nnx.State) -> dict[Path, Placement]:
    """Finds the tensors of every base parameter and checks names and shapes."""
    available = checkpoint.names()
    places: dict[Path, Placement] = {}
    wanted: set[str] = set()
    problems: list[str] = []
    for path, variable in nnx.to_flat_state(abstract_state):
        if not isinstance(variable, nnx.Param) or isinstance(variable, LoRAParam):
            continue
        place = placement(path, checkpoint.config.num_layers)
        expected = place.hf_shape(variable.get_value().shape)
        places[path] = place
        wanted.update(place.tensors)
        for name in place.tensors:
            if name not in available:
                problems.append(f"{checkpoint.file(name)} lacks tensor {name} of shape {expected}")
            elif (found := checkpoint.shape(name)) != expected:
                problems.append(
                    f"{checkpoint.file(name)} has {name} of shape {found}, expected {expected}"
                )
    for name in sorted(available - wanted):
        if not redundant(name, checkpoint.config):
            problems.append(
                f"{checkpoint.file(name)} has tensor {name}, which the model has no place for"
            )
    if problems:
        shown = problems[:_SHOWN_PROBLEMS]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        raise CheckpointError(
            checkpoint.source,
            "the tensors do not fit the config:\n  " + "\n  ".join(shown) + "\n",
            "get the complete checkpoint again, or the config.json that belongs to these weights",
        )
    return places


def _read_param(
    checkpoint: Checkpoint,
    place: Placement,
    shape: tuple[int, ...],
    sharding: jax.sharding.Sharding,
    dtype: np.dtype,
) -> jax.Array:
    shards: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def shard(index: Index | None) -> np.ndarray:
        index = index or ()  # a scalar has none
        bounds = tuple(axis.indices(size)[:2] for axis, size in zip(index, shape, strict=True))
        if bounds not in shards:  # replicas share one read
            shards[bounds] = _read_shard(checkpoint, place, bounds, dtype)
        return shards[bounds]

    return jax.make_array_from_callback(shape, sharding, shard)


def _read_shard(
    checkpoint: Checkpoint, place: Placement, bounds: tuple[tuple[int, int], ...], dtype: np.dtype
) -> np.ndarray:
    out = np.empty([stop - start for start, stop in bounds], dtype)
    if not math.prod(out.shape):
        return out
    inner = bounds[1:] if place.stacked else bounds
    index = tuple(slice(start, stop) for start, stop in inner)
    if place.transposed:
        index = index[::-1]
    names = place.tensors[slice(*bounds[0])] if place.stacked else place.tensors
    for layer, name in enumerate(names):
        part = checkpoint.read(name, index)
        target = out[layer] if place.stacked else out
        if place.transposed:
            transpose_into(target, part)
        else:
            target[...] = part
    return out
