"""What a model must compute and read: the numerators of every utilisation.

A product of [m, k] and [k, n] counts 2 m k n FLOPs; norms, rotations, softmax and the optimizer are
left out, as is what is computed twice to save memory (model FLOPs, arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from flax import nnx

from trustee_jax.models import LoRAConfig, ModelConfig, Transformer


def weight_bytes(model: Transformer) -> int:
    """Bytes that a decoding step reads of a model's parameters, however many rows it has.

    Args:
      model: With arrays or their shapes. Without tied embeddings only the rows of the batch's
        tokens are read of the table, which count nothing.
    """
    leaves = jax.tree.leaves(nnx.state(model))
    total = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in leaves)
    if model.unembed is not None:
        table = model.embed.embedding.get_value()
        total -= table.size * np.dtype(table.dtype).itemsize
    return total


@dataclasses.dataclass(frozen=True)
class Costs:
    """FLOPs and bytes of one model.

    "Attended" counts pairs of a query and a key that it sees: n (n + 1) / 2 for n tokens in a row.

    Attributes:
      model: The architecture.
      lora: Its adapters, or None where all parameters are trained.
      weight_bytes: Bytes of parameters that a decoding step reads.
      cache_vector: Bytes of a head's key or value in the KV cache.
    """

    model: ModelConfig
    lora: LoRAConfig | None
    weight_bytes: int
    cache_vector: int

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values of one token, over all layers."""
        model = self.model
        return 2 * model.num_layers * model.num_kv_heads * self.cache_vector

    @property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        model = self.model
        query, kv = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
        return {
            "q": (model.embed_dim, query),
            "k": (model.embed_dim, kv),
            "v": (model.embed_dim, kv),
            "o": (query, model.embed_dim),
            "gate": (model.embed_dim, model.mlp_dim),
            "up": (model.embed_dim, model.mlp_dim),
            "down": (model.mlp_dim, model.embed_dim),
        }

    @property
    def kernels(self) -> int:
        """Parameters of the blocks' projections, adapters aside."""
        return self.model.num_layers * sum(a * b for a, b in self._shapes.values())

    @property
    def adapters(self) -> int:
        """Parameters of the LoRA factors."""
        if self.lora is None:
            return 0
        widths = sum(sum(self._shapes[name]) for name in self.lora.targets)
        return self.model.num_layers * self.lora.rank * widths

    @property
    def output(self) -> int:
        """Parameters of the output projection."""
        return self.model.vocab_size * self.model.embed_dim

    def _attention(self, attended: float) -> float:
        """FLOPs of scores and of their sums of values, 2 each."""
        model = self.model
        return 4 * model.num_layers * model.num_heads * model.head_dim * attended

    def forward_flops(
        self, tokens: float, attended: float, outputs: float, *, use_lora: bool = True
    ) -> float:
        """FLOPs of a forward pass.

        Args:
          tokens: That go through the blocks.
          attended: Pairs of query and key.
          outputs: Tokens whose logits are computed.
          use_lora: Whether adapters are on.
        """
        kernels = self.kernels + (self.adapters if use_lora else 0)
        return 2 * kernels * tokens + 2 * self.output * outputs + self._attention(attended)

    def update_flops(self, tokens: float, attended: float, outputs: float, *, kl: bool) -> float:
        """FLOPs of a forward and a backward pass.

        The backward pass multiplies twice as often as the forward pass, once for the gradient of
        what went in and once for that of the weights; frozen weights have no gradient.

        Args:
          tokens: That go through the blocks.
          attended: Pairs of query and key.
          outputs: Tokens that are trained.
          kl: Whether a forward pass of the reference is needed, too.
        """
        frozen = 2 * (self.kernels * tokens + self.output * outputs) if self.lora else 0
        update = 3 * self.forward_flops(tokens, attended, outputs) - frozen
        reference = self.forward_flops(tokens, attended, outputs, use_lora=False)
        return update + (reference if kl else 0)

    def decode_flops(self, rows: float, context: float) -> float:
        """FLOPs of one step of `rows` rows that each see `context` tokens."""
        return self.forward_flops(rows, rows * context, rows)

    def decode_bytes(self, rows: float, context: float) -> float:
        """Bytes that such a step must read."""
        return self.weight_bytes + rows * context * self.cache_bytes
