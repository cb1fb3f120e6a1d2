"""Fixed tasks: written once, played by any policy, alone or during a run."""

import json
import pathlib

import pytest

from trustee_jax.commands.main import main
from trustee_jax.evaluation.simulated import Outcome, summarize
from trustee_jax.evaluation.task_set import TaskSetError, read_task_set

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'configs' / 'debug.py'}"
SHORT = ("--config.training.steps=2", "--config.training.refill_groups=0")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def task_file(tmp_path_factory) -> pathlib.Path:
    file = tmp_path_factory.mktemp("tasks") / "held_out.jsonl"
    flags = ("--difficulties=1,60", "--per_difficulty=2", f"--output={file}")
    assert main(["eval", "tasks", CONFIG, *flags]) == 0
    return file


def test_a_set_of_tasks_is_written_alike_and_knows_its_hash(task_file, tmp_path):
    task_set = read_task_set(task_file)
    assert [task.aspects.difficulty for task in task_set.tasks] == [1, 1, 60, 60]
    assert not any(task.aspects.redrawn for task in task_set.tasks)
    assert len({task.text for task in task_set.tasks}) == 4
    assert task_set.about["simulator"] == "random:qwen3+calls"
    again = tmp_path / "again.jsonl"
    task_set.write(again)
    assert again.read_bytes() == task_file.read_bytes()
    head, *rest = task_file.read_text().splitlines()
    assert json.loads(head)["sha256"] == task_set.hash
    for changed, problem in (
        ("\n".join([head, *rest[1:]]), "not as it was written"),
        ("\n".join([head, *rest]).replace("user", "usher"), "not as it was written"),
        ("\n".join([head.replace("tasks 1", "tasks 0"), *rest]), "format is"),
        ("{}", "no set of tasks"),
        ("[]", "no set of tasks"),
        ("", "no set of tasks"),
    ):
        again.write_text(changed)
        with pytest.raises(TaskSetError, match=problem):
            read_task_set(again)
    with pytest.raises(TaskSetError, match="no such file"):
        read_task_set(tmp_path / "absent.jsonl")


def test_a_policy_is_measured_and_a_cut_measurement_goes_on(task_file, tmp_path, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    flags = [CONFIG, f"--tasks={task_file}", "--episodes=3"]
    assert main(["eval", "simulated", *flags, f"--output={whole}"]) == 0
    outcomes = [Outcome.from_json(line) for line in lines(whole / "results.jsonl")]
    assert sorted(one.id for one in outcomes) == [f"{t}.{e}" for t in range(4) for e in range(3)]
    table = json.loads((whole / "summary.json").read_text())
    (every, *parts) = table["rows"]
    assert every["name"] == "all" and every["valid"]["of"] == 12
    assert {"difficulty 1", "difficulty 60"} <= {part["name"] for part in parts}
    rewards = [one.reward for one in outcomes if one.reward is not None]
    assert every["reward"]["value"] == pytest.approx(sum(rewards) / len(rewards))
    assert "success by code" in (whole / "summary.md").read_text()

    cut.mkdir()
    (cut / "meta.json").write_text((whole / "meta.json").read_text())
    some = (whole / "results.jsonl").read_text().splitlines(keepends=True)[:5]
    (cut / "results.jsonl").write_text("".join(some) + '{"step": 0, "id": "3')
    assert main(["eval", "simulated", *flags, f"--output={cut}"]) == 0
    assert (cut / "summary.json").read_text() == (whole / "summary.json").read_text()
    capsys.readouterr()
    other = [*flags[:2], "--episodes=2", f"--output={cut}"]
    assert main(["eval", "simulated", *other]) == 2
    assert "results of another episodes: 3 there, 2 given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["simulated", "--tasks=x", CONFIG], "--output is needed"),
        (["simulated", "--tasks=x", "--output=y"], "name what to measure"),
        (["simulated", "--output=y", CONFIG], "tasks"),
        (["tasks", "--output=x"], "--config is needed"),
        (["tasks", CONFIG, "--output=x", "--difficulties=1,200"], "from 1 to 100"),
        (["tasks", CONFIG, "--output=x", "--difficulties=easy"], "from 1 to 100"),
        (["simulated", "--tasks=absent", "--output=y", CONFIG], "no such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line
    assert not any(tmp_path.iterdir())


def test_a_run_that_is_measured_learns_the_same(task_file, tmp_path):
    plain, measured = tmp_path / "plain", tmp_path / "measured"
    assert main(["train", CONFIG, *SHORT, f"--workdir={plain}"]) == 0
    evaluation = ("--config.evaluation.every=1", f"--config.evaluation.tasks={task_file}")
    assert main(["train", CONFIG, *SHORT, *evaluation, f"--workdir={measured}"]) == 0

    def played(run):
        return sorted((run / "episodes.jsonl").read_text().splitlines())

    assert played(measured) == played(plain)
    steps = lines(measured / "evaluations.jsonl")
    assert [line["step"] for line in steps] == [0, 1, 2]
    assert all(0 <= line["eval/simulated/success"] <= 1 for line in steps)
    timed = ("seconds/", "tokens_per_second/", "cache/", "engine/")
    for one, other in zip(
        lines(plain / "metrics.jsonl"), lines(measured / "metrics.jsonl"), strict=True
    ):
        for name, value in one.items():
            assert name.startswith(timed) or other[name] == value, name
    # A step whose evaluation was lost is evaluated when the run goes on.
    kept = (measured / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (measured / "evaluations.jsonl").write_text("".join(kept[:2]))
    more = ("--config.training.steps=3", "--config.training.refill_groups=0")
    assert main(["train", CONFIG, *more, *evaluation, f"--workdir={measured}"]) == 0
    again = (measured / "evaluations.jsonl").read_text().splitlines(keepends=True)
    assert again[:3] == kept and len(again) == 4
    assert main(["report", str(measured)]) == 0


def outcome(id, reward, difficulty=1.0, success=None):
    return Outcome(
        id, reward, success, None if reward is not None else "x", difficulty, ASPECTS, 1, 0
    )


ASPECTS = {
    name: 1.0
    for name in (
        *("tools", "calls", "persona", "ambiguity", "turns", "criteria", "system_prompt"),
        *("user_turns", "assistant_turns", "tool_turns"),
    )
}


def test_figures_of_known_outcomes():
    outcomes = [
        outcome("0.0", 1.0, 1.0, True),
        outcome("0.1", 0.0, 1.0, False),
        outcome("1.0", -1.0, 50.0, False),
        outcome("1.1", None, 50.0),
    ]
    every, easy, hard = summarize(outcomes)
    assert (every.name, easy.name, hard.name) == ("all", "difficulty 1", "difficulty 50")
    assert every.reward.value == 0 and every.reward.of == 3
    assert (every.success.count, every.success.of) == (1, 3)
    assert (every.valid.count, every.valid.of) == (3, 4)
    # Two tasks: resamples are the one, the other, or both.
    assert (every.reward.low, every.reward.high) == (-1.0, 0.5)
    assert (easy.reward.low, easy.reward.high) == (0.5, 0.5)
    (nothing,) = summarize([outcome("0.0", None)])
    assert nothing.reward.value is None and nothing.success.share is None
