"""Every storage type that `gguf` dequantises, in files of its own writer."""

import gguf
import numpy as np
import pytest

from trustee_jax.weights import CheckpointError, open_checkpoint
from trustee_jax.weights.gguf_file import storage_types

WIDTH, HEAD_DIM, HEADS, KV_HEADS = 512, 64, 8, 2
ROTARY = {"attn_q": HEADS, "attn_k": KV_HEADS}
NAMES = {
    "token_embd": "model.embed_tokens",
    "blk.0.attn_q": "model.layers.0.self_attn.q_proj",
    "blk.0.attn_k": "model.layers.0.self_attn.k_proj",
    "blk.0.attn_v": "model.layers.0.self_attn.v_proj",
}


def dequantised_by_gguf():
    found = []
    for kind, (_, size) in gguf.GGML_QUANT_SIZES.items():
        try:
            gguf.dequantize(np.zeros((1, size), np.uint8), kind)
        except NotImplementedError:
            continue
        found.append(kind.name)
    return found


def encoded(kind, rows, rng):
    """Rows of that type, as the file holds them: quantised, or random blocks where gguf cannot."""
    try:
        return gguf.quantize(rng.normal(size=(rows, WIDTH)).astype(np.float32), kind)
    except NotImplementedError:
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        return rng.integers(0, 256, (rows, WIDTH // elements * size), np.uint8)


def write(path, family, kind):
    """Returns the tensors as gguf reads them, in the file's order of rows."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    values = {}
    for name in NAMES:
        heads = ROTARY.get(name.rpartition(".")[2], KV_HEADS)
        data = encoded(kind, heads * HEAD_DIM, rng)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
        values[name] = gguf.dequantize(data, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # random blocks hold scales without bounds
@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("kind", dequantised_by_gguf())
def test_values_and_rotary_rows_of_every_type(tmp_path, kind, family):
    path = tmp_path / "m.gguf"
    values = write(path, family, gguf.GGMLQuantizationType[kind])
    checkpoint = open_checkpoint(str(path))
    for name, value in values.items():
        assert np.isfinite(value).any() and len(np.unique(value[np.isfinite(value)])) > 1
        if family == "llama" and (heads := ROTARY.get(name.rpartition(".")[2])):
            pairs = value.reshape(heads, HEAD_DIM // 2, 2, WIDTH)
            value = np.concatenate([pairs[:, :, 0], pairs[:, :, 1]], axis=1).reshape(-1, WIDTH)
        whole = checkpoint.read(f"{NAMES[name]}.weight", (slice(None), slice(None)))
        assert whole.dtype == np.float32
        np.testing.assert_array_equal(whole, value)
        part = checkpoint.read(f"{NAMES[name]}.weight", (slice(70, 101), slice(100, 391)))
        np.testing.assert_array_equal(part, value[70:101, 100:391])


def test_the_types_are_those_of_the_package(tmp_path):
    assert [kind.name for kind, _ in storage_types().values()] == dequantised_by_gguf()
    assert len(storage_types()) >= 20
    kind = gguf.GGMLQuantizationType.Q8_K
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    data = np.zeros((2, WIDTH // elements * size), np.uint8)
    writer.add_tensor("token_embd.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"storage type 15 \(Q8_K\)") as error:
        open_checkpoint(str(tmp_path / "m.gguf"))
    assert ", ".join(dequantised_by_gguf()) in error.value.fix
