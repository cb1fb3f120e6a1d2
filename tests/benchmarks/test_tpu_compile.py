"""The command compiles a small run for a TPU slice, and says no to one that is too large."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# Large enough that a weight cannot be mistaken for an activation of a decoding step.
MODEL = {
    "model_type": "qwen3",
    "vocab_size": 8192,
    "hidden_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "intermediate_size": 4096,
    "max_position_embeddings": 4096,
}
OPTIONS = {
    "model.dtype": "bfloat16",
    "model.scan_layers": True,
    "model.remat": "blocks",
    "mesh.fsdp": 2,
    "mesh.tensor": 2,
    "engine.max_length": 2048,
    "engine.prefill_rows": 2,
    "engine.prefill_tokens": 256,
    "learner.row_length": 2048,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None, reason="pip install -e '.[tpu-compile]'"
    ),
]


def _compile(folder, *flags, slots=8):
    model, output = folder / "model.json", folder / "report.json"
    model.write_text(json.dumps(MODEL))
    options = OPTIONS | {"model.source": f"random:{model}", "engine.slots": slots}
    command = [sys.executable, "benchmarks/tpu_compile.py", "--config=configs/debug.py"]
    command += [f"--config.{name}={value}" for name, value in options.items()]
    command += ["--topology=v5e:2x2", f"--output={output}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert output.exists(), done.stderr
    return done, json.loads(output.read_text())


def test_compiles_every_program_of_a_run(tmp_path):
    done, report = _compile(tmp_path)
    assert done.returncode == 0, done.stderr
    assert report["fits"]
    programs = {row["name"]: row for row in report["programs"]}
    assert set(programs) == {
        "update",
        "score",
        "prefill 2 x 256",
        "copy",
        "forward",
        "decode",
    }
    gib = programs["decode"]["peak"] / 2**30
    assert f"{gib:.2f}" in done.stdout
    # Norms are not split, hence the tolerance.
    kernels = 4 * 1024 * (2 * 8 * 128 + 2 * 2 * 128 + 3 * 4096) + 2 * 8192 * 1024
    assert report["resident"]["base weights"] == pytest.approx(2 * kernels / 4, rel=0.01)
    assert report["resident"]["KV cache"] == 2 * 2 * 4 * 8 * 2 * 2048 * 128 / 4
    # The learner gathers weights over fsdp. Decoding leaves them where they are.
    kernel = 2 * 1024 * 4096 / 2
    assert programs["update"]["collective_bytes"]["all-gather"] > kernel
    for name in ("forward", "decode"):
        moved = programs[name]["collective_bytes"]
        assert sum(moved.values()) < kernel, moved


def test_a_run_that_is_too_large_is_named(tmp_path):
    done, report = _compile(tmp_path, "--programs=copy", slots=100_000)
    assert done.returncode == 1
    assert not report["fits"]
    assert "too large" in done.stdout
