"""Two made-up workdirs are equal, or the command names what differs first."""

import json
import pathlib
import sys
from collections.abc import Callable

import compare_runs
import numpy as np
import pytest

from trustee_jax.training.checkpoint import Checkpointer

EPISODES = [
    {"step": 1, "key": [1, 0, i], "reward": float(i), "messages": [{"content": "a"}, {}]}
    for i in range(2)
]
METRICS = [{"step": step, "reward/mean": 0.5, "seconds/step": 2.0} for step in (1, 2)]


def write(
    workdir: pathlib.Path,
    change: Callable[[list, list, dict, dict], object] = lambda *_: None,
    step: int = 2,
) -> pathlib.Path:
    episodes, metrics = json.loads(json.dumps([EPISODES, METRICS]))
    trees = {
        "params": {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
        "optimizer": [np.int32(2), {"kernel": np.zeros((2, 3), np.float32)}],
    }
    host = {"step": step, "curriculum": {"difficulty": 1.0}}
    change(episodes, metrics, trees, host)
    workdir.mkdir()
    for name, lines in (("episodes", episodes), ("metrics", metrics)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (workdir / f"{name}.jsonl").write_text(text)
    with Checkpointer(workdir / "checkpoints") as checkpointer:
        checkpointer.save(step, trees, host)
    return workdir


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return write(tmp_path_factory.mktemp("runs") / "base")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["compare_runs.py", *map(str, words)])
    return compare_runs.main()


def nudge(episodes: list, metrics: list, trees: dict, host: dict) -> None:
    trees["params"]["layer"]["kernel"][1, 2] += 1e-6 * 5
    trees["optimizer"][1]["kernel"][0] = -0.0


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda e, m, t, h: None, None),
        (lambda e, m, t, h: m[1].update({"seconds/step": 9.0, "seconds/new": 1.0}), None),
        (
            lambda e, m, t, h: e[1]["messages"][0].update(content="b"),
            'episodes 1 line 2: messages[0].content: "a", now "b"',
        ),
        (lambda e, m, t, h: e[0].update(reward=0), "episodes 1 line 1: reward: 0.0, now 0"),
        (lambda e, m, t, h: e.pop(), "episodes 1 2 lines, now 1"),
        (lambda e, m, t, h: e[0].update(new=1), "episodes 1 line 1: new only in RUN"),
        (
            lambda e, m, t, h: m[1].update({"reward/mean": 0.50000001}),
            "metrics 1 line 2: reward/mean: 0.5, now 0.50000001",
        ),
        (nudge, "checkpoint 2 params['layer']['kernel']: 1 of 6 numbers differ, by 4.77e-06"),
        (
            lambda e, m, t, h: t["params"]["layer"].update(kernel=np.zeros((2, 3), np.int32)),
            "checkpoint 1 params['layer']['kernel']: float32[2, 3], now int32[2, 3]",
        ),
        (
            lambda e, m, t, h: t["optimizer"][1]["kernel"].__imul__(-1),
            "checkpoint 1 optimizer[1]['kernel']: 6 of 6 numbers differ, by 0 at most",
        ),
        (
            lambda e, m, t, h: t["params"].update(more=np.zeros(1)),
            "checkpoint 1 params['more'] only in RUN",
        ),
        (
            lambda e, m, t, h: h["curriculum"].update(difficulty=4.0),
            "checkpoint 1 host: curriculum.difficulty: 1.0, now 4.0",
        ),
    ],
)
def test_the_first_difference_is_named(
    base: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list, list, dict, dict], object],
    first: str | None,
) -> None:
    status = run(monkeypatch, base, write(tmp_path / "run", change))
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    differing = [row for row in rows[1:] if not row.endswith(" 0 -")]
    assert [row.split()[0] for row in rows[1:]] == ["episodes", "metrics", "checkpoint"]
    if first is None:
        assert (status, differing) == (0, [])
        return
    what, count, text = first.split(" ", 2)
    assert status == 1 and len(differing) == 1
    assert differing[0].startswith(f"{what} ") and f" {count} {text}" in differing[0]


def test_common_passes_over_names_that_one_run_lacks(
    base: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def change(episodes: list, metrics: list, trees: dict, host: dict) -> None:
        episodes[1]["calls"] = [1]
        del metrics[0]["reward/mean"]

    other = write(tmp_path / "run", change)
    assert run(monkeypatch, base, other) == 1
    capsys.readouterr()
    assert run(monkeypatch, base, other, "--common") == 0
    output = capsys.readouterr().out
    assert "episodes, in one run only: calls (RUN)" in output
    assert "metrics, in one run only: reward/mean (BASE)" in output


def test_another_step_and_no_run(
    base: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, base, write(tmp_path / "run", step=1)) == 1
    assert "newest: step 2, now step 1" in capsys.readouterr().out
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, base, tmp_path / "none")
    assert error.value.code == 2
    assert "none holds no run" in capsys.readouterr().err
