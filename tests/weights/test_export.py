import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trustee_jax.models import LoRAConfig, MeshRules, Transformer, make_mesh, param_shardings
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.weights import (
    CheckpointError,
    Companions,
    export_hf,
    load_params,
    open_checkpoint,
)

TEXT = "Call 42 tools, naïvely:\n\n{}  <|im_start|>"


@pytest.fixture(scope="module")
def tokenizer():
    return open_checkpoint("random:llama").tokenizer()


def load_hf(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("scan", [False, True])
def test_round_trip_through_transformers(
    tmp_path, kind, hf_model, tensors_of, load, tokenizer, scan
):
    model = hf_model(kind)
    model.save_pretrained(tmp_path / "in")
    checkpoint = open_checkpoint(str(tmp_path / "in"))
    state, _ = load(checkpoint, scan=scan)
    folder = export_hf(
        tmp_path / "out", checkpoint.config, state, Companions(tokenizer), jnp.float32
    )
    exported = load_hf(folder)
    assert type(exported) is type(model)
    assert exported.config.rope_parameters == model.config.rope_parameters
    mine, theirs = tensors_of(exported), tensors_of(model)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)
    assert open_checkpoint(str(folder)).config == checkpoint.config
    assert not list(tmp_path.glob(".*"))
    # Whoever may read one file may read all.
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


