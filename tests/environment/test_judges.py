"""What grades an episode: by name, by a user's function, several by weights; and their failures."""

import dataclasses
import json
import math
import pathlib
import re

import pytest
from absl import flags
from scripted_engine import ScriptedEngine
from test_episode import BOOK, FIND, Script, play, prompts_of

from trustee_jax.build import build
from trustee_jax.commands import config_flag
from trustee_jax.config import default, override, parse
from trustee_jax.environment import (
    CriterionVerdict,
    EnvironmentConfig,
    JudgeConfig,
    JudgeVerdict,
    RuleViolation,
    Verdict,
    load_judges,
    run,
    run_episode,
)
from trustee_jax.environment.judges import judge as judges
from trustee_jax.environment.judges.judge import JudgeKind
from trustee_jax.errors import ConfigError
from trustee_jax.simulator import CRITERIA
from trustee_jax.training.summary import describe, episode_scalars

CLEAN = [FIND, BOOK, "Booked."]
README = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
GRADER = re.findall(r"```python\n(def grade.*?)```", README, re.DOTALL)[0]


@pytest.fixture
def write(tmp_path):
    """Writes a file with a judge, and returns what names it."""

    def write(text: str, name: str = "my_judge.py") -> str:
        (tmp_path / name).write_text(text)
        return f"{tmp_path / name}:grade"

    return write


def returns(write, expression: str) -> str:
    return write(f"import sys\nclass Unspeakable(Exception):\n  def __str__(self): 1 / 0\n"
                 f"def again(): return again()\n"
                 f"def throw(error): raise error\n"
                 f"def grade(task, messages, calls):\n  return {expression}\n")  # fmt: skip


# A user's function.


def test_a_function_of_ten_lines_grades_alone(write, make_environment, make_task):
    environment = make_environment(use=(write(GRADER),))
    episode, engine = play(environment, make_task(), Script(CLEAN))
    assert episode.reward == 1 and not prompts_of(engine, "verifier")
    assert "verifier" not in environment.config.roles
    assert episode.verdict.to_json() == {
        "mode": "python",
        "parts": [
            dataclasses.asdict(CriterionVerdict(name, True))
            for name in ("calls_made", "no_error", "short")
        ],
        "vetoes": [],
        "criteria": {"calls_made": True, "no_error": True, "short": True},
    }
    long, _ = play(environment, make_task(), Script([FIND, BOOK, "Booked. " * 41]))
    assert (long.reward, long.verdict.criteria["short"]) == (0, False)
    poor, _ = play(environment, make_task(), Script([FIND, "Booked. " * 41]))
    assert poor.reward == -1


def test_a_function_grades_beside_the_model(write, make_environment, make_task):
    mine = write(GRADER)
    environment = make_environment(use=("model", mine), weights=(3.0, 1.0), rules=False)
    assert environment.config.roles[-1] == "verifier"
    # The model finds two of five criteria met: -1. The function finds all: 1.
    met = (True, True, False, False, False)
    script = Script(CLEAN, met=met)
    episode, engine = play(environment, make_task(), script)
    assert episode.reward == (3 * -1 + 1 * 1) / 4
    alone, same = play(make_environment(rules=False), make_task(), Script(CLEAN, met=met))
    assert [r.key for r in engine.requests] == [r.key for r in same.requests]
    model, python = episode.to_json()["verdict"]["judges"]
    told = {"judge": "model", "weight": 3.0, "reward": -1.0}
    assert model == told | alone.to_json()["verdict"]
    assert (python["judge"], python["weight"], python["reward"]) == (mine, 1.0, 1.0)
    assert episode.verdict.criteria == dict(zip(CRITERIA, met, strict=True)) | {
        "calls_made": True,
        "short": True,
        "no_error": True,
    }
    assert f"{mine}, weight 1, reward 1" in describe(episode)


def test_a_judge_without_weight_counts_for_nothing(write, make_environment, make_task):
    """Neither what it finds, nor that it fails."""
    spec = write("def grade(*_): return {'intent_met': False}\ndef broken(*_): raise ValueError")
    path = spec.rpartition(":")[0]
    met = (True, True, True, True, True)
    shadows = (f"{path}:grade", f"{path}:broken")
    environment = make_environment(use=("model", *shadows), weights=(1.0, 0.0, 0.0))
    episode, _ = play(environment, make_task(), Script(CLEAN, met=met))
    assert (episode.reward, episode.cause) == (1, None)
    assert episode.verdict.criteria == dict.fromkeys(CRITERIA, True)
    assert [one.judge for one in episode.verdict.judges] == ["model", shadows[0]]


