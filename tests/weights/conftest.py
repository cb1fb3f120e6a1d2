"""Tiny random models, made by transformers."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from trustee_jax.models import MeshRules, Transformer, make_mesh, param_shardings
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.weights import load_params

KINDS = ("llama-tied", "llama-untied", "llama-scaled", "qwen2", "qwen3")


@functools.cache
def make_hf_model(kind):
    import torch
    import transformers

    family = kind.split("-")[0]
    make_config, make_model = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }[family]
    rope = {"rope_type": "default", "rope_theta": 1e6}
    if kind == "llama-scaled":
        rope |= {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    config = make_config(
        vocab_size=320,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32 if family != "qwen2" else 16,
        max_position_embeddings=16384 if kind == "llama-scaled" else 128,
        tie_word_embeddings=kind == "llama-tied",
        rope_parameters=rope,
    )
    torch.manual_seed(0)
    model = make_model(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, so that none can be mistaken
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def hf_model():
    return make_hf_model


@pytest.fixture(scope="session")
def tensors_of():
    """State dict as NumPy; `lm_head` only where it is a tensor of its own."""

    def tensors(model):
        state = {name: value.detach().float().numpy() for name, value in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        return state

    return tensors


@pytest.fixture(scope="session")
def load():
    """Loads a checkpoint into a Transformer's state on a mesh of all 8 virtual devices."""

    def load(checkpoint, *, scan=False, dtype=np.float32, mesh=(2, 2, 2), lora=None, int8=False):
        rules = MeshRules.create(make_mesh(*mesh), LEARNER_RULES)
        abstract = nnx.eval_shape(
            lambda: Transformer(
                checkpoint.config,
                rngs=nnx.Rngs(0),
                scan_layers=scan,
                lora=lora,
                quantization="int8" if int8 else None,
            )
        )
        state = nnx.split(abstract)[1]
        shardings = param_shardings(state, rules)
        return load_params(checkpoint, state, shardings, dtype), shardings

    assert jax.device_count() == 8
    return load


@pytest.fixture(scope="session")
def read_all():
    def read_all(checkpoint):
        return {
            name: np.asarray(
                checkpoint.read(name, tuple(slice(None) for _ in checkpoint.shape(name))),
                np.float32,
            )
            for name in checkpoint.names()
        }

    return read_all
