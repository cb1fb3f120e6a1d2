import dataclasses
import json
import pathlib
import re
import runpy

import pytest
from ml_collections import ConfigDict

from trustee_jax.config import (
    RENAMED,
    Config,
    ModelOptions,
    all_options,
    default,
    override,
    parse,
)
from trustee_jax.errors import ConfigError
from trustee_jax.options import flatten

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))


def test_default_is_the_dataclasses_defaults() -> None:
    assert parse(default()) == Config()
    assert parse({}) == Config()


def test_every_option_is_editable_and_arrives() -> None:
    edited = default()
    edited.seed = 7
    edited.model.simulator = "hub:a/b"
    edited.model.lora_targets = ("q", "v")
    edited.curriculum.tools.slope = 1
    edited.simulator.verifier.sampling.top_k = 3
    config = parse(edited)
    assert config.seed == 7
    assert config.model.simulator == "hub:a/b"
    assert config.model.lora_targets == ("q", "v")
    assert config.curriculum.tools.slope == 1.0
    assert config.simulator.verifier.sampling.top_k == 3
    # What was not edited keeps the section's own default, not that of its class.
    assert config.simulator.task.tries == Config().simulator.task.tries == 2


def test_a_config_survives_json() -> None:
    config = dataclasses.replace(Config(), model=ModelOptions(lora_targets=("q",), simulator="x"))
    assert parse(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_flat_names_are_dotted_json_values() -> None:
    flat = flatten(Config())
    assert flat["training.steps"] == 200
    assert flat["curriculum.criteria.offset"] == 1
    assert flat["model.lora_targets"] == ["q", "k", "v", "o", "gate", "up", "down"]
    assert flat == flatten(json.loads(json.dumps(dataclasses.asdict(Config()))))


def test_a_default_config_refuses_a_misspelt_field() -> None:
    config = default()
    with pytest.raises((AttributeError, KeyError), match="setps"):
        config.training.setps = 3


@pytest.mark.parametrize(
    ("edit", "field", "words"),
    [
        ({"training": {"setps": 3}}, "training.setps", "training.steps"),
        ({"steps": 3}, "steps", "training.steps"),
        ({"trainign": {}}, "trainign", "there is no such option"),
        ({"learner": {"zzzzzz": 1}}, "learner.zzzzzz", "learner.learning_rate"),
        ({"training": {"steps": "many"}}, "training.steps", "write an integer"),
        ({"training": {"steps": 3.0}}, "training.steps", "write an integer"),
        ({"training": {"steps": True}}, "training.steps", "write an integer"),
        ({"training": {"steps": None}}, "training.steps", "write an integer"),
        ({"training": 3}, "training", "named fields"),
        ({"learner": {"learning_rate": "1e-5"}}, "learner.learning_rate", "write a number"),
        ({"learner": {"learning_rate": float("nan")}}, "learner.learning_rate", "finite"),
        ({"learner": {"learning_rate": float("inf")}}, "learner.learning_rate", "finite"),
        ({"learner": {"learning_rate": -1e-6}}, "learner.learning_rate", "above 0"),
        ({"learner": {"clip_epsilon": 0.0}}, "learner.clip_epsilon", "above 0"),
        ({"learner": {"kl_coef": float("nan")}}, "learner.kl_coef", "finite"),
        ({"learner": {"clip_epsilon_high": 0.0}}, "learner.clip_epsilon_high", "above 0"),
        ({"learner": {"tis_cap": -1.0}}, "learner.tis_cap", "above 0"),
        ({"learner": {"fixed_length": 0}}, "learner.fixed_length", "at least 1"),
        ({"learner": {"loss": "clap"}}, "learner.loss", "close: 'clip'"),
        ({"learner": {"aggregation": "mean"}}, "learner.aggregation", "'token_mean'"),
        ({"learner": {"importance_ratio": "x"}}, "learner.importance_ratio", "'sequence'"),
        ({"learner": {"advantage_scale": "std"}}, "learner.advantage_scale", "'batch_std'"),
        ({"learner": {"advantage_baseline": "x"}}, "learner.advantage_baseline", "'group_mean'"),
        (
            {"learner": {"zero_variance_groups": "x"}},
            "learner.zero_variance_groups",
            "'drop', 'keep'",
        ),
        ({"learner": {"kl_coef": -0.1}}, "learner.kl_coef", "0 or more"),
        ({"learner": {"max_grad_norm": -1.0}}, "learner.max_grad_norm", "0 or more"),
        ({"learner": {"warmup_updates": -1}}, "learner.warmup_updates", "0 or more"),
        ({"learner": {"b2": 1.0}}, "learner.b2", "[0, 1)"),
        ({"learner": {"rows_per_micro_batch": 0}}, "learner.rows_per_micro_batch", "at least 1"),
        ({"learner": {"max_skipped_updates": 0}}, "learner.max_skipped_updates", "at least 1"),
        ({"model": {"lora_alpha": float("nan")}}, "model.lora_alpha", "finite"),
        ({"curriculum": {"raise_at": float("nan")}}, "curriculum.raise_at", "finite"),
        (
            {"environment": {"policy": {"sampling": {"temperature": 0}}}},
            "environment.policy.sampling.temperature",
            "more than 0",
        ),
        (
            {"environment": {"policy": {"sampling": {"temperature": 1e-30}}}},
            "environment.policy.sampling.temperature",
            "at least 0.01",
        ),
        ({"model": {"remat": True}}, "model.remat", "'blocks'"),
        ({"model": {"scan_layers": 1}}, "model.scan_layers", "write true or false"),
        ({"model": {"simulator": 1}}, "model.simulator", "write a string"),
        ({"model": {"dtype": "bfloat"}}, "model.dtype", "close: 'bfloat16'"),
        ({"model": {"lora_targets": "q"}}, "model.lora_targets", "write a tuple"),
        ({"model": {"lora_targets": (1,)}}, "model.lora_targets[0]", "write a string"),
        ({"model": {"lora_targets": ("q,v",)}}, "model.lora_targets", "('q', 'v')"),
        ({"model": {"lora_targets": ()}}, "model.lora_targets", "at least one"),
        ({"model": {"quantization": "int4"}}, "model.quantization", "'int8'"),
        (
            {"model": {"quantization": "int8", "lora_rank": 0}},
            "model.quantization",
            "give adapters a rank",
        ),
        ({"model": {"source": ""}}, "model.source", "name a checkpoint"),
        ({"training": {"steps": 0}}, "training.steps", "at least 1"),
        ({"training": {"group_size": 1}}, "training.group_size", "at least 2"),
        ({"mesh": {"data": -1, "fsdp": -1}}, "mesh.fsdp", "only one"),
        ({"mesh": {"tensor": 0}}, "mesh.tensor", "positive"),
        ({"seed": -1}, "seed", "2**32"),
        ({"engine": {"slots": 0}}, "engine.slots", "at least 1"),
        ({"engine": {"page_size": 0}}, "engine.page_size", "at least 1"),
        ({"engine": {"cache_tokens": 8191}}, "engine.cache_tokens", "engine.max_length = 8192"),
        ({"engine": {"cache_dtype": "int4"}}, "engine.cache_dtype", "'int8'"),
        (
            {"training": {"max_staleness": 1, "release_cache": True}},
            "training.max_staleness",
            "turn training.release_cache off",
        ),
        ({"curriculum": {"tools": {"high": 0}}}, "curriculum.tools.high", "low"),
        ({"learner": {"row_length": 512}}, "learner.row_length", "engine.max_length = 8192"),
        ({"learner": {"updates_per_step": 99}}, "learner.updates_per_step", "tasks_per_step"),
    ],
)
def test_a_bad_option_is_one_clear_error(edit: dict, field: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(ConfigDict(edit))
    assert caught.value.field == field
    assert words in caught.value.fix
    assert "\n" not in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_parse(path: pathlib.Path) -> None:
    config = parse(runpy.run_path(str(path))["get_config"]())
    assert config != Config()


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_is_an_error_that_says_the_new_one(old):
    new = RENAMED[old]
    with pytest.raises(
        ConfigError, match=rf"{re.escape(old)} = .*it is called {re.escape(new)} now"
    ):
        override(default(), {old: 1})
    section, _, leaf = old.rpartition(".")
    value = {leaf: 1}
    for name in reversed(section.split(".") if section else []):
        value = {name: value}
    with pytest.raises(ConfigError, match=r"is called .* now"):
        parse(value)
    known = {name[: len(new)] for name in all_options()}
    assert new in known and old not in known
