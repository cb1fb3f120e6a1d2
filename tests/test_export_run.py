"""A run's folder -> exported folders with a model card."""

import copy
import dataclasses
import json
import pathlib
import re

import jax
import numpy as np
import pytest
import torch
import transformers
import yaml
from flax import nnx

from trustee_jax.build import abstract_policy, load
from trustee_jax.commands import main as cli
from trustee_jax.config import OBJECTIVES, default, override, parse
from trustee_jax.export import export
from trustee_jax.models import make_mesh
from trustee_jax.rl import split_trainable
from trustee_jax.training.checkpoint import Checkpointer
from trustee_jax.weights import open_checkpoint

OPTIONS = {
    "seed": 7,
    "tools": "/home/someone/tools.json,starter",
    "model.dtype": "float32",
    "model.scan_layers": False,
    "model.lora_rank": 3,
    "model.lora_alpha": 10.0,
    "model.lora_targets": ("k", "up"),
    "training.steps": 40,
    "environment.policy.sampling.temperature": 0.7,
    "environment.policy.sampling.top_k": 20,
    **OBJECTIVES["dr_grpo"],
}
SCORES = {18: 0.5, 19: None, 20: 0.25}
TOKENS = np.random.default_rng(0).integers(0, 512, (2, 40))


def base_folder(folder: pathlib.Path) -> pathlib.Path:
    """Weights on disk, so that transformers and a run begin with the same."""
    config = transformers.Qwen3Config(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    transformers.Qwen3ForCausalLM(config).save_pretrained(folder)
    open_checkpoint("random:qwen3").tokenizer().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


def write_run(folder: pathlib.Path, base: pathlib.Path, **options: object) -> pathlib.Path:
    """A run's folder, with adapters at random: a factor of them is the checkpoint's step."""
    settings = {**OPTIONS, "model.source": str(base), **options}
    config = parse(override(default(), settings))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    lines = [metrics(step) for step in range(1, 21)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    full = dataclasses.replace(config.model, quantization=None)
    checkpoint = open_checkpoint(str(base))
    model = load(checkpoint, abstract_policy(checkpoint.config, full), make_mesh(), 0)
    _, trained, _ = split_trainable(model)
    rng = np.random.default_rng(1)
    values, structure = jax.tree.flatten(trained)
    drawn = [0.02 * rng.standard_normal(x.shape).astype(x.dtype) for x in values]
    with Checkpointer(folder / "checkpoints", keep_last=9) as checkpointer:
        for step, score in SCORES.items():
            scaled = [
                jax.device_put(x * step, old.sharding) for x, old in zip(drawn, values, strict=True)
            ]
            params = jax.tree.unflatten(structure, scaled)
            checkpointer.save(step, {"params": params}, {"step": step}, score=score)
    return folder


def metrics(step: int) -> dict[str, float]:
    return {
        "step": step,
        "reward/mean": -1 + 0.05 * step,
        "curriculum/difficulty": 1.0 + step,
        "episodes/played": 128.0,
        "episodes/valid": 0.75,
        "seconds/step": 90.0,
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return base_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base: pathlib.Path) -> pathlib.Path:
    return write_run(tmp_path_factory.mktemp("run") / "run", base)


def logits(model: transformers.PreTrainedModel) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


def test_both_forms_have_the_same_logits_also_of_an_int8_base(
    tmp_path: pathlib.Path, base: pathlib.Path, run: pathlib.Path
) -> None:
    peft = pytest.importorskip("peft", reason="the test extra brings peft")
    quantised = write_run(tmp_path / "int8", base, **{"model.quantization": "int8"})
    original = transformers.AutoModelForCausalLM.from_pretrained(base)
    found = {}
    for source in (run, quantised):
        merged = export(source, tmp_path / f"{source.name}-m", shard_bytes=100_000)
        adapter = export(source, tmp_path / f"{source.name}-a", form="adapter")
        assert len(list(merged.glob("model-*.safetensors"))) > 2
        config = json.loads((adapter / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(base)
        assert (config["r"], config["lora_alpha"]) == (3, 10)
        assert config["target_modules"] == ["k_proj", "up_proj"]
        model = transformers.AutoModelForCausalLM.from_pretrained(merged)
        found[merged] = logits(model)
        found[adapter] = logits(peft.PeftModel.from_pretrained(copy.deepcopy(original), adapter))
        for folder in (merged, adapter):
            generation = transformers.GenerationConfig.from_pretrained(folder)
            assert (generation.do_sample, generation.temperature) == (True, 0.7)
            assert (generation.top_p, generation.top_k) == (1.0, 20)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            assert "<tool_call>" in tokenizer.chat_template
            ends = generation.eos_token_id
            assert tokenizer.eos_token_id in (ends if isinstance(ends, list) else [ends])
    first, *others = found.values()
    size = np.abs(first).max()
    differences = [np.abs(first - other).max() / size for other in others]
    print(f"\nmerged and adapter, without and with an int8 base: {max(differences):.1e}")
    assert max(differences) < 2e-6
    assert np.abs(first - logits(original)).max() / size > 1e-2


def test_the_best_checkpoint_and_any_other(tmp_path: pathlib.Path, run: pathlib.Path) -> None:
    from safetensors.numpy import load_file

    def factor(name: str, *flags: str) -> np.ndarray:
        output = tmp_path / name
        words = ["export", str(run), f"--output={output}", "--form=adapter", *flags]
        assert cli.main(words) == 0
        tensors = load_file(output / "adapter_model.safetensors")
        return tensors["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"]

    newest = factor("newest")
    for name, step in (("best", 18), ("19", 19), ("20", 20)):
        found = factor(name, f"--step={name}")
        np.testing.assert_allclose(found * 20 / step, newest, rtol=1e-6)
        assert f"| step | {step} of 40 |" in (tmp_path / name / "README.md").read_text()


def front_matter(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_card_says_what_the_folder_holds(tmp_path: pathlib.Path, base: pathlib.Path) -> None:
    run = write_run(tmp_path / "run", base)
    files = {
        "evaluations/any/step-20": {"model": "step 20", "categories": {"simple_python": {
            "accuracy": 0.8125, "interval": [0.75, 0.875], "cases": 100}}, "done": True},
        "eval/bfcl-step000020": {
            "meta": {"run": "/home/someone/run"},
            "categories": {"multiple": {"size": 200, "errors": {}, "strict": {
                "count": 150, "of": 200, "share": 0.75, "low": 0.6857, "high": 0.8049}}},
            "board": {"strict": {"live": {
                "value": 0.5, "low": 0.25, "high": 0.75, "missing": ["x"]}}},
        },
        "eval/broken": None,
        "eval/list": [1, 2],
    }  # fmt: skip
    for name, summary in files.items():
        folder = run / name
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text("{" if summary is None else json.dumps(summary))
    card = (export(run, tmp_path / "my-policy", form="merged") / "README.md").read_text()
    assert front_matter(card) == {
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["tool-calling", "reinforcement-learning", "trustee-jax"],
    }
    assert "# my-policy\n" in card and "from_pretrained('my-policy')" in card
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]*) \|$", card, re.MULTILINE))
    assert rows["base"] == f"`{base.name}`" and str(base) not in card
    assert rows["adapter"] == "rank 3, alpha 10, on k, up"
    assert rows["simulator"] == "the base, frozen"
    assert rows["tools"] == "`tools.json,starter`"
    assert rows["objective"] == "Dr. GRPO ([arXiv 2503.20783](https://arxiv.org/abs/2503.20783))"
    assert rows["step"] == "20 of 40"
    assert rows["episodes played"] == "2,560"
    assert rows["hours"] == "0.5"
    assert rows["sampling"] == "temperature 0.7, top p 1, top k 20"
    assert rows["seed"] == "7"
    assert f"jax {jax.__version__}" in rows["exported with"]
    assert "[arXiv 2604.17739]" in card
    # The first and the last tenth: rewards of -0.95 and -0.9, and of -0.05 and 0.
    assert "| mean over | steps 1 to 2 | steps 19 to 20 |" in card
    assert "| mean reward | -0.925 | -0.025 |" in card
    assert "| difficulty of the tasks | 2.5 | 20.5 |" in card
    assert "KL to" not in card, "the run has no such metric"
    assert "### evaluations/any/step-20\n" in card and "### eval/bfcl-step000020\n" in card
    assert "broken" not in card and "eval/list" not in card and "/home" not in card
    assert rows["categories, multiple, strict"] == "75.0% (68.6% to 80.5%), 150 of 200"
    assert rows["categories, multiple, size"] == "200"
    assert rows["board, strict, live"] == "50.0% (25.0% to 75.0%)"
    assert rows["categories, simple python, accuracy"] == "0.8125"
    assert rows["categories, simple python, interval"] == "0.75 to 0.875"
    assert rows["categories, simple python, cases"] == "100"
    assert rows["model"] == "`step 20`"


def test_the_card_of_an_earlier_step_and_of_a_hub_base(
    tmp_path: pathlib.Path, base: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", base)
    config = json.loads((run / "config.json").read_text())
    config["model"]["source"] = "hub:someone/base@v2"
    (run / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(
        "trustee_jax.export.open_checkpoint", lambda source: open_checkpoint(str(base))
    )
    folder = export(run, tmp_path / "out", step=18, form="adapter")
    card = (folder / "README.md").read_text()
    assert front_matter(card)["base_model"] == "someone/base"
    assert front_matter(card)["library_name"] == "peft"
    assert "AutoModelForCausalLM.from_pretrained('someone/base')" in card
    # Steps after it are none of its.
    assert "| mean reward | -0.95 | -0.1 |" in card
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("someone/base", "v2")


def test_what_cannot_be_exported_is_one_line(
    tmp_path: pathlib.Path,
    base: pathlib.Path,
    run: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    config = parse(override(default(), {"model.source": str(base), "model.lora_rank": 0}))
    (full / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    output = tmp_path / "out"
    file = tmp_path / "file"
    file.touch()
    for words, message in (
        ([str(full), f"--output={output}", "--form=adapter"], "model.lora_rank = 0"),
        ([str(run), f"--output={output}", "--step=3"], "no checkpoint of step 3; there are: 18"),
        ([str(run), f"--output={output}", "--step=last"], "write the number of a step, or best"),
        ([str(run), f"--output={output}", "--shard_size=5"], "--shard_size=5: write a size"),
        ([str(run), f"--output={output}", "--shard_size=0GB"], "--shard_size=0GB: write a size"),
        ([str(run), f"--output={output}", "--form=lora"], "--form=lora"),
        ([str(run), f"--output={tmp_path}"], "exists and is not empty"),
        ([str(run), f"--output={file / 'out'}"], "cannot be written (Not a directory)"),
    ):
        assert cli.main(["export", *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and message in error, error
    assert not output.exists() and not list(tmp_path.glob(".out*"))


def test_without_scores_none_is_best(tmp_path: pathlib.Path) -> None:
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.best_step is None
        state = nnx.state(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
        checkpointer.save(1, {"params": state}, {})
        checkpointer.wait()
        assert checkpointer.best_step is None
        with pytest.raises(ValueError, match=r"no checkpoint has a score.*name a step: 1"):
            checkpointer.restore({}, step="best")
        for step, score in ((2, 0.5), (3, 0.5), (4, -0.5)):
            checkpointer.save(step, {"params": state}, {}, score=score)
        checkpointer.wait()
        assert checkpointer.steps[-1] == 4 and checkpointer.best_step in (2, 3)
        assert checkpointer.restore({}, step="best").step == checkpointer.best_step
