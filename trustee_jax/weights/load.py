"""Checkpoint -> device shards, without a second copy of the weights in host memory."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from flax import nnx

from trustee_jax.models.layers import LoRAParam, quantize
from trustee_jax.weights.checkpoint import Checkpoint, CheckpointError, Index, redundant
from trustee_jax.weights.names import Placement, placement

_SHOWN_PROBLEMS = 20
# What is quantised at a time, in float32 numbers.
_QUANTIZED_AT_ONCE = 2**24

Path = tuple[Any, ...]
Bounds = tuple[tuple[int, int], ...]


def load_params(
    checkpoint: Checkpoint, abstract_state: nnx.State, shardings: Any, dtype: jax.typing.DTypeLike
) -> nnx.State:
    """Reads the base parameters of a Transformer, each device shard straight from the file.

    All names and shapes are checked before anything is read. Every process of a multi-host run
    reads only the shards of its own devices.

    Matrices that are int8 in `abstract_state` are quantised as they are read, the same on every
    mesh, in pieces: on the host there is never more than one parameter in int8 and a piece of a
    tensor in float32.

    Args:
      checkpoint: From `open_checkpoint`.
      abstract_state: From `nnx.split(nnx.eval_shape(...))[1]`, for scanned or unrolled layers.
      shardings: From `models.param_shardings(abstract_state, rules)`.
      dtype: Of the loaded parameters that are not quantised.

    Returns:
      The state of the base parameters alone. LoRA factors and anything that is no parameter stay
      with the model; `nnx.update(model, state)` puts the two together.

    Raises:
      CheckpointError: A tensor is missing, unknown or of another shape.
    """
    places = _plan(checkpoint, abstract_state)
    sharding_of = dict(nnx.to_flat_state(shardings))
    abstract_of = dict(nnx.to_flat_state(abstract_state))
    loaded = {}
    for path, variable in abstract_of.items():
        if path not in places:
            continue
        place, shape = places[path], variable.get_value().shape
        sharding = sharding_of[path].get_value()
        scale_path = _scale_path(path)
        if scale_path not in sharding_of:
            value = _read_param(checkpoint, place, shape, sharding, np.dtype(dtype))
            loaded[path] = variable.replace(value)
            continue
        scale = abstract_of[scale_path]
        value, scale_value = _read_quantized(
            checkpoint, place, shape, sharding, sharding_of[scale_path].get_value()
        )
        loaded[path] = variable.replace(value)
        loaded[scale_path] = scale.replace(scale_value)
    return nnx.from_flat_state(loaded)


def _scale_path(path: Path) -> Path:
    """Where a matrix has its scales if it is quantised."""
    return (*path[:-1], f"{path[-1]}_scale")


def _plan(checkpoint: Checkpoint, abstract_state: nnx.State) -> dict[Path, Placement]:
    """Finds the tensors of every base parameter and checks names and shapes."""
    available = checkpoint.names()
    places: dict[Path, Placement] = {}
    wanted: set[str] = set()
    problems: list[str] = []
    for path, variable in nnx.to_flat_state(abstract_state):
        if not isinstance(variable, nnx.Param) or isinstance(variable, LoRAParam):
            continue
        if str(path[-1]).endswith("_scale"):  # of the file's matrix, below the matrix's name
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
    shards: dict[Bounds, np.ndarray] = {}

    def shard(index: Index | None) -> np.ndarray:
        bounds = _bounds(index or (), shape)  # a scalar has none
        if bounds not in shards:  # replicas share one read
            shards[bounds] = _read_shard(checkpoint, place, bounds, dtype)
        return shards[bounds]

    return jax.make_array_from_callback(shape, sharding, shard)


def _bounds(index: Index, shape: tuple[int, ...]) -> Bounds:
    return tuple(axis.indices(size)[:2] for axis, size in zip(index, shape, strict=True))


def _read_quantized(
    checkpoint: Checkpoint,
    place: Placement,
    shape: tuple[int, ...],
    sharding: jax.sharding.Sharding,
    scale_sharding: jax.sharding.Sharding,
) -> tuple[jax.Array, jax.Array]:
    # A row has one scale: it is read as a whole, and shards are cut out of it.
    *scale_shape, width = shape
    parts: dict[Bounds, tuple[np.ndarray, np.ndarray]] = {}

    def part(index: Any) -> tuple[np.ndarray, np.ndarray]:
        bounds = _bounds(index, tuple(scale_shape))
        if bounds not in parts:
            parts[bounds] = _quantize_rows(checkpoint, place, bounds, width)
        return parts[bounds]

    def values(index: Any) -> np.ndarray:
        whole, _ = part(index[:-1])
        return whole[..., index[-1]]

    def scales(index: Any) -> np.ndarray:
        return part(index)[1]

    return (
        jax.make_array_from_callback(shape, sharding, values),
        jax.make_array_from_callback(tuple(scale_shape), scale_sharding, scales),
    )


def _quantize_rows(
    checkpoint: Checkpoint, place: Placement, bounds: Bounds, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the file's matrices: int8 values and float32 scales.

    Args:
      checkpoint: Where they are.
      place: Of the parameter.
      bounds: Of the layers, if it is stacked, and of the rows.
      width: Of a row.
    """
    first, last = bounds[-1]
    layers = bounds[0] if place.stacked else (0, 1)
    names = place.tensors[slice(*layers)]
    scales = np.empty((len(names), last - first), np.float32)
    values = np.empty((len(names), last - first, width), np.int8)
    step = max(1, _QUANTIZED_AT_ONCE // width)
    for layer, name in enumerate(names):
        for start in range(first, last, step):
            rows = slice(start, min(start + step, last))
            read = checkpoint.read(name, (rows, slice(None))).astype(np.float32)
            target = slice(rows.start - first, rows.stop - first)
            values[layer, target], scales[layer, target] = quantize(read)
    return (values, scales) if place.stacked else (values[0], scales[0])


def _read_shard(
    checkpoint: Checkpoint, place: Placement, bounds: Bounds, dtype: np.dtype
) -> np.ndarray:
    out = np.empty([stop - start for start, stop in bounds], dtype)
    if not math.prod(out.shape):
        return out
    inner = bounds[1:] if place.stacked else bounds
    index = tuple(slice(start, stop) for start, stop in inner)
    names = place.tensors[slice(*bounds[0])] if place.stacked else place.tensors
    for layer, name in enumerate(names):
        target = out[layer] if place.stacked else out
        target[...] = checkpoint.read(name, index)
    return out
