"""Folders in which files of an earlier checkpoint were left behind."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trustee_jax.weights import CheckpointError, open_checkpoint
from trustee_jax.weights.safetensors_folder import weight_files

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory, hf_model):
    """The same model in one file and in shards."""
    folder = tmp_path_factory.mktemp("saved")
    hf_model("llama-tied").save_pretrained(folder / "one")
    hf_model("llama-tied").save_pretrained(folder / "many", max_shard_size="60KB")
    return folder


@pytest.fixture
def both(tmp_path, saved):
    """Whole file, index and shards in one folder."""
    shutil.copytree(saved / "many", tmp_path / "both")
    shutil.copy(saved / "one" / SINGLE, tmp_path / "both")
    return tmp_path / "both"


def shards(folder):
    return sorted(folder.glob("model-*.safetensors"))


def change(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def transformers_embedding(folder):
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return model.get_input_embeddings().weight.detach().numpy()


def read(folder, read_all):
    checkpoint = open_checkpoint(str(folder))
    return checkpoint, read_all(checkpoint)


def equal(found, saved):
    expected = load_file(saved / "one" / SINGLE)
    assert found.keys() == expected.keys()
    return all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_whole_file_loads_beside_an_index_of_absent_shards(both, saved, read_all, load):
    for shard in shards(both):
        shard.unlink()
    checkpoint, found = read(both, read_all)
    assert equal(found, saved) and checkpoint.file(EMBEDDING) == str(both / SINGLE)
    np.testing.assert_array_equal(found[EMBEDDING], transformers_embedding(both))
    load(checkpoint)
    # The index may be that of another model altogether.
    other = {"weight_map": {"model.layers.70.extra.weight": "model-00001-of-00009.safetensors"}}
    (both / INDEX).write_text(json.dumps(other))
    assert equal(read(both, read_all)[1], saved)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_part_is_passed_over_beside_whole_shards(both, saved, read_all, fresh):
    def keep_one(tensors):
        value = tensors[EMBEDDING]
        tensors.clear()
        tensors[EMBEDDING] = value + fresh

    change(both / SINGLE, keep_one)
    checkpoint, found = read(both, read_all)
    assert equal(found, saved) and checkpoint.file(EMBEDDING) in map(str, shards(both))


def test_equal_sets_load(both, saved, read_all):
    checkpoint, found = read(both, read_all)
    assert equal(found, saved) and checkpoint.file(EMBEDDING) == str(both / SINGLE)
    shards(both)[1].unlink()  # what is left of a set that was removed
    assert equal(read(both, read_all)[1], saved)


@pytest.mark.parametrize("changed", ["file", "shards"])
@pytest.mark.parametrize("complete", [True, False])
def test_sets_that_differ_are_refused(both, changed, complete):
    name = "model.layers.2.mlp.down_proj.weight"
    shard = both / json.loads((both / INDEX).read_text())["weight_map"][name]

    def one_element(tensors):
        tensors[name][0, 0] += 1

    change(both / SINGLE if changed == "file" else shard, one_element)
    if not complete:
        next(path for path in shards(both) if path != shard).unlink()
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(str(both))
    message = str(error.value)
    assert (
        f"{both}: holds two sets of weights: {SINGLE} and {shard.name} differ in {name}" in message
    )
    assert "transformers_weights" in message and "\n" not in message


def name_file(folder, file):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": file}))


def test_the_config_may_name_the_file(both, saved, read_all):
    change(both / SINGLE, lambda tensors: tensors[EMBEDDING].fill(7))
    name_file(both, INDEX)
    assert equal(read(both, read_all)[1], saved)
    name_file(both, SINGLE)
    assert (read(both, read_all)[1][EMBEDDING] == 7).all()
    (both / SINGLE).rename(both / "tuned.safetensors")
    name_file(both, "tuned.safetensors")
    found = read(both, read_all)[1][EMBEDDING]
    assert (found == 7).all()
    np.testing.assert_array_equal(found, transformers_embedding(both))
    assert weight_files(both) == ["tuned.safetensors"]
    name_file(both, "gone.safetensors")
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such file"):
        open_checkpoint(str(both))
    name_file(both, "../one/model.safetensors")
    with pytest.raises(CheckpointError, match="is no file of this folder"):
        open_checkpoint(str(both))


def test_an_index_may_name_the_whole_file(both, saved, read_all):
    weight_map = dict.fromkeys(load_file(both / SINGLE), SINGLE)
    (both / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert equal(read(both, read_all)[1], saved)
    (both / INDEX).write_text(json.dumps({"weight_map": weight_map | {EMBEDDING: ["a"]}}))
    with pytest.raises(CheckpointError, match=rf"weight_map places {EMBEDDING} in \['a'\]"):
        open_checkpoint(str(both))


def test_the_files_that_belong_to_a_folder(both, saved):
    assert weight_files(saved / "one") == [SINGLE]
    assert sorted(weight_files(both)) == sorted([SINGLE, *(path.name for path in shards(both))])
