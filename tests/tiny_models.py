"""Tiny random models: made by transformers, and loaded into ours through a saved folder."""

import dataclasses
import functools
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trustee_jax.models import LoRAConfig, LoRAParam, MeshRules, Transformer, param_shardings
from trustee_jax.models import make_mesh as _make_mesh
from trustee_jax.models.attention import packed_attention
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.weights import load_params, open_checkpoint

__all__ = ["LoRAConfig"]

LORA = LoRAConfig(4, 8.0)
split, merge = nnx.split, nnx.merge


def make_mesh(data=1, fsdp=1, tensor=1):
    return _make_mesh(data, fsdp, tensor, devices=jax.devices()[: data * fsdp * tensor])


mesh = make_mesh()
rules = MeshRules.create(mesh, LEARNER_RULES)


@functools.cache
def hf_model(kind):
    """A model of transformers; kind is family-embeddings-theta, e.g. "llama-tied-1e4"."""
    import torch
    import transformers

    family, embeddings, theta = kind.split("-")
    make_config, make_model = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }[family]
    rope = {"rope_type": "default", "rope_theta": float(theta)}
    if embeddings == "scaled":
        rope |= {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        }
    config = make_config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32 if family != "qwen2" else 16,
        max_position_embeddings=256,
        tie_word_embeddings=embeddings == "tied",
        rope_parameters=rope,
    )
    torch.manual_seed(0)
    model = make_model(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, so that none can be mistaken
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@functools.cache
def _checkpoint(kind):
    folder = tempfile.mkdtemp()
    hf_model(kind).save_pretrained(folder)
    return open_checkpoint(folder)


def ours(
    kind, *, mesh=mesh, lora=None, scan_layers=False, remat="none", quantization=None, **config
):
    """The same weights in our model; `config` replaces fields of its ModelConfig."""
    checkpoint = _checkpoint(kind)

    config = dataclasses.replace(checkpoint.config, **config)
    # Where there are adapters, they need values; what the checkpoint has is replaced.
    rngs = nnx.Rngs(0) if lora else None
    model = Transformer(
        config,
        rngs=rngs,
        scan_layers=scan_layers,
        remat=remat,
        lora=lora,
        quantization=quantization,
    )
    _, state = nnx.split(model)
    shardings = param_shardings(state, MeshRules.create(mesh, LEARNER_RULES))
    nnx.update(model, load_params(checkpoint, state, shardings, jnp.float32))
    return model


def with_lora(kind, *, lora=LORA, **options):
    """With adapters that are not zero."""
    model = ours(kind, lora=lora, **options)
    graphdef, lora, rest = nnx.split(model, LoRAParam, ...)
    leaves, treedef = jax.tree.flatten(lora)
    keys = jax.random.split(jax.random.key(9), len(leaves))
    leaves = [0.1 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return nnx.merge(graphdef, jax.tree.unflatten(treedef, leaves), rest)


def logits(model, tokens, *, use_lora=True):
    """float32[B, T, V] of whole rows."""
    tokens = jnp.asarray(tokens)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    attend = packed_attention(jnp.ones_like(tokens), jnp.zeros_like(tokens), rules)
    hidden, _ = model(tokens, positions, attend, rules=rules, use_lora=use_lora)
    return model.logits(hidden)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _all_logprobs(graphdef, params, tokens, use_lora):
    model = nnx.merge(graphdef, params)
    return jax.nn.log_softmax(logits(model, tokens[None], use_lora=use_lora)[0])


def sequence_logprobs(model, tokens, *, use_lora=True):
    """float32[n - 1], of tokens 1 to n - 1, in one pass over a padded row."""
    tokens = np.asarray(tokens)
    padded = np.zeros(192, np.int32)
    padded[: len(tokens)] = tokens
    values = _all_logprobs(*nnx.split(model), padded, use_lora)
    return np.asarray(values)[np.arange(len(tokens) - 1), tokens[1:]]
