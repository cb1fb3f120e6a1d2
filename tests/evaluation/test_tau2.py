"""`trustee eval tau2` around a stand-in for the benchmark, which talks to the real server."""

import itertools
import json
import pathlib
import subprocess
import sys

import pytest

from trustee_jax.commands.main import main
from trustee_jax.evaluation import installing, tau2
from trustee_jax.evaluation.tau2 import Checkout, Task, Tau2Error, Trial, chosen
from trustee_jax.evaluation.tau2_summary import pass_hat, summarize

FAKE = pathlib.Path(__file__).with_name("fake_tau2.py")


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "tau2-bench"
    (folder / "src/tau2").mkdir(parents=True)
    (folder / "src/tau2/__init__.py").touch()
    (folder / "src/tau2/cli.py").write_text(FAKE.read_text())
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "tau2"\nversion = "1.0"\ndependencies = ["rich"]\n'
    )
    for domain in tau2.DOMAINS:
        data = folder / "data/tau2/domains" / domain
        data.mkdir(parents=True)
        for name in ("db.json", "db.toml"):
            (data / name).touch()
        tasks = [task(str(number), judged=domain == "retail" and number < 2) for number in range(4)]
        (data / "tasks.json").write_text(json.dumps([*tasks, task("only in the full split")]))
        (data / "split_tasks.json").write_text(json.dumps({"base": ["0", "1", "2", "3"]}))
    return folder


def task(name, *, judged=False):
    criteria = {"reward_basis": ["DB"], "nl_assertions": ["is polite"]}
    if judged:
        criteria["reward_basis"] = ["DB", "NL_ASSERTION"]
    return {"id": name, "evaluation_criteria": criteria}


@pytest.fixture
def evaluate(monkeypatch, tmp_path, checkout):
    python = pathlib.Path(sys.executable)
    monkeypatch.setattr(installing, "ensure_environment", lambda folder, requirements: python)
    monkeypatch.setattr(tau2, "_LOOK", 0.2)

    def run(*arguments, says="Hi"):
        monkeypatch.setenv("FAKE_TAU2_SAYS", says)
        common = ["--model=random:qwen2", "--max_length=1024", "--max_tokens=4"]
        folders = [f"--tau2={checkout}", f"--output={tmp_path / 'results'}"]
        return main(["eval", "tau2", *common, *folders, *arguments])

    return run


