import json

import pytest

from trustee_jax.audit.recorded import GOLD
from trustee_jax.commands.main import main

SMALL = "random:qwen2"


def refused(capsys, *arguments):
    assert main(["audit", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    return error


def test_help(capsys):
    assert main(["audit", "--help"]) == 0
    out, _ = capsys.readouterr()
    for flag in ("[RUN]", "--simulator", "--clean", "--modes", "--faults", "--output"):
        assert flag in out


@pytest.mark.parametrize(
    "arguments, what",
    [
        ((), "name a model: --simulator"),
        (("--gold",), "name a model: --simulator"),
        ((f"--simulator={SMALL}", "--modes=fast"), "--modes: there is no 'fast'; there are: reas"),
        ((f"--simulator={SMALL}", "--modes="), "--modes: "),
        ((f"--simulator={SMALL}", "--faults=lies"), "--faults: there is no 'lies'"),
        ((f"--simulator={SMALL}", "--limit=0"), "limit"),
        ((f"--simulator={SMALL}", "--episodes=/none.jsonl"), "/none.jsonl: no such file"),
        (("/none",), "/none/episodes.jsonl: no such file"),
        (("/none", "--gold"), "/none holds no run"),
        (("--simulator=/none.gguf",), "/none.gguf"),
        (("--config=/none.py",), "config file /none.py does not exist"),
        (("--config=configs/debug.py", "--config.engine.slot=3"), "slot"),
        (("--simulator=a", "run", "word"), "unexpected 'word'"),
        (("--workdir=run",), "unknown flag --workdir; usage: trustee audit [RUN]"),
    ],
)
def test_wrong_input_is_one_error(capsys, arguments, what):
    error = refused(capsys, *arguments)
    assert what in error
    assert "Traceback" not in error


def test_an_unfinished_file_is_an_error_with_its_line(capsys, tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps({"ended": "user"}) + "\n")
    error = refused(capsys, f"--simulator={SMALL}", f"--clean={path}")
    assert f"{path}, line 1: this episode lacks the field 'task'" in error


@pytest.mark.slow
def test_a_whole_audit_of_a_tiny_model(capsys, tmp_path):
    output = tmp_path / "audit.json"
    hand_picked = tmp_path / "picked.jsonl"
    hand_picked.write_text("".join(GOLD.read_text(encoding="utf-8").splitlines(True)[1:2]))
    arguments = (
        "audit",
        "--config=configs/debug.py",
        # A byte is a token here.
        "--config.engine.max_length=4096",
        "--config.learner.row_length=4096",
        f"--clean={hand_picked}",
        "--modes=logprobs",
        "--faults=dropped_call",
        f"--output={output}",
    )
    assert main(arguments) == 0
    report = json.loads(output.read_text())
    assert report["model"] == "random:qwen3+calls"
    fault = report["modes"]["logprobs"]["faults"]["dropped_call"]
    assert fault["model"]["of"] == 1
    assert fault["with_vetoes"]["count"] == 1
    assert report["modes"]["logprobs"]["calibration"]["count"] == 7
    assert "dropped_call" in capsys.readouterr().out
