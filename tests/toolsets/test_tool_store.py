"""Repositories on disk against those in memory, against tensorflow-datasets, and damaged ones."""

import json
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tensorflow_datasets as tfds

from trustee_jax.toolsets import Tool, ToolError, ToolRepository, load_repository
from trustee_jax.toolsets import store as store_module
from trustee_jax.toolsets.store import open_store, write_store


def tools(count, categories=3):
    """Tools whose categories alternate, with text that is not ASCII."""
    return [
        Tool(
            f"tool_{i}",
            f"Gibt «{i}» zurück 🙂.",
            {
                "type": "object",
                "properties": {"größe": {"type": "number", "minimum": i / 3}},
                "required": ["größe"],
            },
            f"category {i * i % categories}",
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "tools"
    assert write_store(folder, iter(tools(60))) == 60
    return folder


@pytest.fixture
def copy(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "copy")


def test_gives_back_what_was_written(stored):
    repository = load_repository(str(stored))
    memory = ToolRepository(tools(60))
    assert tuple(repository.tools) == memory.tools
    assert repository.tools[3:5][1] == memory.tools[4] and repository.tools[-1] == memory.tools[-1]
    assert {c: list(g) for c, g in repository.categories.items()} == {
        c: list(g) for c, g in memory.categories.items()
    }
    assert list(repository.categories) == list(memory.categories)


def test_draws_what_memory_draws(stored):
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    repository, memory = load_repository(str(stored)), ToolRepository(tools(60))
    for count in (1, 2, 7, 20, 39, 41, 100):
        for _ in range(5):
            assert repository.sample(one, count) == memory.sample(other, count)
    assert one.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize("on_disk", [False, True])
def test_draws_are_those_of_before(stored, on_disk):
    """A run from before there were stores draws the same when it goes on."""
    repository = load_repository(str(stored)) if on_disk else ToolRepository(tools(60))
    rng = np.random.default_rng(0)
    drawn = [[tool.name for tool in repository.sample(rng, 3)] for _ in range(4)]
    expected = [[41, 52, 7], [8, 47, 11], [20, 44, 7], [23, 26, 50]]
    assert drawn == [[f"tool_{i}" for i in row] for row in expected]


def test_tensorflow_datasets_reads_the_same(stored):
    """Without our code, as anybody would."""
    builder = tfds.builder_from_directory(stored)
    source = builder.as_data_source(split="train")
    assert builder.info.splits["train"].num_examples == len(source) == 60
    for record, tool in zip(source, tools(60), strict=True):
        assert record["name"].decode() == tool.name
        assert record["description"].decode() == tool.description
        assert record["category"].decode() == tool.category
        assert json.loads(record["parameters"]) == tool.parameters


def test_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_BATCH", 7)
    monkeypatch.setattr(store_module, "_RECORDS_A_FILE", 10)
    write_store(tmp_path / "s", iter(tools(33)))
    # A file is closed when it is full.
    assert len(list((tmp_path / "s").glob("*.array_record-*"))) > 1
    assert list(load_repository(str(tmp_path / "s")).tools) == tools(33)


def test_only_drawn_tools_are_read(stored, monkeypatch):
    read = []
    monkeypatch.setattr(
        store_module, "_read", lambda folder, source, index: read.append(index) or tools(60)[index]
    )
    repository = open_store(stored)
    assert len(repository) == 60 and len(repository.categories) == 2
    assert read == []
    drawn = repository.sample(np.random.default_rng(0), 4)
    assert [tools(60)[index] for index in read] == list(drawn)


def test_writing_holds_a_batch_not_all(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_BATCH", 20)
    text = "x" * 20_000

    def many():
        for i in range(1000):
            yield Tool(f"t{i}", text + str(i), {"type": "object"}, "c")

    tracemalloc.start()
    try:
        write_store(tmp_path / "s", many())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000  # all together have 20 MB


def test_reading_needs_no_tensorflow_and_importing_not_even_this(stored):
    code = (
        "import sys, trustee_jax.toolsets as t\n"
        "assert not {'tensorflow_datasets', 'array_record'} & set(sys.modules)\n"
        f"assert t.load_repository({str(stored)!r}).tools[2].name == 'tool_2'\n"
        "assert not {'tensorflow', 'jax'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def damage(name):
    def act(folder):
        (file,) = folder.glob(name)
        data = file.read_bytes()
        file.write_bytes(data[:100] + bytes(len(data) - 100))

    return act


def metadata(value):
    return lambda folder: (folder / "metadata.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("act", "hint"),
    [
        (lambda folder: (folder / "dataset_info.json").unlink(), "lacks dataset_info.json"),
        (damage("dataset_info.json"), "is damaged"),
        (damage("features.json"), "is damaged"),
        (lambda folder: (folder / "features.json").unlink(), "is damaged"),
        (lambda folder: (folder / "metadata.json").unlink(), "is damaged"),
        (damage("metadata.json"), "is damaged"),
        (metadata({}), "something else"),
        (metadata([]), "something else"),
        (metadata({"categories": {"a": "b"}}), "is damaged"),
        (metadata({"categories": {}}), "is damaged"),
        (metadata({"categories": {"a": [0, 1]}}), "list different tools"),
        (metadata({"categories": {"a": [*range(59), 60]}}), "list different tools"),
        (damage("*.array_record*"), "is damaged"),
        (lambda folder: next(folder.glob("*.array_record*")).unlink(), "is damaged"),
        (lambda folder: next(folder.glob("*.array_record*")).write_bytes(b""), "is damaged"),
    ],
)
def test_damaged_folders(copy, act, hint):
    act(copy)
    with pytest.raises(ToolError) as caught:
        load_repository(str(copy))
    assert len(caught.value.problems) == 1
    assert str(copy) in str(caught.value) and hint in str(caught.value)
    assert "trustee tools import" in str(caught.value)


def test_a_damaged_record_is_named_when_it_is_drawn(copy, monkeypatch):
    repository = open_store(copy)
    monkeypatch.setattr(store_module.json, "loads", lambda text: 1 / 0)
    with pytest.raises(ToolError, match=r"record 7: cannot be read: division by zero"):
        repository.tools[7]


def test_foreign_datasets(tmp_path):
    info = tfds.core.DatasetInfo(
        builder=tfds.core.dataset_info.DatasetIdentity(
            name="numbers", version=tfds.core.Version("1.0.0"), data_dir=str(tmp_path),
            module_name="numbers",
        ),
        features=tfds.features.FeaturesDict({"number": tfds.features.Scalar(np.int64)}),
    )  # fmt: skip
    writer = tfds.core.SequentialWriter(info, 10, file_format="array_record")
    writer.initialize_splits(["train"])
    writer.add_examples({"train": [{"number": 1}]})
    writer.close_all()
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(ToolError, match="dataset of something else"):
        load_repository(str(tmp_path))


def test_nothing_is_left_of_a_store_that_failed(tmp_path):
    def broken():
        yield from tools(3)
        raise RuntimeError("lost connection")

    with pytest.raises(RuntimeError, match="lost connection"):
        write_store(tmp_path / "s", broken())
    with pytest.raises(ToolError, match="no tools"):
        write_store(tmp_path / "s", iter(()))
    with pytest.raises(ToolError, match="'tool_0': name: comes twice"):
        write_store(tmp_path / "s", [*tools(2), *tools(1)])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(copy):
    with pytest.raises(ToolError, match="exists already"):
        write_store(copy, tools(1))
    assert len(load_repository(str(copy))) == 60
