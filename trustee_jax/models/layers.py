"""The parts of a decoder block. `ParamSpec` makes every parameter and names its axes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trustee_jax.models.config import RopeScaling
from trustee_jax.models.sharding import Axes

UseLora = jax.Array | bool
Initializer = Callable[..., jax.Array]
Quantization = Literal["int8"]
AnyArray = TypeVar("AnyArray", np.ndarray, jax.Array)

PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


class LoRAParam(nnx.Param):
    """A low-rank factor; its own type lets `nnx.split(model, LoRAParam, ...)` select it."""


@dataclasses.dataclass(frozen=True)
class LoRAConfig:
    """Low-rank adaptation (arXiv 2106.09685): W + (alpha / rank) A B, with B starting at zero.

    Attributes:
      rank: Width of A and B.
      alpha: Scale numerator.
      targets: Projections that have an adapter, out of `PROJECTIONS`.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = PROJECTIONS

    def __post_init__(self) -> None:
        unknown = sorted(set(self.targets) - set(PROJECTIONS))
        if unknown or not self.targets:
            raise ValueError(
                f"lora targets {unknown or '()'}: choose one or more of {', '.join(PROJECTIONS)}"
            )
        if self.rank < 1:
            raise ValueError(f"lora rank={self.rank} must be at least 1")

    @property
    def scale(self) -> float:
        """Alpha / rank."""
        return self.alpha / self.rank


