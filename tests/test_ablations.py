import dataclasses
import pathlib
import runpy

import pytest
from absl import flags

from trustee_jax.commands import main as cli
from trustee_jax.config import OBJECTIVES, REFERENCE, Config, default, override, parse, reference
from trustee_jax.curriculum import PROBED
from trustee_jax.errors import ConfigError
from trustee_jax.options import flatten

FOLDER = pathlib.Path(__file__).parents[1] / "configs" / "ablations"
BASES = sorted(path.stem for path in FOLDER.parent.glob("*.py"))
HARDEST = {
    "tools": {"curriculum.tools.low": 2},  # as many as the debug config has
    "calls": {"curriculum.calls.low": 3},
    "persona": {"curriculum.persona.low": 2},
    "ambiguity": {"curriculum.ambiguity.low": 2},
    "turns": {
        "curriculum.turns.low": 2,
        "curriculum.user_turns.low": 3,
        "curriculum.assistant_turns.low": 6,
        "curriculum.tool_turns.low": 3,
    },
    "criteria": {"curriculum.criteria.low": 5},
    "system_prompt": {"curriculum.system_prompt.low": 3},
}
ABLATIONS = [
    ("no_expected_calls", "", {"environment.show_expected_calls": False}),
    ("no_intent", "", {"environment.show_intent": False}),
    ("shuffled_rewards", "", {"training.shuffle_rewards": True}),
    ("no_persona", "", {"environment.show_persona": False}),
    ("no_soft_curriculum", "", {"curriculum.epsilon": 0.0}),
    (
        "no_curriculum",
        "",
        {"curriculum.rule": "fixed", "curriculum.initial": 100.0, "curriculum.epsilon": 1.0},
    ),
    ("frontier", "", {"curriculum.rule": "frontier"}),
    *(("hardest", f"{aspect},", HARDEST[aspect]) for aspect in PROBED),
    ("step_size", "10,", {"curriculum.increase": 10.0, "curriculum.decrease": 10.0}),
    ("thresholds", "-0.25/0.25,", {"curriculum.lower_at": -0.25, "curriculum.raise_at": 0.25}),
    ("reference", "", dict(REFERENCE)),
    *(("reference_switch", f"{name},", {name: value}) for name, value in REFERENCE.items()),
    *(("objective", f"{name},", dict(options)) for name, options in OBJECTIVES.items()),
]


def load(name: str, *parameter: str) -> Config:
    return parse(runpy.run_path(str(FOLDER / f"{name}.py"))["get_config"](*parameter))


def test_every_file_is_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {name for name, _, _ in ABLATIONS}


@pytest.mark.parametrize(
    ("name", "value", "expected"), ABLATIONS, ids=[f"{n}:{v}".strip(":,") for n, v, _ in ABLATIONS]
)
def test_an_ablation_differs_from_its_base_in_nothing_else(name, value, expected) -> None:
    base = flatten(parse(runpy.run_path(str(FOLDER.parent / "debug.py"))["get_config"]()))
    assert expected.keys() <= base.keys()
    if all(base[option] == setting for option, setting in expected.items()):
        with pytest.raises(flags.Error, match="base debug has already what"):
            load(name, f"{value}debug")
        return
    ablated = flatten(load(name, f"{value}debug"))
    assert ablated.keys() == base.keys()
    # An option that the base already has at that value is no difference.
    assert {k: v for k, v in ablated.items() if v != base[k]} == {
        k: v for k, v in expected.items() if v != base[k]
    }


@pytest.mark.parametrize("base", BASES)
def test_every_base_can_be_ablated(base) -> None:
    assert not load("no_intent", base).environment.show_intent


def test_without_a_parameter_it_is_the_quickstart() -> None:
    assert load("no_intent") == load("no_intent", "quickstart")
    assert load("step_size", "1") == load("step_size", "1,quickstart")


@pytest.mark.parametrize(
    ("name", "parameter", "words"),
    [
        ("no_intent", "debgu", "debug"),
        ("hardest", "", "system_prompt"),
        ("hardest", "redness", "system_prompt"),
        ("hardest", "calls,debgu", "debug"),
        ("step_size", "big", "e.g. 1"),
        ("thresholds", "0.5", "-0.25/0.25"),
        ("objective", "dpo", "grpo, dapo, dr_grpo, gspo, rloo"),
        ("reference_switch", "learner.zero_variance", "learner.zero_variance_groups"),
    ],
)
def test_a_wrong_parameter_is_one_clear_error(name, parameter, words) -> None:
    with pytest.raises(flags.Error, match=words):
        load(name, parameter)


def test_the_command_line_takes_the_parameter(tmp_path, capsys) -> None:
    file = FOLDER / "no_intent.py"
    arguments = ["train", f"--workdir={tmp_path / 'run'}", f"--config={file}:debgu"]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'debgu'" in error
    assert "quickstart" in error


# The presets.


def test_the_reference_differs_from_the_default_in_its_switches() -> None:
    ours, published = flatten(Config()), flatten(parse(reference()))
    assert {k: v for k, v in published.items() if v != ours[k]} == dict(REFERENCE)


def test_every_objective_sets_the_same_options_and_an_explicit_one_overrides() -> None:
    names = {frozenset(options) for options in OBJECTIVES.values()}
    assert len(names) == 1
    others = {"tis_cap", "row_length", "rows_per_micro_batch", "logprob_chunk", "updates_per_step"}
    others |= {"learning_rate", "warmup_updates", "weight_decay", "b1", "b2", "max_grad_norm"}
    others |= {"max_skipped_updates", "attention"}
    fields = {field.name for field in dataclasses.fields(Config().learner)}
    assert {f"learner.{name}" for name in fields - others} in names
    config = override(default(), OBJECTIVES["dapo"])
    config.learner.clip_epsilon_high = 0.3
    learner = parse(config).learner
    assert (learner.clip_epsilon_high, learner.mask_truncated, learner.kl_coef) == (0.3, True, 0.0)


def test_weakness_8_is_a_switch_of_the_reference_alone() -> None:
    assert parse(reference()).learner.zero_variance_groups == "keep"
    assert parse(reference()).training.refill_groups == 0
    assert Config().learner.zero_variance_groups == "drop"
    assert Config().training.refill_groups > 0


@pytest.mark.parametrize("name", ["training.setps", "trainign.steps", "seed.steps", "stesp"])
def test_a_misspelt_override_is_refused(name) -> None:
    with pytest.raises(ConfigError, match="there is no such option"):
        override(default(), {name: 1})
