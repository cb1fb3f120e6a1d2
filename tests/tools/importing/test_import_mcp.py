"""The tools of live MCP servers, which the official package runs here."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trustee_jax.tools import Tool, ToolError, check_arguments
from trustee_jax.tools.importing import ImportReport, normalise, read
from trustee_jax.tools.importing.mcp_server import read_mcp

SERVER = '''
import sys
from typing import Literal
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field

class Stop(BaseModel):
    city: str
    nights: int = Field(ge=1, le=30)

server = MCPServer("travel desk")

@server.tool()
def plan_trip(stops: list[Stop], style: Literal["cheap", "fast"] = "fast") -> str:
    """Plans a trip through several cities."""
    raise AssertionError("no tool may be called by an import")

@server.tool(name="get-time", title="Tells the time")
def get_time() -> str:
    return ""

@server.tool(name="nameless")
def nameless() -> str:
    return ""

if sys.argv[1] == "http":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
else:
    server.run("stdio")
'''


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mcp") / "server.py"
    file.write_text(SERVER)
    return file


@pytest.fixture(scope="module")
def url(program: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(program), "http", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def check(source: str) -> None:
    report = ImportReport()
    tools = {tool.name: tool for tool in normalise(read("mcp", source), report)}
    assert report.read == 3 == report.kept + report.dropped.total()
    assert list(tools) == ["plan_trip", "get-time"]
    assert report.dropped == {"no description": 1}
    trip: Tool = tools["plan_trip"]
    assert trip.description == "Plans a trip through several cities."
    assert trip.category == "travel desk"
    assert trip.parameters["required"] == ["stops"]
    assert "$ref" in str(trip.parameters)  # its own schema, not ours
    assert check_arguments(trip, {"stops": [{"city": "Bern", "nights": 2}]}) == []
    assert check_arguments(trip, {"stops": [{"city": "Bern", "nights": 0}], "style": "slow"}) == [
        "parameter 'stops[0].nights' must be at least 1, got 0",
        "parameter 'style' must be one of 'cheap', 'fast'; got 'slow'",
    ]
    assert tools["get-time"].description == "Tells the time"


def test_over_stdio(program: Path) -> None:
    check(f"{sys.executable} {program} stdio")


def test_over_http(url: str) -> None:
    check(url)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no-such-command --x", "no MCP server answers: FileNotFoundError"),
        (f"{sys.executable} -c pass", "no MCP server answers"),
        ("http://127.0.0.1:9/mcp", "no MCP server answers"),
        ("'half", "not a command line"),
        ("  ", "no command"),
    ],
)
def test_what_is_no_server_is_one_clear_error(source: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        list(read("mcp", source))


def test_a_silent_server_ends_in_time() -> None:
    with pytest.raises(ToolError, match="no MCP server answers: TimeoutError"):
        list(read_mcp(f"{sys.executable} -c 'import time; time.sleep(600)'", "", seconds=1.0))
