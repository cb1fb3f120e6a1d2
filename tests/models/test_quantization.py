"""int8 matrices of the frozen base: error, memory, layouts, gradients, engine against learner."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from trustee_jax.models import Transformer
from trustee_jax.models.layers import LoRAParam, matmul, quantize

KINDS = ("llama-tied-1e4", "llama-scaled-1e4", "qwen2-tied-1e6", "qwen3-untied-1e4")
TOKENS = np.random.default_rng(0).integers(0, 320, (2, 24))


def test_a_number_is_off_by_at_most_half_a_scale():
    x = np.random.default_rng(1).normal(size=(30, 50)).astype(np.float32)
    x[3] = 0
    for run in (quantize, jax.jit(quantize)):
        values, scale = map(np.asarray, run(x))
        assert values.dtype == np.int8 and scale.dtype == np.float32
        assert scale.shape == x.shape[:1]
        scale = scale[:, None]
        assert (np.abs(values * scale - x) <= scale * (0.5 + 1e-5)).all()
        used = np.abs(values).max(-1, keepdims=True)
        np.testing.assert_array_equal(used, np.where(scale > 0, 127, 0))


def test_a_product_and_its_gradient_are_those_of_the_scaled_kernel():
    rng = np.random.default_rng(2)
    values, scale = quantize(rng.normal(size=(30, 40)).astype(np.float32))
    kernel = values * scale[:, None]
    x = jnp.asarray(rng.normal(size=(2, 3, 40)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(2, 3, 30)), jnp.float32)

    def loss(x, *kernel):
        return jnp.sum(weights * matmul(x, *kernel))

    for given in (x, x.astype(jnp.bfloat16)):
        bound = 1e-5 if given is x else 0.05
        actual = matmul(given, values, scale, dtype=jnp.float32)
        assert actual.dtype == jnp.float32
        np.testing.assert_allclose(actual, matmul(x, kernel, None), atol=10 * bound)
        gradient = jax.grad(loss)(given, jnp.asarray(values), jnp.asarray(scale))
        assert gradient.dtype == given.dtype
        np.testing.assert_allclose(
            gradient.astype(jnp.float32), jax.grad(loss)(x, kernel, None), atol=10 * bound
        )


@pytest.mark.parametrize("kind", KINDS)
def test_logits_stay_close_in_a_third_of_the_memory(kind, tiny):
    plain, int8 = tiny.ours(kind), tiny.ours(kind, quantization="int8")
    expected, actual = (np.asarray(tiny.logits(model, TOKENS)) for model in (plain, int8))
    difference = np.abs(actual - expected) / expected.std()
    assert 0 < difference.mean() < 0.03
    assert difference.max() < 0.2
    sizes = [sum(x.nbytes for x in jax.tree.leaves(nnx.state(m))) for m in (plain, int8)]
    # Matrices as small as these have scales and norms for a tenth of their own size.
    assert sizes[1] < 0.3 * sizes[0]


@pytest.mark.parametrize("kind", KINDS[-2:])
def test_scanned_and_sharded_models_hold_the_same_numbers(kind, tiny):
    expected = tiny.logits(tiny.ours(kind, quantization="int8"), TOKENS)
    scanned = tiny.ours(kind, quantization="int8", scan_layers=True)
    np.testing.assert_allclose(tiny.logits(scanned, TOKENS), expected, atol=1e-4)
    mesh = tiny.make_mesh(2, 2, 2)
    sharded = tiny.ours(kind, quantization="int8", scan_layers=True, mesh=mesh)
    pairs = zip(
        nnx.to_flat_state(nnx.state(scanned)), nnx.to_flat_state(nnx.state(sharded)), strict=True
    )
    for (path, one), (_, other) in pairs:
        np.testing.assert_array_equal(one.get_value(), other.get_value(), str(path))
    graphdef, state = nnx.split(sharded)
    up = state["layers"]["mlp"]["up"]
    assert up["kernel"].get_value().sharding.spec == PartitionSpec(None, "tensor", "fsdp")
    assert up["kernel_scale"].get_value().sharding.spec == PartitionSpec(None, "tensor")
    actual = jax.jit(lambda state: tiny.logits(nnx.merge(graphdef, state), TOKENS))(state)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_random_and_abstract_models_have_the_same_parameters(tiny):
    config = dataclasses.replace(tiny.ours("qwen2-tied-1e6").config, num_layers=1)
    lora = tiny.LoRAConfig(4, 8.0)
    options = {"quantization": "int8", "lora": lora, "scan_layers": True}
    drawn = Transformer(config, rngs=nnx.Rngs(0), **options)
    abstract = Transformer(config, rngs=None, dtype=jnp.bfloat16, **options)
    assert np.isfinite(tiny.logits(drawn, TOKENS)).all()
    one, other = (dict(nnx.to_flat_state(nnx.state(model))) for model in (drawn, abstract))
    assert one.keys() == other.keys()
    for path, variable in one.items():
        there = other[path]
        assert variable.get_value().shape == there.get_value().shape, path
        assert variable.get_metadata("axes") == there.get_metadata("axes"), path
        assert len(there.get_metadata("axes")) == len(there.get_value().shape), path
        expected = jnp.bfloat16  # norms and biases
        if path[-1] in ("kernel", "embedding"):
            expected = jnp.int8
        elif path[-1].endswith("_scale") or isinstance(there, LoRAParam):
            expected = jnp.float32
        assert there.get_value().dtype == expected, path


def test_the_backward_pass_keeps_no_float_copy_of_the_base(tiny):
    """Without recomputation, what lies between the passes is activations and the int8 kernels."""
    config = dataclasses.replace(tiny.ours(KINDS[0]).config, mlp_dim=8192, num_layers=4)
    model = Transformer(config, rngs=None, quantization="int8", lora=tiny.LoRAConfig(4, 8.0))
    graphdef, lora, base = nnx.split(model, LoRAParam, ...)

    def loss(lora, base):
        return jnp.sum(tiny.logits(nnx.merge(graphdef, lora, base), TOKENS[:, :4]))

    _, backward = jax.eval_shape(lambda lora, base: jax.vjp(loss, lora, base), lora, base)
    kept = [x for x in jax.tree.leaves(backward) if x.size >= 64 * 8192 and x.dtype != jnp.int8]
    assert not kept
