"""Decoder-only Transformers in Flax NNX, with LoRA and logical sharding axes."""

from trustee_jax.models.config import ModelConfig, RopeScaling
from trustee_jax.models.layers import LoRAConfig, LoRAParam, Quantization
from trustee_jax.models.sharding import MeshRules, make_mesh, param_shardings
from trustee_jax.models.transformer import Transformer

__all__ = [
    "LoRAConfig",
    "LoRAParam",
    "MeshRules",
    "ModelConfig",
    "Quantization",
    "RopeScaling",
    "Transformer",
    "make_mesh",
    "param_shardings",
]
