"""The gradients of adapters, against those that JAX derives by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trustee_jax.models.layers import Linear, LoRAConfig, LoRAParam, ParamSpec


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapters_gradients_are_those_of_its_formula(dtype, remat):
    rng = np.random.default_rng(0)
    spec = ParamSpec(nnx.Rngs(0), jnp.dtype(dtype))
    linear = Linear(spec, 24, 40, ("embed", "mlp"), lora=LoRAConfig(4, 6.0))
    b = jnp.asarray(rng.normal(size=(4, 40)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(3, 5, 24)), dtype)
    weights = jnp.asarray(rng.normal(size=(3, 5, 40)), jnp.float32)
    on = jnp.array([True, False, True])
    graphdef, state = nnx.split(linear)

    def ours(a, b, x):
        adapted = nnx.merge(graphdef, state)
        adapted.lora_a, adapted.lora_b = LoRAParam(a), LoRAParam(b)
        return jnp.sum(weights * adapted(x, on))

    def formula(a, b, x):
        kernel = (
            linear.kernel[...].astype(jnp.float32).T + jnp.where(on[:, None, None], a @ b, 0) * 1.5
        )
        return jnp.sum(weights * jnp.einsum("bti,bio->bto", x.astype(jnp.float32), kernel))

    inputs = linear.lora_a[...], b, x
    run = jax.checkpoint(ours) if remat else ours
    computed = jax.grad(run, (0, 1, 2))(*inputs)
    expected = jax.grad(formula, (0, 1, 2))(*inputs)
    for one, other, given in zip(computed, expected, inputs, strict=True):
        assert one.dtype == given.dtype
        one, other = (np.asarray(x, np.float32) for x in (one, other))
        bound = 1e-5 if dtype == "float32" else 0.03
        np.testing.assert_allclose(one, other, atol=bound * np.abs(other).max())
