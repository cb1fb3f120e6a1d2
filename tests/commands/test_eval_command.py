import json
import pathlib
import sys

import pytest

from trustee_jax.commands.main import main
from trustee_jax.evaluation import bfcl
from trustee_jax.evaluation.checker import Checker
from trustee_jax.evaluation.installing import BFCL_VERSION

FAKE_WORKER = pathlib.Path(__file__).parents[1] / "evaluation" / "fake_worker.py"
MODEL = "--model=random:qwen2"


def refused(capsys, *arguments):
    """The one line that wrong input gets."""
    assert main(["eval", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("bfcl",), "name what to measure: a RUN, --model=SOURCE or --config=FILE.py"),
        (("bfcl", MODEL), "--output is needed without a RUN"),
        (("bfcl", MODEL, "--output=/x", "--step=0"), "--step needs a RUN"),
        (("bfcl", MODEL, "--output=/x", "--tensorboard"), "--tensorboard needs a RUN"),
        (("bfcl", "run", MODEL), "--model is for a model without a RUN"),
        (("bfcl", "/none"), "/none holds no run"),
        (("bfcl", MODEL, "--categories=simple_pyton"), "there is no 'simple_pyton'; close: simple"),
        (("bfcl", MODEL, "--categories=memory_kv"), "there are: groups all, single_turn, non_live"),
        (("bfcl", MODEL, "--categories="), "--categories names none"),
        (("bfcl", MODEL, "--limit=0"), "limit"),
        (("bfcl", MODEL, "--output=/x", "--temperature=-1"), "temperature = -1.0"),
        (("bfcl", "--model=/none.gguf", "--output=/x"), "/none.gguf"),
        (("bfcl", "--config=/none.py", "--output=/x"), "config file /none.py does not exist"),
        (("bfcl", MODEL, "--workdir=x"), "unknown flag --workdir; usage: trustee eval bfcl [RUN]"),
        (("compare", "/none"), "B is missing"),
        (("compare", "/none", "/none"), "/none holds no results of an evaluation"),
        (("compare", "a", "b", "--read=loose"), "--read=loose: give one of strict, lenient"),
        (("bfcls",), "unknown command 'bfcls'"),
    ],
)
def test_wrong_input_is_one_error(capsys, arguments, what):
    assert what in refused(capsys, *arguments)


def test_an_environment_of_something_else_is_one_error(capsys, tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "thesis.tex").touch()
    output = tmp_path / "results"
    error = refused(capsys, "bfcl", MODEL, f"--output={output}", f"--bfcl_env={tmp_path / 'env'}")
    assert "is no working environment of bfcl-eval" in error
    assert not output.exists()


def test_another_version_in_the_environment_is_one_error(monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(FAKE_WORKER.read_text().replace(BFCL_VERSION, "2025.1.1"))
    monkeypatch.setattr(bfcl, "BFCL_WORKER", worker)
    monkeypatch.setattr(
        bfcl, "ensure_environment", lambda folder, requirements: pathlib.Path(sys.executable)
    )
    with pytest.raises(bfcl.CheckerError, match=r"holds bfcl-eval 2025\.1\.1, not 2026"):
        bfcl.open_checker(tmp_path / "env")


@pytest.fixture
def fake_benchmark(monkeypatch):
    def opened(folder):
        return Checker(pathlib.Path(sys.executable), FAKE_WORKER)

    monkeypatch.setattr(bfcl, "open_checker", opened)


def test_a_random_model_is_measured_and_compared(capsys, tmp_path, fake_benchmark):
    common = [MODEL, "--categories=irrelevance", "--max_tokens=4", "--max_length=2048"]
    folders = [str(tmp_path / name) for name in "ab"]
    for folder, more in zip(folders, (["--limit=2"], []), strict=True):
        assert main(["eval", "bfcl", *common, *more, f"--output={folder}"]) == 0
    out = capsys.readouterr().out
    assert "0/2 = 0% (0-66)" in out and "0/8 = 0%" in out
    meta, other = (json.loads((pathlib.Path(f) / "meta.json").read_text()) for f in folders)
    assert meta["identity"] == other["identity"]
    assert meta["identity"]["model"] == "random:qwen2" and len(meta["identity"]["weights"]) == 16
    assert meta["sizes"] == {"irrelevance": 8}
    figures = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert figures["categories"]["irrelevance"]["lenient"]["of"] == 8
    assert figures["categories"]["irrelevance"]["errors"] == {}
    assert "| irrelevance |" in (tmp_path / "b" / "summary.md").read_text()

    # Only what is missing is asked for.
    assert main(["eval", "bfcl", *common, f"--output={folders[0]}"]) == 0
    assert "irrelevance, what is left 6/6" in capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "a" / "results.jsonl").open()]
    others = [json.loads(line) for line in (tmp_path / "b" / "results.jsonl").open()]
    assert sorted(records, key=str) == sorted(others, key=str)

    error = refused(capsys, "bfcl", *common, "--temperature=1", f"--output={folders[0]}")
    assert "results of another sampling: {'temperature': 0.0" in error
    error = refused(capsys, "bfcl", "--model=random:llama", *common[1:], f"--output={folders[0]}")
    assert "results of another model: 'random:qwen2' there, 'random:llama' given" in error

    report = tmp_path / "compared.json"
    assert main(["eval", "compare", *folders, "--read=lenient,strict", f"--output={report}"]) == 0
    assert "They differ in: nothing." in capsys.readouterr().out
    assert json.loads(report.read_text())["pairs"]["irrelevance"]["neither"] == 8


@pytest.mark.slow
def test_a_run_is_measured_at_its_steps(capsys, tmp_path, fake_benchmark):
    run = tmp_path / "run"
    train = ["train", "--config=configs/debug.py", f"--workdir={run}", "--config.training.steps=1"]
    assert main(train) == 0
    common = [str(run), "--categories=irrelevance", "--limit=2", "--max_tokens=3", "--tensorboard"]
    for more in (["--step=0"], ["--step=1"], []):
        assert main(["eval", "bfcl", *common, *more, "--max_length=2048"]) == 0
    assert "RestoreError" not in capsys.readouterr().out
    folders = sorted(path.name for path in (run / "eval").iterdir())
    assert folders == ["bfcl-step000000", "bfcl-step000001"]
    before, after = (
        json.loads((run / "eval" / name / "meta.json").read_text())["identity"] for name in folders
    )
    assert (before["step"], after["step"]) == (0, 1)
    assert before["weights"] != after["weights"]
    assert list((run / "tensorboard" / "eval").iterdir())
    error = refused(capsys, "bfcl", *common, "--step=7", "--max_length=2048")
    assert "no checkpoint of step 7; there are: 1" in error
