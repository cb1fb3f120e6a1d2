import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trustee_jax.models import LoRAConfig
from trustee_jax.models.layers import quantize
from trustee_jax.weights import CheckpointError, open_checkpoint
from trustee_jax.weights import load as load_module


def flat(state):
    return {path: np.asarray(v.get_value()) for path, v in nnx.to_flat_state(state)}


def expected_params(hf, num_layers):
    """What our parameters must be, spelled out independently of the package's table."""
    params = {
        ("embed", "embedding"): hf["model.embed_tokens.weight"],
        ("final_norm", "scale"): hf["model.norm.weight"],
    }
    if "lm_head.weight" in hf:
        params["unembed", "kernel"] = hf["lm_head.weight"]
    for i in range(num_layers):
        pre = f"model.layers.{i}."
        block = {
            ("attention_norm", "scale"): hf[pre + "input_layernorm.weight"],
            ("mlp_norm", "scale"): hf[pre + "post_attention_layernorm.weight"],
        }
        for ours in "qkvo":
            projection = f"{pre}self_attn.{ours}_proj."
            block["attention", ours, "kernel"] = hf[projection + "weight"]
            if projection + "bias" in hf:
                block["attention", ours, "bias"] = hf[projection + "bias"]
        for ours in ("q_norm", "k_norm"):
            if f"{pre}self_attn.{ours}.weight" in hf:
                block["attention", ours, "scale"] = hf[f"{pre}self_attn.{ours}.weight"]
        for ours in ("gate", "up", "down"):
            block["mlp", ours, "kernel"] = hf[f"{pre}mlp.{ours}_proj.weight"]
        params |= {("layers", i, *path): value for path, value in block.items()}
    return params


def stack(params, num_layers):
    stacked = {path: value for path, value in params.items() if path[0] != "layers"}
    for path in params:
        if path[:2] == ("layers", 0):
            below = path[2:]
            layers = [params["layers", i, *below] for i in range(num_layers)]
            stacked["layers", *below] = np.stack(layers)
    return stacked


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("max_shard_size", ["1GB", "60KB"])
def test_every_family_loads_sharded(
    tmp_path, kind, hf_model, tensors_of, load, scan, max_shard_size
):
    model = hf_model(kind)
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (max_shard_size == "60KB")
    checkpoint = open_checkpoint(str(tmp_path))
    state, shardings = load(checkpoint, scan=scan)
    expected = expected_params(tensors_of(model), 3)
    if scan:
        expected = stack(expected, 3)
    loaded = flat(state)
    assert loaded.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(loaded[path], value, err_msg=str(path))
    wanted = dict(nnx.to_flat_state(shardings))
    for path, variable in nnx.to_flat_state(state):
        array = variable.get_value()
        assert array.sharding == wanted[path].get_value()
        assert variable.get_metadata("axes")
        for shard in array.addressable_shards:
            np.testing.assert_array_equal(np.asarray(shard.data), expected[path][shard.index])
    assert any(
        not variable.get_value().is_fully_replicated for _, variable in nnx.to_flat_state(state)
    )


@pytest.mark.parametrize("scan", [False, True])
def test_matrices_are_quantised_in_pieces(tmp_path, kind, hf_model, load, scan, monkeypatch):
    """Every output has the scale of its whole row, however the rows are read and sharded."""
    hf_model(kind).save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    monkeypatch.setattr(load_module, "_QUANTIZED_AT_ONCE", 5 * 64)  # numbers: at most five rows
    state, shardings = load(checkpoint, scan=scan, int8=True)
    plain = flat(load(checkpoint, scan=scan)[0])
    loaded = flat(state)
    matrices = {path for path in plain if path[-1] in ("kernel", "embedding")}
    assert loaded.keys() == plain.keys() | {(*p[:-1], f"{p[-1]}_scale") for p in matrices}
    for path, value in plain.items():
        if path not in matrices:
            np.testing.assert_array_equal(loaded[path], value, err_msg=str(path))
            continue
        values, scale = quantize(value)
        np.testing.assert_array_equal(loaded[path], values, err_msg=str(path))
        name = (*path[:-1], f"{path[-1]}_scale")
        np.testing.assert_array_equal(loaded[name], scale, err_msg=str(name))
    wanted = dict(nnx.to_flat_state(shardings))
    for path, variable in nnx.to_flat_state(state):
        assert variable.get_value().sharding == wanted[path].get_value()


