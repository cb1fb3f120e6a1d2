import struct

import gguf
import numpy as np
import pytest
from flax import nnx

from trustee_jax.weights import CheckpointError, open_checkpoint

BLOCK = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    _, _, layer, below = stem.split(".", 3)
    return f"blk.{layer}.{BLOCK[below]}.{kind}"


def write_gguf(path, model, hf, kernels, leave_out=(), rope_factors=None):
    """Writes the model as llama.cpp does: matrices of type `kernels`, vectors in F32."""
    config = model.config
    family = config.model_type
    writer = gguf.GGUFWriter(path, family)
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim if family != "qwen2" else 16)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors)
    for name, value in hf.items():
        if name in leave_out:
            continue
        if family == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            halves = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
            value = halves.swapaxes(1, 2).reshape(value.shape)
        if value.ndim == 1 or kernels == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(value))
        else:
            data = gguf.quants.quantize(np.ascontiguousarray(value), kernels)
            writer.add_tensor(gguf_name(name), data, raw_dtype=kernels)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def transformers_tensors(path, model):
    """The file as transformers dequantises and reorders it."""
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    loaded = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
    return {name: value.float().numpy() for name, value in loaded.items()}


@pytest.mark.parametrize("scan", [False, True])
def test_f32_gives_back_the_model(tmp_path, kind, hf_model, tensors_of, load, scan):
    model = hf_model(kind)
    hf = tensors_of(model)
    factors = None
    if kind == "llama-scaled":
        import torch
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, torch.device("cpu"))
        plain = 1e6 ** -(np.arange(0, model.config.head_dim, 2) / model.config.head_dim)
        factors = (plain / scaled.numpy()).astype(np.float32)
    model.save_pretrained(tmp_path / "hf")
    write_gguf(tmp_path / "m.gguf", model, hf, gguf.GGMLQuantizationType.F32, rope_factors=factors)
    checkpoint = open_checkpoint(str(tmp_path / "m.gguf"))
    folder = open_checkpoint(str(tmp_path / "hf"))
    assert checkpoint.config == folder.config
    mine, theirs = load(checkpoint, scan=scan)[0], load(folder, scan=scan)[0]
    mine, theirs = dict(nnx.to_flat_state(mine)), dict(nnx.to_flat_state(theirs))
    assert mine.keys() == theirs.keys()
    for path in theirs:
        np.testing.assert_array_equal(mine[path].get_value(), theirs[path].get_value(), str(path))


@pytest.mark.parametrize("quantisation", ["Q4_1", "Q8_0", "F16", "BF16"])
@pytest.mark.parametrize("kind", ["llama-untied", "qwen2"], indirect=True)
def test_quantised_equals_transformers(
    tmp_path, kind, hf_model, tensors_of, read_all, quantisation
):
    model = hf_model(kind)
    path = tmp_path / "m.gguf"
    write_gguf(path, model, tensors_of(model), gguf.GGMLQuantizationType[quantisation])
    mine, theirs = read_all(open_checkpoint(str(path))), transformers_tensors(path, model)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)


