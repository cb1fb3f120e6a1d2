"""The architecture of a checkpoint, read from (and written back to) a Hugging Face config.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Family = Literal["llama", "qwen2", "qwen3"]

_ARCHITECTURES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Llama-3 scaling of the rotary frequencies (Llama 3.1; `rope_type: llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What distinguishes one Llama, Qwen2 or Qwen3 from another.

    Attributes:
      family: Selects nothing in the forward pass (the switches below do); it names the export
        format and chat style.
      vocab_size: Rows of the embedding.
      embed_dim: Width of the residual stream.
      num_layers: Decoder blocks.
      num_heads: Query heads.
      num_kv_heads: Key/value heads; divides `num_heads` (grouped-query attention).
      head_dim: Width of one head; `num_heads * head_dim` need not equal `embed_dim`.
      mlp_dim: Hidden width of the gated MLP.
      norm_eps: Epsilon of every RMSNorm.
      rope_theta: Base of the rotary frequencies.
      rope_scaling: Llama-3 scaling, or None.
      qkv_bias: Whether q, k and v projections have biases (Qwen2).
      qk_norm: Whether q and k are RMS-normalised per head (Qwen3).
      tied_embeddings: Whether the output projection is the embedding, transposed.
      max_position: Longest context that the checkpoint was trained for, in tokens.
    """

    family: Family
    vocab_size: int
    embed_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = False
    qk_norm: bool = False
    tied_embeddings: bool = False
    max_position: int = 4096

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_key_value_heads={self.num_kv_heads} does not divide "
                f"num_attention_heads={self.num_heads}; correct the checkpoint's config.json"
            )

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any]) -> ModelConfig:
        """Reads the contents of a Hugging Face config.json.

        Accepts both spellings of the rotary settings: `rope_theta`/`rope_scaling` at the top level,
        and `rope_parameters` as transformers 5 writes it.

        Raises:
          ValueError: Names the field that is missing or describes something that is not supported.
        """
        family = hf.get("model_type")
        if family not in _ARCHITECTURES:
            supported = ", ".join(_ARCHITECTURES)
            raise ValueError(
                f"model_type={family!r} is not supported; use a checkpoint of {supported}"
            )
        required = (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
        )
        missing = [name for name in required if not isinstance(hf.get(name), int)]
        if missing:
            raise ValueError(f"config.json lacks the integer field(s) {', '.join(missing)}")
        if hf.get("hidden_act", "silu") != "silu":
            raise ValueError(f"hidden_act={hf['hidden_act']!r} is not supported; only 'silu' is")
        if hf.get("mlp_bias") or (family == "llama" and hf.get("attention_bias")):
            raise ValueError(
                "mlp_bias/attention_bias of Llama checkpoints are not supported; use one without"
            )
        if hf.get("use_sliding_window"):
            raise ValueError(
                "use_sliding_window=true is not supported; set it to false if contexts are short"
            )

        rope = dict(hf.get("rope_parameters") or hf.get("rope_scaling") or {})
        rope_type = rope.get("rope_type", rope.get("type", "default"))
        scaling = None
        if rope_type == "llama3":
            scaling = RopeScaling(
                factor=float(rope["factor"]),
                low_freq_factor=float(rope["low_freq_factor"]),
                high_freq_factor=float(rope["high_freq_factor"]),
                original_max_position=int(rope["original_max_position_embeddings"]),
            )
        elif rope_type != "default":
            raise ValueError(
                f"rope_type={rope_type!r} is not supported; only 'default' and 'llama3' are"
            )

        heads = hf["num_attention_heads"]
        return cls(
            family=family,
            vocab_size=hf["vocab_size"],
            embed_dim=hf["hidden_size"],
            num_layers=hf["num_hidden_layers"],
            num_heads=heads,
            num_kv_heads=hf.get("num_key_value_heads") or heads,
            head_dim=hf.get("head_dim") or hf["hidden_size"] // heads,
            mlp_dim=hf["intermediate_size"],
            norm_eps=float(hf.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.get("rope_theta") or hf.get("rope_theta") or 10_000.0),
            rope_scaling=scaling,
            qkv_bias=family == "qwen2",
            qk_norm=family == "qwen3",
            tied_embeddings=bool(hf.get("tie_word_embeddings", False)),
            max_position=int(hf.get("max_position_embeddings", 4096)),
        )

    def to_hf(self) -> dict[str, Any]:
        """The config.json that `transformers` (4 and 5) reads back as this architecture."""
        scaling = None
        if self.rope_scaling is not None:
            scaling = {
                "rope_type": "llama3",
                "factor": self.rope_scaling.factor,
                "low_freq_factor": self.rope_scaling.low_freq_factor,
                "high_freq_factor": self.rope_scaling.high_freq_factor,
                "original_max_position_embeddings": self.rope_scaling.original_max_position,
            }
        return {
            "architectures": [_ARCHITECTURES[self.family]],
            "model_type": self.family,
            "vocab_size": self.vocab_size,
            "hidden_size": self.embed_dim,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.mlp_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": scaling,
            "tie_word_embeddings": self.tied_embeddings,
            "max_position_embeddings": self.max_position,
        }
