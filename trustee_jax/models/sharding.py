"""Logical axes to mesh axes: the one table that says how arrays are laid out.

Parameters, activations and caches name their axes ("embed", "heads", "batch", ...); a `MeshRules`
maps each name to the mesh axes that split it. A single device is the trivial mesh, so there is no
other code path.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Axes = tuple[str | None, ...]
MeshAxes = str | tuple[str, ...] | None

MESH_AXES = ("data", "fsdp", "tensor")

# Parameters and caches: ZeRO-3 over "fsdp", Megatron over "tensor". The same layout serves learner
# and engine, so one copy of the weights plays every role.
_STORED: dict[str, MeshAxes] = {
    "vocab": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "layers": None,
    "lora_rank": None,
    "cache_batch": ("data", "fsdp"),
    "cache_length": None,
}
# Learner activations: rows over data and fsdp; the residual stream is also split along the sequence
# between blocks (Megatron sequence parallelism, arXiv 2205.05198), which is what makes long rows
# fit.
LEARNER_RULES: dict[str, MeshAxes] = _STORED | {
    "batch": ("data", "fsdp"),
    "length": "tensor",
    "act_embed": None,
    "act_heads": "tensor",
    "act_kv_heads": "tensor",
    "act_mlp": "tensor",
    "act_vocab": "tensor",
}
# Engine activations: a decode step has one token a row, so moving activations is cheaper than
# gathering weights: the residual stream is split like the weights ("embed" over fsdp) and
# partial sums are reduced.
ENGINE_RULES: dict[str, MeshAxes] = _STORED | {
    "batch": "data",
    "length": None,
    "act_embed": "fsdp",
    "act_heads": "tensor",
    "act_kv_heads": "tensor",
    "act_mlp": "tensor",
    "act_vocab": "tensor",
}


def make_mesh(
    data: int = 1, fsdp: int = -1, tensor: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A (data, fsdp, tensor) mesh over `devices` (default: all).

    Args:
      data: Replicas of the weights.
      fsdp: Ways in which the weights are split along the model's width.
      tensor: Ways in which heads, MLP and vocabulary are split. At most one size may be -1: all
        that is left.
      devices: The devices to use, in the order that the mesh should have them.

    Raises:
      ValueError: The sizes do not multiply to the number of devices.
    """
    devices = list(devices if devices is not None else jax.devices())
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ValueError(
            f"mesh={dict(zip(MESH_AXES, sizes, strict=True))}: sizes are positive; at most one "
            "is -1"
        )
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if math.prod(sizes) != len(devices):
        raise ValueError(
            f"mesh={dict(zip(MESH_AXES, sizes, strict=True))} does not fit {len(devices)} "
            "device(s); make the sizes multiply to that number or set one to -1"
        )
    grid = np.asarray(devices).reshape(sizes)
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


@dataclasses.dataclass(frozen=True)
class MeshRules:
    """A mesh and the table that maps logical axes onto it; hashable, so it can be static.

    Attributes:
      mesh: The devices.
      table: Pairs (logical axis, mesh axes); see `LEARNER_RULES` and `ENGINE_RULES`.
    """

    mesh: Mesh
    table: tuple[tuple[str, MeshAxes], ...]

    @classmethod
    def create(cls, mesh: Mesh, table: dict[str, MeshAxes]) -> MeshRules:
        """Freezes `table`."""
        return cls(mesh, tuple(sorted(table.items())))

    def sharding(self, axes: Axes, shape: Sequence[int] | None = None) -> NamedSharding:
        """The sharding of an array with these logical axes.

        Args:
          axes: A logical name, or None for an unsplit dimension, per dimension.
          shape: If given, mesh axes that do not divide a dimension are left out (that dimension is
            then replicated over them), so that 3 heads run on a mesh with tensor = 2.

        Raises:
          KeyError: An axis is not in the table.
        """
        table = dict(self.table)
        spec: list[MeshAxes] = []
        for i, axis in enumerate(axes):
            mesh_axes = None if axis is None else table[axis]
            names = (mesh_axes,) if isinstance(mesh_axes, str) else tuple(mesh_axes or ())
            if shape is not None:
                while names and shape[i] % math.prod(self.mesh.shape[name] for name in names):
                    names = names[:-1]
            spec.append(names[0] if len(names) == 1 else names or None)
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    @property
    def replicated(self) -> NamedSharding:
        """Every device holds all of it."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def platform(self) -> str:
        """What the devices are: "cpu", "gpu" or "tpu"."""
        return str(self.mesh.devices.flat[0].platform)

    def constrain(self, x: jax.Array, *axes: str | None) -> jax.Array:
        """`jax.lax.with_sharding_constraint` by logical axes; the identity on a single device."""
        if self.mesh.size == 1:
            return x
        return jax.lax.with_sharding_constraint(x, self.sharding(axes, x.shape))


def param_shardings(abstract_state: nnx.State, rules: MeshRules) -> Any:
    """The sharding of every parameter, as a State of the same structure with NamedSharding leaves.

    Args:
      abstract_state: From `nnx.split(nnx.eval_shape(...))`; its variables carry their logical axes.
      rules: Mesh and table.
    """

    def one(variable: nnx.Variable) -> nnx.Variable:
        return variable.replace(
            rules.sharding(variable.get_metadata("axes"), variable.get_value().shape)
        )

    return jax.tree.map(one, abstract_state, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