def test_both_models_are_asked_and_every_trial_counts(capsys, tmp_path, evaluate):
    assert evaluate("--domains=airline,retail", "--limit=3", "--trials=2") == 0
    out = capsys.readouterr().out
    assert "airline 6/6" in out and "retail 4/4" in out
    found = json.loads((tmp_path / "results/summary.json").read_text())["domains"]
    # Of the stand-in's trials the first of a task succeeds.
    assert found["airline"]["pass_k"] == [[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]
    assert found["airline"]["ended"] == {"user_stop": 6} and found["airline"]["judged"] == 0
    assert found["retail"]["tasks"] == 2 and found["retail"]["judged"] == 2
    assert "| airline | 3 | 50.0% (50-50) |" in (tmp_path / "results/summary.md").read_text()
    kept = (tmp_path / "results/airline/results.json").read_text()
    assert all(len(one["messages"]) == 2 for one in json.loads(kept)["simulations"])

    # More trials add to what is there.
    assert evaluate("--domains=airline", "--limit=3", "--trials=3") == 0
    assert "airline 3/3" in capsys.readouterr().out
    again = json.loads((tmp_path / "results/airline/results.json").read_text())
    assert again["simulations"][:6] == json.loads(kept)["simulations"]
    lines = (tmp_path / "results/results.jsonl").read_text().splitlines()
    assert len(lines) == 13

    assert evaluate("--domains=airline", "--temperature=1.0") == 2
    assert "results of another temperature: 0.0 there, 1.0 given" in capsys.readouterr().err


def test_what_the_server_refuses_is_a_failure_and_tried_again(capsys, tmp_path, evaluate):
    assert evaluate("--domains=airline", "--limit=1", says="word " * 2000) == 0
    out = capsys.readouterr().out
    assert "1 infrastructure_error" in out and "context holds 1024 tokens" in out
    found = json.loads((tmp_path / "results/summary.json").read_text())["domains"]["airline"]
    assert found["pass_k"][0][0] == 0.0
    assert evaluate("--domains=airline", "--limit=1") == 0
    found = json.loads((tmp_path / "results/summary.json").read_text())["domains"]["airline"]
    assert found["pass_k"][0][0] == 1.0 and not found["errors"]


def test_a_benchmark_that_fails_is_one_error(capsys, evaluate):
    assert evaluate("--domains=airline", says="fail") == 2
    error = capsys.readouterr().err
    assert "tau2-bench ended with status 1" in error and error.endswith("the sky fell\n")


def test_it_ends_with_the_evaluation(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_TAU2_SAYS", "hang")
    monkeypatch.setattr(tau2, "_LOOK", 0.2)
    address = tau2.Address("http://127.0.0.1:9", "key", "agent", "agent", 1, 5.0)
    options = tau2.Options(1, 0, 0.0, 4, 10)
    conversations = tau2.Conversations(
        pathlib.Path(sys.executable),
        Checkout(checkout),
        "airline",
        [Task("0", judged=False)],
        address,
        options,
        tmp_path / "airline",
    )
    with pytest.raises(KeyboardInterrupt):
        for _ in conversations.run():
            raise KeyboardInterrupt
    found = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert not found.stdout


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "tau2"),
        (("--tau2=/none",), "name what to measure: a RUN or --model=SOURCE"),
        (("--tau2=/none", "--model=random:qwen2"), "--output is needed without a RUN"),
        (("--tau2=/none", "--model=random:qwen2", "--output=/x", "--step=1"), "--step needs a RUN"),
        (
            ("--tau2=/none", "--model=random:qwen2", "--output=/x", "--domains=bank"),
            "--domains=bank: name some of airline, retail, telecom",
        ),
        (
            ("--tau2=/none", "--model=random:qwen2", "--output=/x"),
            "/none is no checkout of tau2-bench, which no package index has; git clone https",
        ),
    ],
)
def test_wrong_input_is_one_error(capsys, arguments, what):
    assert main(["eval", "tau2", *arguments]) == 2
    error = capsys.readouterr().err
    assert what in error and error.count("\n") == 1


def test_a_missing_file_is_named(checkout):
    (checkout / "data/tau2/domains/airline/db.json").unlink()
    found = Checkout(checkout)
    assert [task.id for task in found.tasks("telecom")] == ["0", "1", "2", "3"]
    with pytest.raises(Tau2Error, match=r"airline/db\.json is missing; a whole clone of https"):
        found.tasks("airline")
    (checkout / "data/tau2/domains/retail/tasks.json").write_text("[")
    with pytest.raises(Tau2Error, match=r"retail/tasks\.json cannot be read"):
        found.tasks("retail")


def test_smaller_limits_are_within_larger_ones():
    tasks = [Task(str(number), judged=number % 5 == 0) for number in range(50)]
    few, more, whole = (chosen(tasks, limit) for limit in (3, 20, None))
    assert few == more[:3] and set(more) < set(whole) and len(whole) == 40


@pytest.mark.parametrize(("trials", "successes", "k"), [(4, 3, 2), (5, 5, 3), (3, 0, 1), (4, 1, 2)])
def test_pass_hat_is_the_share_of_draws_that_all_succeed(trials, successes, k):
    outcomes = [True] * successes + [False] * (trials - successes)
    draws = list(itertools.combinations(outcomes, k))
    assert pass_hat(trials, successes, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_pass_k_is_a_mean_over_tasks():
    trials = [
        Trial("airline", name, number, float(number < wins), "user_stop")
        for name, wins in (("a", 4), ("b", 2), ("c", 0), ("d", 3))
        for number in range(4)
    ]
    found = summarize(trials, judged=0)
    values = [value for value, _, _ in found.pass_k]
    assert values == pytest.approx([9 / 16, (1 + 1 / 6 + 1 / 2) / 4, (1 + 1 / 4) / 4, 1 / 4])
    assert all(low <= value <= high for value, low, high in found.pass_k)
    assert found.pass_k[0][1:] != found.pass_k[0][:1] * 2
    assert summarize([], judged=3).pass_k == ()