@pytest.mark.parametrize("scan", [False, True])
def test_lora_is_merged(tmp_path, hf_model, tensors_of, tokenizer, scan):
    model = hf_model("qwen2")
    model.save_pretrained(tmp_path / "in")
    checkpoint = open_checkpoint(str(tmp_path / "in"))
    lora = LoRAConfig(rank=4, alpha=10.0, targets=("q", "down"))
    mesh = make_mesh(2, 2, 2)
    ours = Transformer(checkpoint.config, rngs=nnx.Rngs(0), scan_layers=scan, lora=lora)
    state = nnx.state(ours)
    shardings = param_shardings(state, MeshRules.create(mesh, LEARNER_RULES))
    nnx.update(ours, load_params(checkpoint, state, shardings, np.float32))
    factors = {}
    rng = np.random.default_rng(0)
    for path, variable in nnx.to_flat_state(nnx.state(ours)):
        if path[-1] in ("lora_a", "lora_b"):
            factors[path] = rng.normal(size=variable.get_value().shape).astype(np.float32)
            variable.set_value(jnp.asarray(factors[path]))
    flat = nnx.state(ours)
    with pytest.raises(ValueError, match="lora_scale"):
        export_hf(tmp_path / "no", checkpoint.config, flat, Companions(tokenizer), jnp.float32)
    assert not (tmp_path / "no").exists()
    folder = export_hf(
        tmp_path / "out",
        checkpoint.config,
        flat,
        Companions(tokenizer),
        jnp.float32,
        lora_scale=lora.scale,
    )
    mine, theirs = tensors_of(load_hf(folder)), tensors_of(model)
    changed = 0
    for name, value in theirs.items():
        ours_path = None
        if name.startswith("model.layers."):
            layer, kind = int(name.split(".")[2]), name.split(".")[4]
            target = {"q_proj": ("attention", "q"), "down_proj": ("mlp", "down")}.get(kind)
            if target and name.endswith("weight"):
                ours_path = ("layers", *target) if scan else ("layers", layer, *target)
        if ours_path:
            a, b = factors[*ours_path, "lora_a"], factors[*ours_path, "lora_b"]
            if scan:
                a, b = a[layer], b[layer]
            value = value + 2.5 * (a.astype(np.float64) @ b).T
            changed += 1
        np.testing.assert_allclose(mine[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    assert changed == 6


def test_a_quantised_state_is_refused(tmp_path, load, tokenizer):
    checkpoint = open_checkpoint("random:llama")
    state, _ = load(checkpoint, int8=True)
    with pytest.raises(ValueError, match="load the original weights"):
        export_hf(tmp_path / "out", checkpoint.config, state, Companions(tokenizer), jnp.float32)
    assert not list(tmp_path.iterdir())


def test_files_are_split_and_converted(tmp_path, hf_model, tensors_of, load, tokenizer):
    model = hf_model("qwen3")
    model.save_pretrained(tmp_path / "in")
    checkpoint = open_checkpoint(str(tmp_path / "in"))
    state, _ = load(checkpoint)
    folder = export_hf(
        tmp_path / "out",
        checkpoint.config,
        state,
        Companions(tokenizer),
        jnp.bfloat16,
        shard_bytes=50_000,
    )
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 2 and all(file.stat().st_size < 60_000 for file in files)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * sum(p.numel() for p in model.parameters())
    mine, theirs = tensors_of(load_hf(folder)), tensors_of(model)
    for name, value in theirs.items():
        rounded = np.asarray(jnp.asarray(value).astype(jnp.bfloat16).astype(jnp.float32))
        np.testing.assert_array_equal(mine[name], rounded, err_msg=name)
    again, _ = load(open_checkpoint(str(folder)), dtype=jnp.bfloat16)
    for (path, a), (_, b) in zip(nnx.to_flat_state(again), nnx.to_flat_state(state), strict=True):
        np.testing.assert_array_equal(a.get_value(), b.get_value().astype(jnp.bfloat16), str(path))


def qwen2_splits():
    from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

    return Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer.pre_tokenizer


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_tokenizer_and_generation_config(tmp_path, load, family):
    from tokenizers import normalizers, pre_tokenizers
    from transformers import AutoTokenizer, GenerationConfig

    checkpoint = open_checkpoint(f"random:{family}")
    state, _ = load(checkpoint)
    tokenizer = checkpoint.tokenizer()
    backend = tokenizer.backend_tokenizer
    if family == "qwen2":  # transformers uses its own splits for this model type, whatever we write
        backend.pre_tokenizer, backend.normalizer = qwen2_splits(), normalizers.NFC()
    else:  # splits that neither family has: they must come from the folder
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
        )
    folder = export_hf(
        tmp_path / "out",
        checkpoint.config,
        state,
        Companions(tokenizer, (2, 0), {"do_sample": True, "temperature": 0.5, "top_k": 0}),
        jnp.float32,
    )
    for again in (AutoTokenizer.from_pretrained(folder), open_checkpoint(str(folder)).tokenizer()):
        if family != "qwen2":
            assert again.backend_tokenizer.to_str() == backend.to_str()
        assert again(TEXT).input_ids == tokenizer(TEXT).input_ids
        assert again.chat_template == tokenizer.chat_template
        assert again.eos_token_id == tokenizer.eos_token_id
    generation = GenerationConfig.from_pretrained(folder)
    assert generation.eos_token_id == [2, 0]
    assert (generation.do_sample, generation.temperature, generation.top_k) == (True, 0.5, 0)
    assert not (folder / "README.md").exists()
    assert load_hf(folder).config.eos_token_id == [2, 0]
    folder = export_hf(
        tmp_path / "default", checkpoint.config, state, Companions(tokenizer), jnp.float32
    )
    assert GenerationConfig.from_pretrained(folder).eos_token_id == tokenizer.eos_token_id


def test_existing_folder_is_kept(tmp_path, load, tokenizer):
    checkpoint = open_checkpoint("random:llama")
    state, _ = load(checkpoint)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(CheckpointError, match="not empty"):
        export_hf(tmp_path / "out", checkpoint.config, state, Companions(tokenizer), jnp.float32)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_failed_export_leaves_nothing(tmp_path, load, tokenizer, monkeypatch):
    import safetensors.numpy

    checkpoint = open_checkpoint("random:llama")
    state, _ = load(checkpoint)

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(no space"):
        export_hf(tmp_path / "out", checkpoint.config, state, Companions(tokenizer), jnp.float32)
    assert not list(tmp_path.iterdir())
