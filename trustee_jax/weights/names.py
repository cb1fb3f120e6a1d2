"""One table of tensor names: ours, Hugging Face's, GGUF's."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Name:
    """One kind of tensor in its three spellings.

    Attributes:
      ours: Parameter path, dotted, below the block where there is one.
      hf: Hugging Face name, below `model.layers.N.` where there is one.
      gguf: Name in llama.cpp, below `blk.N.` where there is one.
      rotary: Rows are grouped in heads that rotary embeddings turn; llama.cpp reorders them for the
        llama architecture.
    """

    ours: str
    hf: str
    gguf: str
    rotary: bool = False


TOP = (
    Name("embed.embedding", "model.embed_tokens.weight", "token_embd.weight"),
    Name("final_norm.scale", "model.norm.weight", "output_norm.weight"),
    Name("unembed.kernel", "lm_head.weight", "output.weight"),
)
BLOCK = (
    Name("attention_norm.scale", "input_layernorm.weight", "attn_norm.weight"),
    Name("attention.q.kernel", "self_attn.q_proj.weight", "attn_q.weight", rotary=True),
    Name("attention.k.kernel", "self_attn.k_proj.weight", "attn_k.weight", rotary=True),
    Name("attention.v.kernel", "self_attn.v_proj.weight", "attn_v.weight"),
    Name("attention.o.kernel", "self_attn.o_proj.weight", "attn_output.weight"),
    Name("attention.q.bias", "self_attn.q_proj.bias", "attn_q.bias", rotary=True),
    Name("attention.k.bias", "self_attn.k_proj.bias", "attn_k.bias", rotary=True),
    Name("attention.v.bias", "self_attn.v_proj.bias", "attn_v.bias"),
    Name("attention.q_norm.scale", "self_attn.q_norm.weight", "attn_q_norm.weight"),
    Name("attention.k_norm.scale", "self_attn.k_norm.weight", "attn_k_norm.weight"),
    Name("mlp_norm.scale", "post_attention_layernorm.weight", "ffn_norm.weight"),
    Name("mlp.gate.kernel", "mlp.gate_proj.weight", "ffn_gate.weight"),
    Name("mlp.up.kernel", "mlp.up_proj.weight", "ffn_up.weight"),
    Name("mlp.down.kernel", "mlp.down_proj.weight", "ffn_down.weight"),
)

_TOP_OURS = {name.ours: name for name in TOP}
_BLOCK_OURS = {name.ours: name for name in BLOCK}
_TOP_GGUF = {name.gguf: name for name in TOP}
_BLOCK_GGUF = {name.gguf: name for name in BLOCK}


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where one of our parameters lies in a checkpoint.

    Attributes:
      tensors: Hugging Face names: one, or one per layer if `stacked`.
      stacked: Whether the parameter has a leading layer axis (scanned layers).
    """

    tensors: tuple[str, ...]
    stacked: bool

    def hf_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of one tensor, given the shape of the parameter."""
        return tuple(shape[1:] if self.stacked else shape)


def placement(path: Sequence[Any], num_layers: int) -> Placement:
    """The tensors behind the parameter at `path` of a Transformer's state.

    Args:
      path: For example `("layers", 3, "attention", "q", "kernel")`, or without the number for
        scanned layers.
      num_layers: Depth of the model.

    Raises:
      KeyError: The path is not in the table.
    """
    if path[0] != "layers":
        name = _TOP_OURS[".".join(map(str, path))]
        return Placement((name.hf,), stacked=False)
    stacked = isinstance(path[1], str)
    below = path[1:] if stacked else path[2:]
    name = _BLOCK_OURS[".".join(map(str, below))]
    layers = range(num_layers) if stacked else (int(path[1]),)
    tensors = tuple(f"model.layers.{layer}.{name.hf}" for layer in layers)
    return Placement(tensors, stacked)


def from_gguf(gguf: str) -> tuple[str, bool]:
    """The Hugging Face name of a GGUF tensor (unknown: unchanged) and whether it is rotary."""
    if block := re.fullmatch(r"blk\.(\d+)\.(.+)", gguf):
        name = _BLOCK_GGUF.get(block[2])
        return (f"model.layers.{block[1]}.{name.hf}", name.rotary) if name else (gguf, False)
    name = _TOP_GGUF.get(gguf)
    return (name.hf, name.rotary) if name else (gguf, False)
