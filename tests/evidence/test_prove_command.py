"""`trustee prove`: what is trained, measured, compared and refused."""

import dataclasses
import json
import pathlib
import re
import sys
from typing import Any

import pytest

from trustee_jax import processes, streams
from trustee_jax.commands import config_flag
from trustee_jax.commands import main as cli
from trustee_jax.config import parse
from trustee_jax.curriculum import Curriculum
from trustee_jax.environment import Task
from trustee_jax.evaluation.task_set import TaskSet
from trustee_jax.streams import Purpose
from trustee_jax.toolsets import Tool

DEBUG = pathlib.Path(__file__).parents[2] / "configs" / "debug.py"
FAKE = pathlib.Path(__file__).with_name("fake_trustee.py")
QUICK = ("--categories=simple_python,irrelevance", "--limit=40")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PROGRAM", (sys.executable, str(FAKE)))


def make_run(folder: pathlib.Path, *options: str, steps: int = 4) -> pathlib.Path:
    config = parse(config_flag.read([f"--config={DEBUG}", *options]))
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
    (folder / "checkpoints" / str(steps)).mkdir(parents=True)
    lines = [
        {"step": step, "reward/mean": 0.5, "seconds/step": 36.0} for step in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def run(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_run(tmp_path / "run")


def prove(run: pathlib.Path, *flags: str) -> int:
    return cli.main(["prove", str(run), *QUICK, *flags])


def found_in(run: pathlib.Path) -> dict[str, Any]:
    return json.loads((run / "prove" / "prove.json").read_text())


def refused(capsys: pytest.CaptureFixture[str], run: pathlib.Path, *flags: str) -> str:
    assert prove(run, *flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error, error
    return error


def test_control_and_seed_are_trained_and_everything_is_compared(
    run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(run, "--seeds=1") == 0
    out, found = capsys.readouterr().out, found_in(run)
    claims = {(c["a"], c["b"], c["cases"]): c for c in found["claims"]}
    # The 30 right ones of seed 0 are the first 30, of the base read leniently the first 16.
    better = claims["base (read leniently)", "trained", "calls"]
    assert better["holds"] and (better["pair"]["only_a"], better["pair"]["only_b"]) == (0, 14)
    # Those of seed 1 are 11 to 40: 10 lost, 24 gained, 2 P(X <= 10 of 34) = 0.024, times 1 of 3.
    seed = claims["base (read leniently)", "seed 1", "calls"]
    assert (seed["pair"]["only_a"], seed["pair"]["only_b"]) == (10, 24)
    assert seed["p"] == pytest.approx(0.0243, abs=1e-4) and seed["holds"]
    assert claims["base (read leniently)", "shuffled rewards", "calls"]["holds"]  # 12 against 16
    assert claims["shuffled rewards", "trained", "calls"]["holds"]  # 30 against 12
    irrelevance = claims["base", "trained", "irrelevance"]
    assert irrelevance["holds"] and irrelevance["pair"]["only_a"] == 2
    assert len(claims) == 6
    # Mean of 14 / 40 and 14 / 40.
    assert found["seeds"] == {"mean": 0.35, "margin": 0.0, "count": 2}
    assert (found["noise"]["cases"], found["noise"]["texts"]) == (80, 2)
    assert found["noise"]["pair"]["difference"] == 0
    assert found["missing"] == {}
    costs = {row[0]: row[1:] for row in found["tables"]["costs"]["rows"]}
    assert costs["seed 1"] == ["4", "0.04", "32", "400", "0.10"]
    (gain,) = found["gains"]
    assert (gain["a"], gain["b"], gain["pair"]["only_b"]) == ("base", "trained", 20)
    page = (run / "prove" / "prove.md").read_text()
    for claim in found["claims"]:
        assert claim["text"] in page and claim["text"] in out
    assert page.count("trustee train") == 2 and page.count("trustee eval bfcl") == 5
    assert (run / "prove" / "prove.html").stat().st_size > 10_000


def test_what_is_there_is_not_done_again(
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAKE_DIES", "bfcl-trained-step000004")
    error = refused(capsys, run)
    assert "the run and its base were not measured (trained: trustee: the power is out)" in error
    folder = run / "prove"
    done = (folder / "bfcl-base" / "results.jsonl").stat().st_mtime_ns
    control = (folder / "shuffled_rewards" / "metrics.jsonl").read_text()
    assert prove(run) == 0
    assert (folder / "bfcl-base" / "results.jsonl").stat().st_mtime_ns == done
    assert (folder / "shuffled_rewards" / "metrics.jsonl").read_text() == control
    first = found_in(run)
    assert prove(run) == 0 and found_in(run) == first
    # What is compared are the cases that all of them have; nobody answers any twice.
    control = make_run(tmp_path / "control", "--config.training.shuffle_rewards")
    assert cli.main(["prove", str(run), QUICK[0], "--limit=30", f"--control={control}"]) == 0
    assert found_in(run)["noise"]["cases"] == 60
    assert {one["calls"]["strict"]["of"] for one in found_in(run)["policies"]} == {30}


def test_what_fails_is_said_and_the_rest_is_there(
    run: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_REFUSES", "bfcl-base_once_more")
    error = refused(capsys, run)
    assert "1 of 5 failed: base once more; the log.txt of each says why" in error
    found = found_in(run)
    assert found["missing"] == {"base once more": "trustee: out of luck"}
    assert found["noise"] is None and len(found["claims"]) == 4


def test_without_training_the_commands_are_printed(
    run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prove(run, "--seeds=1,0,1", "--print") == 0
    out = capsys.readouterr().out
    commands = re.findall(r"^trustee train .*$", out, re.MULTILINE)
    assert len(commands) == 2  # the run's own seed, and a seed twice, are none
    assert f"--config={run}" in commands[0] and "shuffle_rewards=True" in commands[0]
    assert "--config.seed=1" in commands[1] and "--config.training.steps=4" in commands[1]
    found = found_in(run)
    assert found["missing"] == {"shuffled rewards": "not trained", "seed 1": "not trained"}
    assert [claim["b"] for claim in found["claims"]] == ["trained", "trained"]


def test_runs_that_are_given_are_not_trained(
    run: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shuffle = "--config.training.shuffle_rewards"
    control = make_run(tmp_path / "control", shuffle, "--config.evaluation.limit=7", steps=2)
    seed = make_run(tmp_path / "seed", "--config.seed=1")
    other = make_run(tmp_path / "rules", "--config.environment.judge.rules")
    flags = (f"--control={control}", f"--seed_runs={seed}", f"--others={other}")
    assert prove(run, *flags) == 0
    found = found_in(run)
    policies = {one["name"]: one for one in found["policies"]}
    assert list(policies) == ["base", "trained", "shuffled rewards", "seed 1", "rules"]
    assert policies["rules"]["differs"] == {"environment.judge.rules": True}
    assert "trustee train" not in (run / "prove" / "prove.md").read_text()
    claims = {(c["a"], c["b"]): c for c in found["claims"]}
    assert claims["shuffled rewards", "trained"]["note"] == "at steps 2 and 4"
    gains = [(one["a"], one["b"]) for one in found["gains"]]
    assert gains[1:] == [("base (read leniently)", "rules"), ("trained", "rules")]
    capsys.readouterr()
    # What each of them is not.
    for flag, what in (
        (f"--control={seed}", "seed is no control of the run: it has seed = 1, the run 0; give it"),
        (f"--control={make_run(tmp_path / 'same')}", "has the same training.shuffle_rewards as"),
        (f"--seed_runs={control}", "control is no other seed of the run: it has training.shuffle"),
        (f"--others={tmp_path}", "holds no run"),
    ):
        assert what in refused(capsys, run, flag)
    base = make_run(tmp_path / "base", "--config.model.call_syntax=json")
    assert "base has another base: model.call_syntax = 'json'" in refused(
        capsys, run, f"--others={base}"
    )
    assert "holds no run" in refused(capsys, tmp_path)
    assert "learnt from shuffled rewards: it is a control" in refused(capsys, control)


def test_policies_must_be_measured_alike(
    run: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_SYNTAX", "hermes")
    error = refused(capsys, run, "--print")
    assert "trained was measured with call_syntax = 'hermes', base with 'json'" in error


def test_simulated_tasks_are_compared_too(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = parse(config_flag.read([f"--config={DEBUG}"]))
    aspects = Curriculum(config.curriculum).aspects(streams.generator(Purpose.ASPECTS, 0))
    tool = Tool("find", "Finds.", {"type": "object", "properties": {}}, "any")
    task = Task((tool,), aspects, "Ann", "Find it.", ("find",), "Where is it?")
    tasks = TaskSet((task,) * 10, {})
    tasks.write(tmp_path / "tasks.jsonl")
    assert prove(run, f"--tasks={tmp_path / 'tasks.jsonl'}") == 0
    found = found_in(run)
    claims = {(c["b"], c["wanted"]): c for c in found["claims"] if c["cases"] != "calls"}
    # 8 of 10 against 2: p = 2 / 2^6, times 1 of the 3 claims to be better.
    played = claims["trained", "better"]
    assert (played["pair"]["only_a"], played["pair"]["only_b"], played["p"]) == (0, 6, 0.03125)
    assert played["note"].startswith("reward +1.20 (+0.60 to +")
    assert not claims["shuffled rewards", "not better"]["holds"]  # it plays as well here
    (base, *_) = found["policies"]
    assert (base["simulated"]["success"]["count"], base["simulated"]["reward"]["value"]) == (
        2,
        -0.6,
    )
    assert base["seconds_measured"] == 396.0


@pytest.mark.parametrize(
    ("flag", "what"),
    [
        ("--categories=multi_turn_base", "multi_turn_base is of conversations"),
        ("--categories=simple_pyton", "there is no 'simple_pyton'; close: simple_python"),
        ("--categories=irrelevance", "name one in which there is something to call"),
        ("--seeds=a", "--seeds=a: give whole numbers"),
        ("--step=3", "has no checkpoint of step 3; there are: 4"),
        ("--limit=0", "limit"),
        ("--tasks=/none.jsonl", "/none.jsonl"),
        ("--control=/none", "/none holds no run"),
    ],
)
def test_wrong_input_is_one_line(
    run: pathlib.Path, capsys: pytest.CaptureFixture[str], flag: str, what: str
) -> None:
    assert what in refused(capsys, run, flag)
    assert not (run / "prove").exists()
