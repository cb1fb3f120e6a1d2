"""The licence that a checkpoint states."""

import json

import pytest

from trustee_jax.weights import open_checkpoint
from trustee_jax.weights.gguf_checkpoint import GGUFCheckpoint

OTHER = {"license": "other", "license_name": "llama3.2", "license_link": "LICENSE"}


@pytest.mark.parametrize(
    ("card", "config", "stated"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Base\n", {}, {"license": "apache-2.0"}),
        ("---\n" + "".join(f"{k}: {v}\n" for k, v in OTHER.items()) + "---\n", {}, OTHER),
        ("---\nlicense: mit\n---\n", {"license": "other"}, {"license": "mit"}),
        ("# No front matter\n", {"license": "mit"}, {"license": "mit"}),
        ("---\nlicense: [mit, gpl]\n---\n", {}, {}),
        ("---\n: [broken\n---\n", {}, {}),
        ("---\n- a list\n---\n", {}, {}),
        (None, {}, {}),
    ],
)
def test_of_a_folder(tmp_path, hf_model, card, config, stated):
    hf_model("llama-tied").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert open_checkpoint(str(tmp_path)).license() == stated


def test_of_a_gguf_file():
    checkpoint = object.__new__(GGUFCheckpoint)
    checkpoint._metadata = {
        "general.license": "other",
        "general.license.name": "llama3.2",
        "general.license.link": "LICENSE",
        "general.name": "x",
    }
    assert checkpoint.license() == OTHER
    checkpoint._metadata = {}
    assert checkpoint.license() == {}


def test_of_random_weights():
    assert open_checkpoint("random:llama").license() == {}
