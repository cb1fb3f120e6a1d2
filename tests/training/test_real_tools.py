"""`trustee train` with functions and a server among its tools, from the command line."""

import json
import pathlib
import subprocess
import sys

import jax
import pytest

from trustee_jax import run
from trustee_jax.config import parse
from trustee_jax.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
# The debug model calls find_thing and buy_thing.
FUNCTIONS = '''
def find_thing(id: str) -> dict:
    """Returns a thing.

    Args:
      id: Its number.
    """
    raise LookupError(f"nothing has the number {id}")
'''
SERVER = '''
from mcp.server.mcpserver import MCPServer

server = MCPServer("shop")

@server.tool()
def buy_thing(id: str) -> str:
    """Buys a thing."""
    return f"bought by the server: {id}"

server.run("stdio")
'''


def train(workdir, *options):
    command = [sys.executable, "-m", "trustee_jax", "train", f"--workdir={workdir}"]
    command += [f"--config={ROOT / 'configs' / 'debug.py'}", "--config.training.steps=1", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)


def test_a_run_with_a_function_and_a_server(tmp_path: pathlib.Path) -> None:
    functions, program = tmp_path / "mine.py", tmp_path / "server.py"
    functions.write_text(FUNCTIONS)
    program.write_text(SERVER)
    done = train(
        tmp_path / "run",
        f"--config.tools={functions},mcp:{sys.executable} {program}",
        # Long enough for a random model to end its message, so that its calls are answered.
        "--config.environment.policy.max_tokens=320",
        "--config.training.refill_groups=0",
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()
    episodes = [json.loads(line) for line in lines]
    assert len(episodes) >= 12 and all(episode["valid"] for episode in episodes)
    calls = [call for episode in episodes for call in episode["calls"] if not call["problem"]]
    answers = {
        name: [c["answer"] for c in calls if c["name"] == name and c["answer"] is not None]
        for name in ("find_thing", "buy_thing")
    }
    beginnings = {
        "find_thing": ('{"error":"LookupError: nothing has the number', '{"error":"not executed'),
        "buy_thing": ('{"result":"bought by the server: ', '{"error":"not executed'),
    }
    for name, begin in beginnings.items():
        assert any(answer.startswith(begin[0]) for answer in answers[name]), answers
        assert all(answer.startswith(begin) for answer in answers[name]), answers
    # Nothing was simulated: there are no records, and no tool was asked of the model.
    assert all(episode["world"] is None for episode in episodes)
    assert sum(episode["counts"]["executed_calls"] for episode in episodes) > 0


@pytest.mark.parametrize("tools", ["travel=gone.py", "starter,mcp:no_such_program"])
def test_several_hosts_are_refused_before_anything_is_opened(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tools: str
) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match="run on one host, or simulate them") as caught:
        run.train(parse({"tools": tools}), tmp_path / "run")
    assert caught.value.field == "tools" and not (tmp_path / "run").exists()


@pytest.mark.parametrize("tools", ["gone.py", "mcp:no_such_program"])
def test_tools_that_cannot_be_had_end_it_before_any_model_is_read(
    tmp_path: pathlib.Path, tools: str
) -> None:
    done = train(tmp_path / "run", f"--config.tools={tools}", "--config.model.source=gone")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "tools = " in line]
    assert tools.removeprefix("mcp:") in line and "check" in line
    assert "Traceback" not in done.stderr and "gone:" not in done.stderr
    assert not (tmp_path / "run" / "config.json").exists()