@pytest.mark.parametrize("int8", [False, True])
def test_each_element_is_read_once(tmp_path, hf_model, load, monkeypatch, int8):
    """Replicas share a read and no shard reads more than its own part (int8: its own rows)."""
    model = hf_model("qwen3")
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    counts, read = {}, checkpoint.read

    def counting(name, index):
        part = read(name, index)
        counts[name] = counts.get(name, 0) + part.size
        return part

    monkeypatch.setattr(checkpoint, "read", counting)
    load(checkpoint, scan=True, int8=int8)
    assert counts == {name: np.prod(checkpoint.shape(name)) for name in checkpoint.names()}


def test_bfloat16_file_keeps_its_bits(tmp_path, hf_model, load):
    import copy

    import torch

    model = copy.deepcopy(hf_model("llama-untied")).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    state, _ = load(open_checkpoint(str(tmp_path)), dtype=jnp.bfloat16)
    loaded = flat(state)["layers", 2, "mlp", "down", "kernel"]
    stored = model.state_dict()["model.layers.2.mlp.down_proj.weight"].view(torch.int16).numpy()
    assert loaded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(loaded.view(np.int16), stored)


def test_lora_factors_stay_with_the_model(tmp_path, hf_model, load):
    hf_model("llama-tied").save_pretrained(tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    plain, _ = load(checkpoint)
    adapted, _ = load(checkpoint, lora=LoRAConfig(rank=2, alpha=4.0))
    assert flat(adapted).keys() == flat(plain).keys()
    assert not any("lora" in str(path[-1]) for path in flat(adapted))


def rewrite(folder, edit):
    """Applies `edit` to the tensors of a single-file checkpoint."""
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.pop(Q), (Q, "lacks", "(128, 64)")),
        (lambda t: t.update({Q: t[Q][:, :32].copy()}), (Q, "(128, 32)", "(128, 64)")),
        (lambda t: t.update({"model.extra": t[Q]}), ("model.extra", "no place")),
        (lambda t: t.update({Q: t[Q].astype(np.int8)}), (Q, "I8", "unquantised")),
    ],
    ids=["missing", "shape", "extra", "type"],
)
def test_wrong_tensors_are_named(tmp_path, hf_model, load, edit, words):
    hf_model("llama-untied").save_pretrained(tmp_path)
    rewrite(tmp_path, edit)
    with pytest.raises(CheckpointError) as error:
        load(open_checkpoint(str(tmp_path)))
    for word in (str(tmp_path), *words):
        assert word in str(error.value)


def test_nothing_is_read_before_all_is_checked(tmp_path, hf_model, load, monkeypatch):
    hf_model("llama-untied").save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop("lm_head.weight"))
    checkpoint = open_checkpoint(str(tmp_path))
    monkeypatch.setattr(checkpoint, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight"):
        load(checkpoint)


def test_tied_checkpoint_may_carry_the_head(tmp_path, hf_model, load):
    hf_model("llama-tied").save_pretrained(tmp_path)
    rewrite(
        tmp_path,
        lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].copy()}),
    )
    state, _ = load(open_checkpoint(str(tmp_path)))
    assert ("unembed", "kernel") not in flat(state)


def test_broken_folders_are_named(tmp_path, hf_model):
    whole = tmp_path / "whole"
    hf_model("qwen2").save_pretrained(whole, max_shard_size="60KB")
    shard = sorted(path.name for path in whole.glob("*.safetensors"))[1]

    def broken(change):
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        change(folder)
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(str(folder))
        return str(error.value)

    def truncate(folder):
        (folder / shard).write_bytes((folder / shard).read_bytes()[:-100])

    def index_without(folder):
        index = folder / "model.safetensors.index.json"
        index.write_text(index.read_text().replace("model.norm.weight", "model.nrm.weight"))

    def other_model(folder):
        config = folder / "config.json"
        config.write_text(config.read_text().replace('"qwen2"', '"mamba"'))

    assert shard in broken(lambda folder: (folder / shard).unlink())
    assert shard in broken(truncate)
    assert "truncated" in broken(truncate)
    assert "model.nrm.weight" in broken(index_without)
    assert "mamba" in broken(other_model)
    assert "config.json" in broken(lambda folder: (folder / "config.json").unlink())
    assert "JSON" in broken(lambda folder: (folder / "config.json").write_text("{"))
    message = broken(lambda folder: [path.unlink() for path in folder.glob("*.safetensors*")])
    assert "model.safetensors.index.json" in message


def test_folder_without_tokenizer(tmp_path, hf_model):
    hf_model("qwen2").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        open_checkpoint(str(tmp_path)).tokenizer()
