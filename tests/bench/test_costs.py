"""FLOPs and bytes against XLA's own count of the programs that compute them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trustee_jax.bench.costs import Costs, weight_bytes
from trustee_jax.models import LoRAConfig, LoRAParam, ModelConfig, Transformer
from trustee_jax.models.attention import packed_attention

ROWS, LENGTH = 4, 128
# Wide enough that norms and rotations, which are not counted, hardly matter.
MODEL = ModelConfig(
    family="llama",
    vocab_size=4096,
    embed_dim=512,
    num_layers=2,
    num_heads=8,
    num_kv_heads=2,
    head_dim=32,
    mlp_dim=1024,
)
LORA = LoRAConfig(64, 1.0, ("q", "v", "down"))


def costs(lora=None, itemsize=4):
    return Costs(MODEL, lora, 0, MODEL.head_dim * itemsize)


def counted(function, *arguments):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def program(tiny, lora, use_lora=True):
    """The mean of all logits as a function of parameters and tokens, and these parameters."""
    abstract = Transformer(MODEL, rngs=None, lora=lora)
    kind = LoRAParam if lora else nnx.Param
    graphdef, trained, frozen = nnx.split(abstract, kind, ...)

    def loss(trained, frozen, tokens):
        model = nnx.merge(graphdef, trained, frozen)
        positions = jnp.broadcast_to(jnp.arange(LENGTH), tokens.shape)
        attend = packed_attention(jnp.ones_like(tokens), jnp.zeros_like(tokens), tiny.rules)
        hidden, _ = model(tokens, positions, attend, rules=tiny.rules, use_lora=use_lora)
        return model.logits(hidden).mean()

    return loss, (trained, frozen, jax.ShapeDtypeStruct((ROWS, LENGTH), jnp.int32))


# The program computes all scores, also those that the mask takes away.
TOKENS, ATTENDED = ROWS * LENGTH, ROWS * LENGTH**2


@pytest.mark.parametrize("use_lora", [True, False])
def test_a_forward_pass(tiny, use_lora):
    loss, arguments = program(tiny, LORA, use_lora)
    expected = costs(LORA).forward_flops(TOKENS, ATTENDED, TOKENS, use_lora=use_lora)
    assert counted(loss, *arguments) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_an_update(tiny, lora):
    loss, arguments = program(tiny, lora)
    expected = costs(lora).update_flops(TOKENS, ATTENDED, TOKENS, kl=False)
    assert counted(jax.value_and_grad(loss), *arguments) == pytest.approx(expected, rel=0.04)


def test_a_reference_is_one_more_forward_pass():
    one = costs(LORA)
    with_kl, without = (one.update_flops(10, 20, 5, kl=kl) for kl in (True, False))
    assert with_kl - without == one.forward_flops(10, 20, 5, use_lora=False)


def test_a_decoding_step():
    # By hand: 2 x (512 x 256 + 2 x 512 x 64 + 256 x 512 + 3 x 512 x 1024) parameters in blocks,
    # 4096 x 512 in the output; 2 layers of 8 heads of 32, scores and values.
    assert costs().decode_flops(3, 100) == 2 * 3 * (2 * 1_900_544 + 2_097_152) + 4 * 2 * 256 * 300
    # Keys and values of 2 layers, 2 heads of 32, in 2 bytes.
    one = Costs(MODEL, None, 1000, 2 * 32)
    assert one.decode_bytes(3, 100) == 1000 + 3 * 100 * 2 * 2 * 2 * 32 * 2


@pytest.mark.parametrize(("kind", "tied"), [("llama-tied-1e4", True), ("qwen2-untied-1e4", False)])
def test_bytes_are_those_of_all_arrays_but_an_untied_table(tiny, kind, tied):
    parameters = {name: p.numel() for name, p in tiny.hf_model(kind).named_parameters()}
    if not tied:
        del parameters["model.embed_tokens.weight"]
    assert weight_bytes(tiny.ours(kind)) == 4 * sum(parameters.values())


def test_adapters_are_counted(tiny):
    plain, adapted = tiny.ours("llama-tied-1e4"), tiny.with_lora("llama-tied-1e4")
    config = plain.config
    added = Costs(config, LoRAConfig(4, 8.0), 0, 4).adapters
    _, factors, _ = nnx.split(adapted, LoRAParam, ...)
    assert added == sum(np.size(leaf) for leaf in jax.tree.leaves(factors)) > 0
    assert weight_bytes(adapted) - weight_bytes(plain) == 4 * added
