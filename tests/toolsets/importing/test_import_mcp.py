"""The tools of live MCP servers, which the official package runs here."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import Tool, ToolError, check_arguments
from trustee_jax.toolsets.importing import ImportReport, normalise, read
from trustee_jax.toolsets.importing.mcp_server import read_mcp

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


# Answers without any package, on stdio or HTTP, with the pages of tools that its file holds.
BARE = """
import http.server, json, sys

PAGES = json.load(open(sys.argv[1]))

def answer(message):
    head = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "initialize":
        version = message["params"]["protocolVersion"]
        server = {"name": "odd", "version": "1"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    elif message["method"] == "tools/list":
        result = PAGES[int(message.get("params", {}).get("cursor") or 0)]
    else:
        return head | {"error": {"code": -32601, "message": "no such method"}}
    return head | {"result": result}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps(answer(message)).encode() if "id" in message else b""
        self.send_response(200 if body else 202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

if len(sys.argv) > 2:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        print(json.dumps(answer(message)), flush=True)
"""
TEXT = {"type": "object", "properties": {"who": {"type": "string"}}}


def entry(name: Any, **more: Any) -> dict[str, Any]:
    fields = {"name": name, "description": f"Does {name}.", "inputSchema": TEXT, **more}
    return {key: value for key, value in fields.items() if value is not ...}


@pytest.fixture(params=["stdio", "http"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Makes a source of pages of tools."""
    program, data = tmp_path / "bare.py", tmp_path / "pages.json"
    program.write_text(BARE)
    started: list[subprocess.Popen[str]] = []

    def serve(*pages: dict[str, Any]) -> str:
        data.write_text(json.dumps(pages))
        if request.param == "stdio":
            return f"{sys.executable} {program} {data}"
        command = [sys.executable, str(program), str(data), "http"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{process.stdout.readline().strip()}/mcp"

    yield serve
    for process in started:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def imported(source: str) -> tuple[dict[str, Tool], ImportReport]:
    report = ImportReport()
    tools = {tool.name: tool for tool in normalise(read("mcp", source), report)}
    assert report.read == report.kept + report.dropped.total()
    return tools, report


def test_what_is_wrong_with_a_tool_costs_that_tool_alone(serve: Any) -> None:
    draft_07 = {"$schema": "http://json-schema.org/draft-07/schema#"}
    first = [
        entry("area", outputSchema=draft_07),
        entry("hints", annotations="none", icons=3, _meta=[], execution=1, unheard_of={}),
        entry("titled", description=["x"], title="Tells a title."),
        entry(..., description="Has no name."),
        entry(7),
        entry("no_schema", inputSchema=...),
        entry("list_schema", inputSchema=[TEXT]),
        entry("wrong_schema", inputSchema={"type": "object", "properties": {"a": {"type": "x"}}}),
        entry("mute", description=None),
        "a text",
        None,
    ]
    last = [entry("greet", outputSchema="text")]
    tools, report = imported(
        serve({"tools": first, "nextCursor": "1"}, {"tools": last, "nextCursor": None})
    )

    assert list(tools) == ["area", "hints", "titled", "greet"]
    assert all(tool.parameters == TEXT for tool in tools.values())
    assert tools["titled"].description == "Tells a title."
    assert report.dropped == {
        "no name": 2,
        "no input schema": 2,
        "schema not valid": 1,
        "no description": 1,
        "not a function": 2,
    }
    assert report.examples["no input schema"] == ["odd no_schema", "odd list_schema"]


@pytest.mark.parametrize("cursor", ["", "0", "1"])
def test_pages_end(serve: Any, cursor: str) -> None:
    """Also where the last one names an empty next page, the first, or itself."""
    pages = (
        {"tools": [entry("a")], "nextCursor": "1"},
        {"tools": [entry("b")], "nextCursor": cursor},
    )
    tools, report = imported(serve(*pages))
    assert list(tools) == ["a", "b"]
    assert report.dropped.total() == report.dropped["same as an earlier function"]
    assert report.read == 2 + (cursor == "0")


def test_schemas_that_other_clients_know_are_kept(serve: Any) -> None:
    draft = {"$schema": "http://json-schema.org/draft-07/schema#"}
    pattern = {"type": "string", "pattern": "^[\\p{L}\\p{N} ]{1,40}$"}
    pin = {"type": "array", "items": [{"type": "number"}] * 2, "minItems": 2, "maxItems": 2}
    schemas = {
        "ping": {"type": "object"},
        "note_write": {"type": "object", "properties": {"title": pattern}, **draft},
        "map_pin": {"type": "object", "properties": {"at": pin}, "required": ["at"], **draft},
        "lookup": {"type": "object", "properties": {"ids[]": {}}, "required": ["ids[]"]},
    }
    tools, report = imported(
        serve({"tools": [entry(name, inputSchema=s) for name, s in schemas.items()]})
    )

    assert list(tools) == list(schemas)
    assert tools["ping"].parameters == {"type": "object"}
    title = tools["note_write"]
    assert check_arguments(title, {"title": "Größe 7"}) == []
    assert "must match the pattern" in check_arguments(title, {"title": "a/b"})[0]
    assert check_arguments(tools["map_pin"], {"at": [1, 2.5]}) == []
    assert check_arguments(tools["map_pin"], {"at": [1, "x"]}) == [
        "parameter 'at[1]' must be a number, got 'x'"
    ]
    assert tools["lookup"].parameters == {
        "type": "object",
        "properties": {"ids": {"description": "ids[]"}},
        "required": ["ids"],
    }
    assert report.changed == {
        "items of an older draft written as prefixItems": 1,
        "parameter renamed": 1,
    }


def test_a_lone_surrogate_takes_no_server_down(tmp_path: Path, capfd: Any) -> None:
    """Nor does a greeting on stdout, which is no message; neither prints a traceback."""
    program, data = tmp_path / "bare.py", tmp_path / "pages.json"
    program.write_text(BARE.replace("for line in sys", "print('Server ready!')\nfor line in sys"))
    pages = [{"tools": [entry("cut", description="Cuts \ud800 here."), entry("greet")]}]
    data.write_text(json.dumps(pages))
    started = time.monotonic()
    tools, _ = imported(f"{sys.executable} {program} {data}")
    assert {name: tool.description for name, tool in tools.items()} == {
        "cut": "Cuts \ufffd here.",
        "greet": "Does greet.",
    }
    assert time.monotonic() - started < 50
    assert "Traceback" not in "".join(capfd.readouterr())


def test_what_is_no_message_is_told_where_no_server_answers() -> None:
    source = f"""{sys.executable} -uc 'import time; print("ready"); time.sleep(600)'"""
    with pytest.raises(ToolError, match="TimeoutError; it wrote 'ready', which is no message"):
        list(read_mcp(source, "", seconds=2.0))


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