def quantize(x: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Symmetric int8: x is about values * scale, with an error of at most scale / 2.

    Args:
      x: float32[..., n]. Each row has one scale, a 127th of its largest magnitude (arXiv
        2208.07339, section 2.1: absmax, vector-wise).

    Returns:
      int8[..., n], rounded to nearest, and scales, float32[...]; those of zeros are 0.
    """
    scale = abs(x).max(-1, keepdims=True) / 127
    values = (x / (scale + (scale == 0))).round().astype("int8")
    return values, scale[..., 0]


def matmul(
    x: jax.Array,
    kernel: jax.Array,
    scale: jax.Array | None,
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> jax.Array:
    """A product with a kernel, computed in x's dtype and summed as the platform does for `dtype`.

    An int8 kernel becomes a float operand matrix by matrix, also in the backward pass, and its
    product, summed in float32, is scaled afterwards. It has no gradient.

    Args:
      x: [..., in].
      kernel: [out, in], as in Hugging Face files; on CPU faster for few rows than [in, out].
      scale: float32[out], of an int8 kernel; else None.
      dtype: Of the result, x's if None.

    Returns:
      [..., out].
    """
    dtype = jnp.dtype(dtype or x.dtype)
    if scale is not None:
        return _scaled_product(x.dtype, x, kernel, scale).astype(dtype)
    return _product(x, kernel.astype(x.dtype), 1, dtype)


def _product(x: jax.Array, kernel: jax.Array, axis: int, dtype: jnp.dtype) -> jax.Array:
    over = (((x.ndim - 1,), (axis,)), ((), ()))
    return jax.lax.dot_general(x, kernel, over, preferred_element_type=dtype)


# By the rules of differentiation, the float kernels of all layers would be kept for the backward
# pass, which would then multiply them by float32.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scaled_product(
    dtype: jnp.dtype, x: jax.Array, values: jax.Array, scale: jax.Array
) -> jax.Array:
    return _product(x, values.astype(dtype), 1, jnp.dtype(jnp.float32)) * scale


def _scaled_product_forward(
    dtype: jnp.dtype, x: jax.Array, values: jax.Array, scale: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _scaled_product(dtype, x, values, scale), (values, scale)


def _scaled_product_backward(
    dtype: jnp.dtype, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, None, None]:
    values, scale = kept
    scaled = (gradient * scale).astype(dtype)
    return _product(scaled, values.astype(dtype), 0, dtype), None, None


_scaled_product.defvjp(_scaled_product_forward, _scaled_product_backward)


# The rules of differentiation would transpose the wide gradient for that of B, which XLA copies
# slowly on CPU, instead of the narrow input.
@jax.custom_vjp
def _expand(low: jax.Array, b: jax.Array) -> jax.Array:
    """[..., r] times B, [r, out]."""
    return low @ b


def _expand_forward(low: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return low @ b, (low, b)


def _expand_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    low, b = kept
    rows = tuple(range(low.ndim - 1))
    return gradient @ b.T, jax.lax.dot_general(low, gradient, ((rows, rows), ((), ())))


_expand.defvjp(_expand_forward, _expand_backward)


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """How a module creates its parameters.

    Attributes:
      rngs: Source of keys; None for shapes (jax.ShapeDtypeStruct) instead of arrays.
      dtype: Of base parameters. LoRA factors are always float32: they are what is trained.
      stack: Number of layers that share one leading axis (scanned layers), or None.
      quantization: Of the matrices of the base; None keeps them in `dtype`.
    """

    rngs: nnx.Rngs | None
    dtype: jnp.dtype
    stack: int | None = None
    quantization: Quantization | None = None

    def matrix(
        self, init: Initializer, shape: tuple[int, int], axes: Axes
    ) -> tuple[nnx.Param, nnx.Param | None]:
        """A matrix of the base and, where it is quantised, the scales of its outputs.

        Args:
          init: Of the matrix.
          shape: Without layers: [out, in].
          axes: Logical, one a dimension.
        """
        matrix = self.param(init, shape, axes)
        if self.quantization is None:
            return matrix, None
        value = matrix.get_value()
        if self.rngs is None:
            values, scale = jax.eval_shape(quantize, value.update(dtype=jnp.float32))
        else:
            values, scale = quantize(value.astype(jnp.float32))
        axes = matrix.get_metadata("axes")  # with that of the layers
        return nnx.Param(values, axes=axes), nnx.Param(scale, axes=axes[:-1])

    def param(
        self,
        init: Initializer,
        shape: tuple[int, ...],
        axes: Axes,
        kind: type[nnx.Param] = nnx.Param,
    ) -> nnx.Param:
        """A parameter of `shape`, with a leading layer axis where layers are stacked."""
        if self.stack is not None:
            shape, axes = (self.stack, *shape), ("layers", *axes)
        dtype = jnp.dtype(jnp.float32) if kind is LoRAParam else self.dtype
        if self.rngs is None:
            return kind(jax.ShapeDtypeStruct(shape, dtype), axes=axes)
        return kind(init(self.rngs.params(), shape, dtype), axes=axes)


class Linear(nnx.Module):
    """y = W x + b, plus a low-rank term for the rows whose adapter is on."""

    def __init__(
        self,
        spec: ParamSpec,
        in_dim: int,
        out_dim: int,
        axes: Axes,
        *,
        bias: bool = False,
        lora: LoRAConfig | None = None,
    ):
        """Creates kernel [out, in], bias [out], lora_a [in, r] and lora_b [r, out].

        An int8 kernel has float32 `kernel_scale` [out]. `axes` are those of inputs and outputs.
        """
        normal = jax.nn.initializers.normal(in_dim**-0.5)
        zeros = jax.nn.initializers.zeros
        self.kernel, self.kernel_scale = spec.matrix(normal, (out_dim, in_dim), axes[::-1])
        self.bias = spec.param(zeros, (out_dim,), axes[1:]) if bias else None
        self.lora_scale = lora.scale if lora else 0.0
        if lora is None:
            self.lora_a = self.lora_b = None
        else:
            a_axes, b_axes = (axes[0], "lora_rank"), ("lora_rank", axes[1])
            self.lora_a = spec.param(normal, (in_dim, lora.rank), a_axes, LoRAParam)
            self.lora_b = spec.param(zeros, (lora.rank, out_dim), b_axes, LoRAParam)

    def __call__(self, x: jax.Array, use_lora: UseLora) -> jax.Array:
        """Maps [B, T, in_dim] to [B, T, out_dim].

        Args:
          x: Inputs.
          use_lora: bool[B] (or one bool for all rows): where the LoRA term is added.
        """
        y = self.project(x)
        if self.bias is not None:
            y += self.bias[...].astype(x.dtype)
        if self.lora_a is not None and self.lora_b is not None and use_lora is not False:
            low = x @ self.lora_a[...].astype(x.dtype)
            if use_lora is not True:
                low = jnp.where(jnp.asarray(use_lora)[:, None, None], low, 0)
            y += _expand(self.lora_scale * low, self.lora_b[...].astype(x.dtype))
        return y

    def project(self, x: jax.Array, dtype: jax.typing.DTypeLike | None = None) -> jax.Array:
        """The product alone, [..., in_dim] to [..., out_dim] of `dtype` (None: that of x)."""
        scale = None if self.kernel_scale is None else self.kernel_scale[...]
        return matmul(x, self.kernel[...], scale, dtype=dtype)


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation over the last axis, computed in float32 (arXiv 1910.07467)."""

    def __init__(self, spec: ParamSpec, dim: int, eps: float, axis: str | None = None):
        """Creates scale [dim]."""
        self.eps = eps
        self.scale = spec.param(jax.nn.initializers.ones, (dim,), (axis,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises [..., dim], keeping the dtype."""
        x32 = x.astype(jnp.float32)
        normed = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), -1, keepdims=True) + self.eps)
        return normed.astype(x.dtype) * self.scale[...].astype(x.dtype)


def rope_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> jax.Array:
    """Rotary frequencies, float32[head_dim / 2], radians per position (arXiv 2104.09864, eq. 15).

    With `scaling`, wavelengths longer than original_max / low_freq_factor are slowed down by
    `factor`, those shorter than original_max / high_freq_factor are kept, and those between are
    interpolated (Llama 3.1).
    """
    exponent = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies = 1.0 / theta**exponent
    if scaling is None:
        return frequencies
    turns = scaling.original_max_position * frequencies / (2 * jnp.pi)
    keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    keep = jnp.clip(keep, 0.0, 1.0)
    return keep * frequencies + (1 - keep) * frequencies / scaling.factor


def apply_rope(x: jax.Array, positions: jax.Array, frequencies: jax.Array) -> jax.Array:
    """Rotates pairs (i, i + head_dim / 2) of each head by position * frequency.

    Args:
      x: [B, T, N, head_dim].
      positions: int32[B, T].
      frequencies: float32[head_dim / 2].

    Returns:
      [B, T, N, head_dim] of x's dtype.
    """
    angles = positions[..., None, None].astype(jnp.float32) * frequencies
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