@pytest.mark.parametrize("kernels", ["Q4_K", "Q6_K"])
def test_k_quants_equal_transformers(tmp_path, hf_model, tensors_of, read_all, kernels):
    """The writer cannot make these: rows of random (finite) blocks instead."""
    model = hf_model("llama-tied")
    path = tmp_path / "m.gguf"
    quantisation = gguf.GGMLQuantizationType[kernels]
    elements, size = gguf.GGML_QUANT_SIZES[quantisation]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (32, 2, size), np.uint8)
    scales = rng.uniform(0.01, 0.1, (32, 2, 2)).astype(np.float16).view(np.uint8)
    if kernels == "Q4_K":
        blocks[:, :, :4] = scales  # scale of scales, scale of minima
    else:
        blocks[:, :, -2:] = scales[:, :, :2]
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 2 * elements),
        (writer.add_feed_forward_length, 64),
        (writer.add_head_count, 2),
        (writer.add_layer_norm_rms_eps, 1e-5),
    ):
        add(value)
    data = blocks.reshape(32, -1)
    writer.add_tensor("token_embd.weight", data, raw_dtype=quantisation)
    writer.add_tensor("blk.0.attn_v.weight", data[::-1].copy(), raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs = transformers_tensors(path, model)
    checkpoint = open_checkpoint(str(path))
    for name, value in theirs.items():
        assert np.isfinite(value).all() and np.ptp(value) > 0
        np.testing.assert_array_equal(checkpoint.read(name, (slice(None), slice(None))), value)
        part = checkpoint.read(name, (slice(3, 9), slice(100, 300)))
        np.testing.assert_array_equal(part, value[3:9, 100:300])


def test_slices_equal_slices_of_the_whole(tmp_path, hf_model, tensors_of, read_all):
    model = hf_model("llama-untied")
    path = tmp_path / "m.gguf"
    write_gguf(path, model, tensors_of(model), gguf.GGMLQuantizationType.Q4_1)
    checkpoint = open_checkpoint(str(path))
    for name, value in read_all(checkpoint).items():
        index = tuple(slice(size // 5, size - size // 7) for size in value.shape)
        np.testing.assert_array_equal(checkpoint.read(name, index), value[index], err_msg=name)


def test_unknown_rope_factors_are_refused(tmp_path, hf_model, tensors_of):
    model = hf_model("llama-untied")
    path = tmp_path / "m.gguf"
    factors = np.linspace(1, 8, 16).astype(np.float32)
    write_gguf(path, model, tensors_of(model), gguf.GGMLQuantizationType.F32, rope_factors=factors)
    with pytest.raises(CheckpointError, match=r"rope_freqs"):
        open_checkpoint(str(path))


def test_missing_tensor_is_named(tmp_path, hf_model, tensors_of, load):
    model = hf_model("qwen3")
    path = tmp_path / "m.gguf"
    name = "model.layers.2.mlp.up_proj.weight"
    write_gguf(path, model, tensors_of(model), gguf.GGMLQuantizationType.F32, leave_out=(name,))
    with pytest.raises(CheckpointError, match=rf"m\.gguf lacks tensor {name}"):
        load(open_checkpoint(str(path)))


def test_truncation_anywhere_is_one_clear_error(tmp_path, hf_model, tensors_of):
    model = hf_model("qwen2")
    path = tmp_path / "m.gguf"
    write_gguf(path, model, tensors_of(model), gguf.GGMLQuantizationType.Q8_0)
    whole = path.read_bytes()
    lengths = np.random.default_rng(0).integers(0, 3000, 60).tolist()
    for length in [*lengths, len(whole) // 2, len(whole) - 300]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(str(path))
        assert str(path) in str(error.value)


def test_other_architectures_and_types_are_refused(tmp_path, hf_model, tensors_of):
    path = tmp_path / "m.gguf"
    gguf_writer = gguf.GGUFWriter(path, "mamba")
    gguf_writer.write_header_to_file()
    gguf_writer.write_kv_data_to_file()
    gguf_writer.write_tensors_to_file()
    gguf_writer.close()
    with pytest.raises(CheckpointError, match="mamba"):
        open_checkpoint(str(path))
    model = hf_model("qwen2")
    write_gguf(path, model, tensors_of(model), gguf.GGMLQuantizationType.F32)
    whole = path.read_bytes()
    at = whole.index(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8
    path.write_bytes(whole[:at] + (999).to_bytes(4, "little") + whole[at + 4 :])
    with pytest.raises(CheckpointError, match=r"output_norm\.weight has storage type 999"):
        open_checkpoint(str(path))
    path.write_bytes(b"PK" + whole[2:])
    with pytest.raises(CheckpointError, match="not a GGUF file"):
        open_checkpoint(str(path))


def _header(field: bytes, tensors: int = 0) -> bytes:
    """A GGUF header with one metadata field and an empty tensor table of so many entries."""
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, 1) + field


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            _header(_string(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 3000),
            "header broken",
        ),
        (
            _header(_string(b"general.alignment") + struct.pack("<I", 8) + _string(b"x")),
            r"general\.alignment='x' is no size",
        ),
        (
            _header(_string(b"general.alignment") + struct.pack("<IIQ", 9, 0, 0)),
            r"general\.alignment=\[\] is no size",
        ),
        (
            _header(_string(b"general.alignment") + struct.pack("<II", 4, 0)),
            r"general\.alignment=0 is no size",
        ),
        (
            _header(_string(b"b") + struct.pack("<II", 4, 1), tensors=2)
            + (_string(b"t") + struct.pack("<IQIQ", 1, 4, 0, 0)) * 2,
            "tensor t is in it twice",
        ),
    ],
)
def test_a_hostile_header_is_one_clear_error(tmp_path, content, problem):
    path = tmp_path / "m.gguf"
    path.write_bytes(content + bytes(256))
    with pytest.raises(CheckpointError, match=problem):
        open_checkpoint(str(path))
