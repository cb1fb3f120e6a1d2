"""Tokens that a model never learnt to write."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trustee_jax.weights.checkpoint import Checkpoint

# Of a row's length: float16 and the usual 4-bit types move it by less, training by more.
_SAME = 0.1
# Rows at which unused tokens are looked at: models have hundreds.
_SAMPLE = 64


def untrained_tokens(checkpoint: Checkpoint, ids: Sequence[int], used: int) -> tuple[int, ...]:
    """Finds tokens whose logits are always those of tokens that do not exist.

    A vocabulary is filled up to a round size with rows that no text has ever trained. A token with
    the same row in the output layer gets their logits whatever the context, and so does every
    adapter on other layers: none can make the model prefer it to them.

    Args:
      checkpoint: Its output layer is the embedding if these are tied.
      ids: The tokens that are asked for.
      used: Number of the tokenizer's tokens; the rows after them are unused.

    Returns:
      Those of `ids` that were never trained; none where the vocabulary has no unused rows.
    """
    config = checkpoint.config
    name = "model.embed_tokens.weight" if config.tied_embeddings else "lm_head.weight"
    unused = slice(used, min(config.vocab_size, used + _SAMPLE))
    if unused.start >= unused.stop:
        return ()

    def rows(index: slice) -> np.ndarray:
        return np.asarray(checkpoint.read(name, (index, slice(None))), np.float32)

    centre = rows(unused).mean(0)
    far = _SAME * np.linalg.norm(centre)
    found = (id for id in ids if np.linalg.norm(rows(slice(id, id + 1))[0] - centre) <= far)
    return tuple(found)
