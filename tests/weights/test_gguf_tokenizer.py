import gguf
import pytest

from trustee_jax.weights import CheckpointError, open_checkpoint

SAMPLES = (
    "Hello, world!  It's   7 o'clock; we'LL see.\n\n\tTabs\tand  trailing  ",
    "def f(x):\n    return x**2  # naïve café Ünïcödé\r\n\r\nnext",
    "日本語のテキスト と العربية и русский 🎉🎊 e\u0301 ﬁ",
    '{"name": "get_weather", "arguments": {"city": "São Paulo", "days": [1, 2]}}',
    "<|im_start|>user\nhi<|im_end|>\n<think>no</think>",
    "   ",
    "",
)
CORPUS = [*SAMPLES, *("the quick brown fox, 2024 and 20 24 1999 12345 " * 4 for _ in range(5))]
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="module")
def vocabulary():
    """Tokens and merges that join whatever a split leaves together, digits too."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(CORPUS, vocab_size=600, min_frequency=1, show_progress=False)
    import json

    content = json.loads(trained.to_str())["model"]
    vocab = sorted(content["vocab"], key=content["vocab"].get)
    merges = [" ".join(merge) for merge in content["merges"]]
    return vocab, merges


def write_gguf(path, vocabulary, pre, *, model="gpt2", bos=None, **replace):
    tokens, merges = vocabulary
    tokens = [*CONTROL, "<think>", "</think>", *tokens, "[PAD0]", "[PAD1]"]
    kinds = [3] * 3 + [4] * 2 + [1] * (len(tokens) - 7) + [5] * 2
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)
    if bos is not None:
        writer.add_bos_token_id(0)
    if isinstance(bos, bool):
        writer.add_add_bos_token(bos)
    import numpy as np

    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


@pytest.mark.parametrize("pre", ["gpt-2", "qwen2", "llama-bpe"])
def test_ids_equal_transformers(tmp_path, vocabulary, pre):
    from transformers import AutoTokenizer

    path = write_gguf(tmp_path / "m.gguf", vocabulary, pre, bos=False)
    mine = open_checkpoint(path).tokenizer()
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    for text in SAMPLES:
        if pre == "qwen2" and "e\u0301" in text:  # transformers leaves out Qwen's normalisation
            text = text.replace("e\u0301", "é").replace("ﬁ", "fi")
        assert mine(text).input_ids == theirs(text).input_ids, text
        assert mine.decode(mine(text).input_ids) == text


def test_qwen_composes_characters(tmp_path, vocabulary):
    tokenizer = open_checkpoint(write_gguf(tmp_path / "m.gguf", vocabulary, "qwen2")).tokenizer()
    assert tokenizer("cafe\u0301").input_ids == tokenizer("café").input_ids


def test_digits_stay_together_as_each_family_was_trained(tmp_path, vocabulary):
    pieces = {}
    for pre in ("gpt-2", "smollm", "qwen2", "llama-bpe"):
        path = write_gguf(tmp_path / f"{pre}.gguf", vocabulary, pre, bos=False)
        pieces[pre] = open_checkpoint(path).tokenizer().tokenize(" 2024")
    # The vocabulary joins all of it; only the split decides.
    assert pieces["gpt-2"][0].startswith("Ġ20")
    assert pieces["smollm"] == pieces["qwen2"] == ["Ġ", *"2024"]
    assert pieces["llama-bpe"][0] == "Ġ" and pieces["llama-bpe"][-1] == "4"


def test_smollm_differs_from_gpt2_in_digits_alone(tmp_path, vocabulary):
    smollm = open_checkpoint(write_gguf(tmp_path / "s.gguf", vocabulary, "smollm")).tokenizer()
    gpt2 = open_checkpoint(write_gguf(tmp_path / "g.gguf", vocabulary, "gpt-2")).tokenizer()
    for text in SAMPLES:
        letters = "".join(c for c in text if not c.isdigit())
        assert smollm(letters).input_ids == gpt2(letters).input_ids
        assert smollm.decode(smollm(text).input_ids) == text


def test_special_tokens_template_and_length(tmp_path, vocabulary):
    tokenizer = open_checkpoint(write_gguf(tmp_path / "m.gguf", vocabulary, "qwen2")).tokenizer()
    assert tokenizer("<|im_start|><think></think><|im_end|>").input_ids == [1, 3, 4, 2]
    assert tokenizer.eos_token_id == 2 and tokenizer.pad_token_id == 0
    assert tokenizer.bos_token_id is None
    assert set(CONTROL) <= set(tokenizer.all_special_tokens) | set(
        token.content for token in tokenizer.added_tokens_decoder.values() if token.special
    )
    assert tokenizer.decode([1, 3, 4, 2], skip_special_tokens=True) == "<think></think>"
    assert tokenizer.model_max_length == 128
    assert "[PAD0]" not in tokenizer.get_vocab()
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert rendered == "<|im_start|>x<|im_end|>"


@pytest.mark.parametrize(("bos", "first"), [(True, True), (False, False), ("unsaid", True)])
def test_begin_of_text_follows_the_file(tmp_path, vocabulary, bos, first):
    path = write_gguf(tmp_path / "m.gguf", vocabulary, "llama-bpe", bos=bos)
    tokenizer = open_checkpoint(path).tokenizer()
    assert (tokenizer("fox").input_ids[0] == tokenizer.bos_token_id) == first
    assert tokenizer("fox", add_special_tokens=False).input_ids[0] != tokenizer.bos_token_id


def test_unknown_kinds_are_refused(tmp_path, vocabulary):
    path = write_gguf(tmp_path / "a.gguf", vocabulary, "tekken")
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.pre='tekken'"):
        open_checkpoint(path).tokenizer()
    path = write_gguf(tmp_path / "b.gguf", vocabulary, "default", model="llama")
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.model='llama'"):
        open_checkpoint(path).tokenizer()
    path = write_gguf(tmp_path / "c.gguf", (vocabulary[0], []), "qwen2")
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.merges is missing"):
        open_checkpoint(path).tokenizer()


def test_building_needs_no_torch(tmp_path, vocabulary):
    import subprocess
    import sys

    path = write_gguf(tmp_path / "m.gguf", vocabulary, "qwen2")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from trustee_jax.weights import open_checkpoint\n"
        "print(open_checkpoint(sys.argv[1]).tokenizer()('fox').input_ids)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(open_checkpoint(path).tokenizer()("fox").input_ids)
