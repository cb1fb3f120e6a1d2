"""An exception as one line, wherever a user's program may raise one."""

import pytest

from trustee_jax.errors import ConfigError, one_line
from trustee_jax.plugins import load
from trustee_jax.rl import LearnerConfig
from trustee_jax.rl.objective import Objective
from trustee_jax.toolsets.importing.mcp_server import cause

MUTE = "class Mute(Exception):\n  def __str__(self): 1 / 0\n"


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n\n two"), "ValueError: one two"),
        (ValueError(" "), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (Mute(), "Mute"),
    ],
)
def test_an_exception_is_one_line(error, line):
    assert one_line(error) == line


def test_its_text_is_cut():
    assert one_line(ValueError("x" * 9), 4) == "ValueError: xxxx"


def test_one_whose_text_raises_is_told_by_its_name_everywhere(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"{MUTE}raise Mute\n")
    with pytest.raises(ConfigError, match="line 3: Mute: mend the file"):
        load(str(file), "tools")
    file.write_text(f"{MUTE}def mine(*given): raise Mute\n")
    with pytest.raises(ConfigError, match="it raised Mute"):
        Objective(LearnerConfig(loss=f"{file}:mine"))
    assert cause(ExceptionGroup("", [Mute()])) == "Mute"
