"""Models in several GGUF files, as llama-gguf-split makes them."""

import gguf
import numpy as np
import pytest
from flax import nnx

from trustee_jax.weights import CheckpointError, open_checkpoint

WIDTH, HIDDEN, VOCABULARY, HEADS, LAYERS = 32, 48, 100, 2, 2
SHAPES = {"token_embd": (VOCABULARY, WIDTH), "output_norm": (WIDTH,)}
for layer in range(LAYERS):
    SHAPES |= {f"blk.{layer}.{name}_norm": (WIDTH,) for name in ("attn", "ffn")}
    SHAPES |= {f"blk.{layer}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    SHAPES |= {f"blk.{layer}.ffn_{name}": (HIDDEN, WIDTH) for name in ("gate", "up")}
    SHAPES[f"blk.{layer}.ffn_down"] = (WIDTH, HIDDEN)


def tensors(seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"{name}.weight": rng.normal(size=shape).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def write(path, values, *, split=None, first=True):
    """Writes some tensors; `split` is (number, count, tensors of all parts)."""
    writer = gguf.GGUFWriter(path, "llama")
    if first:
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(LAYERS)
        writer.add_head_count(HEADS)
        writer.add_feed_forward_length(HIDDEN)
        writer.add_context_length(128)
        writer.add_layer_norm_rms_eps(1e-5)
    if split is not None:
        number, count, total = split
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", total)
    for name, value in values.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_split(folder, count, *, stem="tiny", seed=0, empty_first=False):
    """All parts; llama-gguf-split can leave the first one without tensors."""
    folder.mkdir(exist_ok=True)
    values = tensors(seed)
    cuts = np.array_split(list(values), count - empty_first)
    cuts = [[], *cuts] if empty_first else cuts
    paths = []
    for number, names in enumerate(cuts):
        paths.append(folder / f"{stem}-{number + 1:05d}-of-{count:05d}.gguf")
        part = {name: values[name] for name in names}
        write(paths[-1], part, split=(number, count, len(values)), first=number == 0)
    return paths


def params(state):
    return {path: np.asarray(v.get_value()) for path, v in nnx.to_flat_state(state)}


@pytest.mark.parametrize(("count", "empty_first"), [(1, False), (2, False), (4, True)])
def test_a_split_model_is_read_from_its_first_part(tmp_path, load, count, empty_first):
    write(tmp_path / "whole.gguf", tensors())
    paths = write_split(tmp_path / "parts", count, empty_first=empty_first)
    whole, parts = open_checkpoint(str(tmp_path / "whole.gguf")), open_checkpoint(str(paths[0]))
    assert parts.config == whole.config and parts.source == str(paths[0])
    expected, found = params(load(whole)[0]), params(load(parts)[0])
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=str(path))
    assert parts.file("model.layers.1.mlp.down_proj.weight") == str(paths[-1])


def test_merged_parts_are_a_whole_file(tmp_path):
    write(tmp_path / "merged.gguf", tensors(), split=(0, 0, len(SHAPES)))
    assert len(open_checkpoint(str(tmp_path / "merged.gguf")).names()) == len(SHAPES)


def refused(path):
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_part_names_the_first(tmp_path):
    paths = write_split(tmp_path, 3)
    for number in (1, 2):
        message = refused(paths[number])
        assert message == (
            f"{paths[number]}: is part {number + 1} of 3 of a split model; "
            f"name the first one, {paths[0].name}."
        )
    renamed = paths[1].rename(tmp_path / "second.gguf")
    assert "name the first one, NAME-00001-of-00003.gguf" in refused(renamed)


def test_a_first_part_under_another_name_says_how_to_name_it(tmp_path):
    paths = write_split(tmp_path, 2)
    renamed = paths[0].rename(tmp_path / "model.gguf")
    assert "name it NAME-00001-of-00002.gguf" in refused(renamed)
    misnumbered = renamed.rename(tmp_path / "tiny-00001-of-00003.gguf")
    assert "name it NAME-00001-of-00002.gguf" in refused(misnumbered)


def test_missing_parts_are_named(tmp_path):
    paths = write_split(tmp_path, 4)
    paths[2].unlink()
    assert f"part {paths[2].name} is not beside it" in refused(paths[0])
    paths[3].unlink()
    assert f"parts {paths[2].name}, {paths[3].name} are not beside it" in refused(paths[0])
    many = write_split(tmp_path / "many", 9)
    for path in many[2:]:
        path.unlink()
    assert f"{many[4].name} and 4 more are not beside it" in refused(many[0])


def test_parts_of_another_split_are_named(tmp_path):
    paths = write_split(tmp_path, 3)
    values = tensors()
    names = np.array_split(list(values), 3)
    second = {name: values[name] for name in names[1]}
    total = len(values)

    def with_second(**change):
        write(paths[1], **{"values": second, "split": (1, 3, total), "first": False} | change)
        message = refused(paths[0])
        assert message.startswith(f"{paths[1]}: ") and "all parts of one split" in message
        return message

    assert "split.no is 2, not 1" in with_second(split=(2, 3, total))
    assert "split.count is 4, not 3" in with_second(split=(1, 4, total))
    assert "split.tensors.count is 9, not" in with_second(split=(1, 3, 9))
    assert "split.no is None, not 1" in with_second(split=None)
    assert f"{names[0][0]} is in {paths[0].name} too" in with_second(
        values=second | {names[0][0]: values[names[0][0]]}
    )
    write(paths[1], second, split=(1, 3, total), first=False)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content.replace(b"llama", b"qwen2"))
    assert "general.architecture is 'qwen2', not 'llama'" in refused(paths[0])
    paths[1].write_bytes(content[:-100])
    assert refused(paths[0]).startswith(f"{paths[1]}: truncated")
    second.popitem()
    write(paths[1], second, split=(1, 3, total), first=False)
    message = refused(paths[0])
    assert f"split.tensors.count is {total}, but its 3 parts have {total - 1}" in message


def test_impossible_numbers_are_refused(tmp_path):
    for number, count in ((5, 2), (2, 2)):
        path = tmp_path / "tiny-00001-of-00002.gguf"
        write(path, tensors(), split=(number, count, len(SHAPES)))
        assert f"split.no={number} with split.count={count} cannot be" in refused(path)