@pytest.mark.parametrize(
    ("expression", "reward"),
    [
        ("True", 1.0), ("False", -1.0), ("__import__('numpy').True_", 1.0),
        ("1", 1.0), ("-0.25", -0.25), ("__import__('numpy').float32(0.5)", 0.5),
        ("__import__('fractions').Fraction(1, 4)", 0.25),
        ("{'a': True, 'b': False}", 0.0), ("{'a': False}", -1.0), ("{'a': True}", 1.0),
        ("{'\\ud800': True}", 1.0),
    ],
)  # fmt: skip
def test_what_a_function_may_return(write, make_environment, make_task, expression, reward):
    episode, _ = play(
        make_environment(use=(returns(write, expression),)), make_task(), Script(CLEAN)
    )
    assert (episode.cause, episode.reward) == (None, reward)
    assert type(episode.reward) is float
    json.dumps(episode.to_json(), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("expression", "detail"),
    [
        ("None", "returned None: no bool, number in"),
        ("float('nan')", "returned nan"),
        ("1.5", "returned 1.5"),
        ("10 ** 400", "OverflowError"),
        ("'yes'", "returned 'yes'"),
        ("{}", "returned {}"),
        ("{'a': 1}", "returned {'a': 1}"),
        ("{1: True}", "returned {1: True}"),
        ("[True]", "returned [True]"),
        ("1 / 0", "ZeroDivisionError: division by zero (my_judge.py, line 7)"),
        ("messages[99]", "IndexError: list index out of range (my_judge.py, line 7)"),
        ("again()", "RecursionError"),
        ("throw(Unspeakable())", "Unspeakable"),
        ("throw(ValueError('\\ud800'))", "ValueError: ?"),
        ("throw(StopIteration())", "StopIteration"),
        ("sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_function_that_fails_costs_its_episode(
    write, make_environment, make_task, expression, detail
):
    name = returns(write, expression)
    episode, _ = play(make_environment(use=(name,)), make_task(), Script(CLEAN))
    assert (episode.cause, episode.reward, episode.verdict) == ("judge_error", None, None)
    assert episode.detail.startswith(f"{name}: ") and detail in episode.detail
    assert "\n" not in episode.detail and len(episode.detail) < 600
    # Whatever it says can be written.
    json.dumps(episode.to_json(), ensure_ascii=False, allow_nan=False).encode()


def test_the_run_goes_on_after_a_failure(write, make_environment, make_task):
    name = returns(write, "{'nights': calls[1].arguments['nights'] == 2}")
    environment = make_environment(use=("model", name))
    task = make_task()

    def policy(request):
        turn = request.key[-2]
        # The second of three episodes never books, so that there is no second call.
        turns = [FIND, "Nothing.", ""] if request.key[3] == 1 else CLEAN
        return turns[turn]

    engine = ScriptedEngine(environment.policy_format, Script([], overrides={"policy": policy}))
    coroutines = [run_episode(environment, task, (1, 0, number)) for number in range(3)]
    first, second, third = run(coroutines, {"policy": engine, "simulator": engine})
    assert (first.reward, second.cause, third.reward) == (1, "judge_error", 1)
    scalars = episode_scalars([first, second, third])
    assert scalars["episodes/invalid_judge_error"] == 1
    # Of the valid ones alone.
    assert scalars["judge/model"] == 1
    assert scalars[f"judge/{re.sub('[^/.a-zA-Z0-9_-]', '_', name)}"] == 1


def test_ctrl_c_in_a_function_ends_the_run(write, make_environment, make_task):
    name = returns(write, "throw(KeyboardInterrupt())")
    with pytest.raises(KeyboardInterrupt):
        play(make_environment(use=(name,)), make_task(), Script(CLEAN))


def test_a_function_cannot_change_what_others_see(write, make_environment, make_task):
    spoils = "messages.clear() or calls[0].arguments.clear() or task.expected_values[0].clear()"
    task = dataclasses.replace(make_task(), expected_values=({"city": "Lyon"}, {}))
    environment = make_environment(use=(returns(write, f"{spoils} or True"), "rules"))
    episode, _ = play(environment, task, Script(CLEAN))
    assert episode.reward == 1 and len(episode.messages) == 7
    assert episode.calls[0].arguments == {"city": "Lyon"} == task.expected_values[0]


# The checks alone.


def test_the_rules_alone_ask_no_model(make_environment, make_task):
    environment = make_environment(use=("rules",))
    assert "verifier" not in environment.config.roles
    episode, engine = play(environment, make_task(criteria=4), Script(CLEAN))
    assert not prompts_of(engine, "verifier") and prompts_of(engine, "tool")
    assert episode.reward == 1 and episode.verdict.criteria == dict.fromkeys(CRITERIA[:4], True)
    # One expected call of two was not made.
    worse, _ = play(environment, make_task(criteria=4), Script([FIND, "Booked."]))
    assert worse.reward == 0 and not worse.verdict.criteria["calls_correct"]
    assert {violation.check for violation in worse.verdict.vetoes} == {"expected_call"}
    allowed = make_environment(use=("rules",), show_expected_calls=False)
    assert play(allowed, make_task(criteria=4), Script([FIND, "Booked."]))[0].reward == 1


def test_rules_beside_the_model_are_no_vetoes_of_its_verdict(make_environment, make_task):
    environment = make_environment(use=("model", "rules"), rules=False)
    episode, _ = play(environment, make_task(), Script([FIND, "Booked."]))
    model, rules = (one.verdict.reward for one in episode.verdict.judges)
    assert (model, rules, episode.reward) == (1, 0, 0.5)
    # Both must find it met.
    assert not episode.verdict.criteria["calls_correct"]


# One entry of a table.


class Brevity:
    """Asks nobody: 1 for a dialogue of at most so many words."""

    def __init__(self, simulator, config):
        self.most = config.tool_result_limit

    def judge(self, evidence, key, usage=None):
        yield from ()
        words = sum(len((m["content"] or "").split()) for m in evidence.messages)
        return Verdict("brevity", score=1.0 if words < self.most else -1.0)


def test_a_new_judge_is_one_entry(monkeypatch, make_environment, make_task):
    monkeypatch.setattr(judges, "JUDGES", {**judges.JUDGES, "brevity": JudgeKind(Brevity)})
    for limit, reward in ((512, 1), (64, -1)):
        environment = make_environment(use=("brevity",), tool_result_limit=limit)
        episode, engine = play(environment, make_task(), Script(CLEAN))
        assert (episode.reward, episode.verdict.mode) == (reward, "brevity")
        assert not prompts_of(engine, "verifier")


@pytest.mark.parametrize("fails", ["at once", "later", "no verdict", "out of range", "nan"])
def test_a_judge_of_ours_that_fails_costs_its_episode(
    monkeypatch, make_environment, make_task, fails
):
    class Failing(Brevity):
        def judge(self, evidence, key, usage=None):
            if fails == "at once":
                raise LookupError("lost")
            return self.later()

        def later(self):
            yield from ()
            if fails == "later":
                raise LookupError("lost")
            scores = {"out of range": 1.1, "nan": math.nan}
            return Verdict("x", score=scores[fails]) if fails in scores else True

    monkeypatch.setattr(judges, "JUDGES", {"failing": JudgeKind(Failing)})
    episode, _ = play(make_environment(use=("failing",)), make_task(), Script(CLEAN))
    assert episode.cause == "judge_error" and episode.detail.startswith("failing: ")


# The weighted mean.


def judged(*given: tuple[float, float]) -> Verdict:
    several = (
        JudgeVerdict(str(i), weight, Verdict("python", score=reward))
        for i, (weight, reward) in enumerate(given)
    )
    return Verdict("weighted", judges=tuple(several))


def test_the_weights_are_those_of_a_mean():
    assert judged((1, 1), (1, 0)).reward == 0.5
    assert judged((3, -1), (1, 1)).reward == -0.5
    # Scaled weights are the same weights.
    assert judged((0.3, -1), (0.1, 1)).reward == -0.5
    assert judged((0, -1), (2, 0.25)).reward == 0.25
    # All agree: no rounding makes that less than a success.
    for weight in (0.1, 1 / 3, 0.7, 1e-9, 1e300):
        assert judged((weight, 1), (0.2, 1), (0.7, 1)).reward == 1
        assert judged((weight, -1), (0.2, -1), (0.7, -1)).reward == -1
    # Equal but for rounding is equal: no group that differs comes of it.
    one, other = judged((0.1, 1), (0.2, 0), (0.3, 0)), judged((0.1, 0), (0.2, 0.5), (0.3, 0))
    assert one.reward == other.reward


def test_a_criterion_is_met_if_all_who_grade_it_say_so():
    parts = (CriterionVerdict("a", True), CriterionVerdict("b", True))
    one = Verdict("reasoned", parts, (RuleViolation("b", "check", "why"),))
    other = Verdict("python", (CriterionVerdict("a", False), CriterionVerdict("c", True)))
    several = JudgeVerdict("x", 1, one), JudgeVerdict("y", 1, other)
    for judges_of_it in (several, several[::-1]):
        both = Verdict("weighted", judges=judges_of_it)
        assert both.criteria == {"a": False, "b": False, "c": True}
    assert one.criteria == {"a": True, "b": False}


# Options.


def config(**options) -> EnvironmentConfig:
    named = {f"environment.judge.{name}": value for name, value in options.items()}
    return parse(override(default(), named)).environment


@pytest.mark.parametrize(
    ("options", "field", "fix"),
    [
        ({"use": ()}, "use", "at least one judge"),
        ({"use": ("model", "model")}, "use", "each of them once"),
        ({"use": ("model", "rules"), "weights": (1.0,)}, "weights", "one for each of the 2"),
        ({"weights": (-1.0,)}, "weights", "0 or more"),
        ({"weights": (0.0,)}, "weights", "not all of them 0"),
        ({"weights": (math.nan,)}, "weights[0]", "finite"),
        ({"use": ("model", "rules"), "weights": (1e308, 1e308)}, "weights", "sum is finite"),
        ({"weights": ("much",)}, "weights[0]", "a number"),
    ],
)
def test_bad_weights_are_an_error_of_the_config(options, field, fix):
    with pytest.raises(ConfigError, match=re.escape(fix)) as caught:
        config(**options)
    assert caught.value.field == f"environment.judge.{field}"


def test_weights_must_be_numbers_where_no_config_checks_them():
    with pytest.raises(ConfigError):
        JudgeConfig(weights=(math.nan,))


@pytest.mark.parametrize(
    ("text", "name", "fix"),
    [
        (None, "modle", "(close: 'model')"),
        (None, "no_such.py:grade", "there is no file no_such.py"),
        ("def mark(task): pass", "my_judge.py:grade", "no function 'grade'"),
        ("import no_such_module", "my_judge.py:grade", "line 1: ModuleNotFoundError"),
        ("def grade(task): pass", "my_judge.py:grade", "grade(task, messages, calls)"),
        ("def grade(a, b, c, d): pass", "my_judge.py:grade", "missing a required argument: 'd'"),
        ("def grade(*, task): pass", "my_judge.py:grade", "cannot be called with three arguments"),
        ("async def grade(a, b, c): pass", "my_judge.py:grade", "no plain function"),
        ("def grade(a, b, c): yield", "my_judge.py:grade", "no plain function"),
        ("class grade: pass", "my_judge.py:grade", "no plain function"),
    ],
)
def test_a_judge_that_cannot_be_had_is_an_error_before_any_weight(
    monkeypatch, tmp_path, write, text, name, fix
):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        write(text)
    options = {"environment.judge.use": (name,), "model.source": "no/such/model"}
    with pytest.raises(ConfigError, match=re.escape(fix)) as caught:
        build(parse(override(default(), options)))
    assert caught.value.field == "environment.judge.use" and "\n" not in str(caught.value)


def test_more_parameters_with_defaults_are_fine(write):
    name = write("def grade(task, messages, calls, strict=True): return True")
    assert load_judges(config(use=(name,)))(None)


@pytest.mark.parametrize(
    ("written", "use"),
    [
        ("rules", ("rules",)),
        ("my_judge.py:grade", ("my_judge.py:grade",)),
        ("~/a folder/my_judge.py:grade", None),
        ("('~/a folder/my_judge.py:grade',)", ("~/a folder/my_judge.py:grade",)),
        ("('model', 'my_judge.py:grade')", ("model", "my_judge.py:grade")),
    ],
)
def test_judges_on_the_command_line(tmp_path, written, use):
    file = tmp_path / "plain.py"
    file.write_text("from trustee_jax.config import default as get_config")
    arguments = [f"--config={file}", f"--config.environment.judge.use={written}"]
    values = flags.FlagValues()
    config_flag.define(values, arguments, "")
    if use is None:
        with pytest.raises(flags.Error, match="write a tuple"):
            config_flag.parse(values, arguments, arguments)
    else:
        config_flag.parse(values, arguments, arguments)
        assert parse(values.config).environment.judge.use == use
