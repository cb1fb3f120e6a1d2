"""`trustee chat`, typed into."""

import io
import json
import pathlib

import pytest

from trustee_jax.commands import main as cli

DEBUG = str(pathlib.Path(__file__).parents[2] / "configs" / "debug.py")


def test_a_dialogue_with_a_verdict(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.stdin", io.StringIO("Buy r3, please.\n\n"))
    file = tmp_path / "said.json"
    words = ["chat", f"--config={DEBUG}", "--only=buy_thing", f"--output={file}"]
    assert cli.main([*words, "--config.environment.policy.max_tokens=24"]) == 0
    shown = capsys.readouterr().out
    said = json.loads(file.read_text())
    assert said["messages"][1] == {"role": "user", "content": "Buy r3, please."}
    assert [tool["name"] for tool in said["task"]["tools"]] == ["buy_thing"]
    for message in said["messages"][2:]:
        for call in message.get("tool_calls", ()):
            assert f"calls: {call['function']['name']}(" in shown
    assert ("reward" in shown) == (said["verdict"] is not None)


def test_nothing_said_is_no_dialogue(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert cli.main(["chat", f"--config={DEBUG}"]) == 0
    assert "reward" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["chat"], "a RUN"),
        (["chat", f"--config={DEBUG}", "--only=nothing"], "nothing"),
        (["chat", f"--config={DEBUG}", "--tools=missing.py"], "missing.py"),
    ],
)
def test_bad_input_is_one_line(capsys, words, fault):
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert fault in err and err.count("\n") == 1
