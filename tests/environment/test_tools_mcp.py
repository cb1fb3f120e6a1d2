"""Tools of live MCP servers, which the official package runs here: answers, deaths, restarts."""

import asyncio
import contextlib
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from trustee_jax.environment import run
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.tools import mcp
from trustee_jax.environment.tools.backend import CallContext
from trustee_jax.environment.tools.mcp import McpServer, McpTool
from trustee_jax.errors import ConfigError
from trustee_jax.toolsets.importing.candidates import Candidate

SERVER = '''
import os, sys, time
from mcp.server.mcpserver import MCPServer

server = MCPServer("travel desk")
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")

@server.tool(name="get.time")
def get_time(city: str) -> str:
    """Tells the time."""
    return f"12:00 in {city}"

@server.tool(structured_output=False)
def plain(city: str) -> str:
    """Tells a text that is JSON."""
    return '{"city": "' + city + '"}'

@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("nobody hears this")

@server.tool()
def nap(seconds: float) -> str:
    """Sleeps."""
    time.sleep(seconds)
    return "slept"

@server.tool()
def mute() -> str:
    return "has no description"

if sys.argv[2] == "http":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[3]))
else:
    server.run("stdio")
'''


class Desk:
    """The program, and the processes that it ran as."""

    def __init__(self, folder: pathlib.Path):
        self.program, self.pids = folder / "server.py", folder / "pids"
        self.program.write_text(SERVER)

    @property
    def command(self) -> str:
        return f"{sys.executable} {self.program} {self.pids} stdio"

    def started(self) -> list[int]:
        return [int(line) for line in self.pids.read_text().split()]

    def kill(self) -> None:
        os.kill(self.started()[-1], signal.SIGKILL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("mcp"))


@pytest.fixture(scope="module")
def server(desk):
    with McpServer(desk.command, "user") as server:
        yield server
    for pid in desk.started():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def answer(server, tool, arguments, deadline=20.0):
    names = dict((tool.name, name) for tool, name in server.tools)
    backend = McpTool(server, names[tool], deadline)
    call = CallRecord(0, "call_0", tool, arguments)
    (found,) = run([backend.answer(call, CallContext(None, (0,), ()))], {})
    return json.loads(found) if isinstance(found, str) else found


def until_it_answers(server, **more):
    """The errors of a server's absence."""
    errors, end = [], time.monotonic() + 60
    while (found := answer(server, "get_time", {"city": "Bern"}, **more)).keys() == {"error"}:
        errors.append(found["error"])
        assert time.monotonic() < end, errors
        time.sleep(0.1)
    assert found == {"result": "12:00 in Bern"}
    return errors


def test_tools_of_a_server(server):
    tools = {tool.name: (tool, name) for tool, name in server.tools}
    # A name that is not valid is made so; the server is called by its own.
    assert list(tools) == ["get_time", "plain", "fail", "nap"]
    assert tools["get_time"][1] == "get.time"
    assert tools["get_time"][0].category == "user"
    assert tools["get_time"][0].parameters["required"] == ["city"]
    assert server.report.dropped == {"no description": 1}


def test_answers(server):
    assert answer(server, "get_time", {"city": "Bern"}) == {"result": "12:00 in Bern"}
    assert answer(server, "plain", {"city": "Bern"}) == {"city": "Bern"}
    failed = answer(server, "fail", {})
    assert failed.keys() == {"error"} and "fail" in failed["error"]
    assert "city" in answer(server, "get_time", {})["error"]
    assert answer(server, "nap", {"seconds": 5}, 0.3) == {"error": "timed out after 0.3 s"}


def test_calls_of_many_threads_are_served_at_once(server):
    """A tool of the server that sleeps does not keep the others waiting."""
    found = []
    sleeper = threading.Thread(
        target=lambda: found.append(server.call("nap", {"seconds": 2.0}, 20.0))
    )
    sleeper.start()
    time.sleep(0.3)
    assert server.call("get.time", {"city": "Bern"}, 20.0) == {"result": "12:00 in Bern"}
    assert not found
    sleeper.join()
    assert found == [{"result": "slept"}]


def test_errors_of_calls_leave_nothing_behind(server):
    """After each the server is asked whether it is there, by a list that nobody needs."""
    tap = server._server._tap
    before = len(tap.tools)
    assert before == 5
    for _ in range(3):
        server._run(server._check(server._server))
    assert len(tap.tools) == before
    assert answer(server, "plain", {"city": "Bern"}) == {"city": "Bern"}


def test_a_server_that_is_killed_is_started_again(server, desk):
    before = len(desk.started())
    desk.kill()
    errors = until_it_answers(server)
    assert set(errors) <= {mcp._AWAY["error"]}
    assert len(desk.started()) == before + 1


def test_the_call_under_way_when_it_is_killed_is_an_error(server, desk):
    found = []
    call = threading.Thread(target=lambda: found.append(server.call("nap", {"seconds": 30}, 40.0)))
    call.start()
    time.sleep(0.5)
    desk.kill()
    call.join(20)
    assert found == [mcp._AWAY]
    until_it_answers(server)


def test_one_that_does_not_come_back_is_tried_less_and_less_often(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(mcp, "_FIRST_WAIT", 0.05)
    waits = []
    sleep = mcp.asyncio.sleep

    async def noted(seconds, *rest):
        waits.append(seconds)
        await sleep(seconds, *rest)

    own = Desk(tmp_path)
    with McpServer(own.command, "user") as server:
        monkeypatch.setattr(mcp.asyncio, "sleep", noted)
        hidden = own.program.rename(tmp_path / "gone.py")
        own.kill()
        end = time.monotonic() + 60
        while [w for w in waits if w >= 0.05][:2] != [0.05, 0.1]:
            assert time.monotonic() < end, waits
            assert answer(server, "get_time", {"city": "Bern"}) == mcp._AWAY
            time.sleep(0.05)
        hidden.rename(own.program)
        until_it_answers(server)


def test_over_http_a_server_that_was_restarted_is_found_again(desk, tmp_path):
    own = Desk(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def start():
        command = [sys.executable, own.program, own.pids, "http", str(port)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return process
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)

    process = start()
    try:
        with McpServer(f"http://127.0.0.1:{port}/mcp", "user") as server:
            assert answer(server, "get_time", {"city": "Bern"}) == {"result": "12:00 in Bern"}
            process.kill()
            process.wait(30)
            assert answer(server, "get_time", {"city": "Bern"}).keys() == {"error"}
            process = start()
            until_it_answers(server, deadline=5.0)
    finally:
        process.kill()
        process.wait(30)


class Sessions(http.server.BaseHTTPRequestHandler):
    """A server of an older protocol, whose sessions are lost when `number` changes."""

    number = 0

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        session = f"s{self.number}"
        if message["method"] == "initialize":
            info = {"name": "old", "version": "1"}
            version = message["params"]["protocolVersion"]
            result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        elif message["method"] == "tools/list":
            schema = {"type": "object", "properties": {}}
            tool = {"name": "get_time", "description": "Tells it.", "inputSchema": schema}
            result = {"tools": [tool]}
        else:
            result = {"content": [{"type": "text", "text": session}]}
        known = message["method"] == "initialize" or self.headers["mcp-session-id"] == session
        body = b""
        if known and "id" in message:
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
        self.send_response((200 if body else 202) if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("mcp-session-id", session)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_error(405)

    do_DELETE = do_GET

    def log_message(self, *_):
        pass


def test_a_lost_session_is_opened_anew():
    """The server was restarted, or forgot us, while nobody called."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sessions) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        with McpServer(f"http://127.0.0.1:{serving.server_port}/mcp", "user") as server:
            assert answer(server, "get_time", {}) == "s0"
            Sessions.number = 1
            assert answer(server, "get_time", {}) == mcp._AWAY
            end = time.monotonic() + 30
            while answer(server, "get_time", {}) != "s1":
                assert time.monotonic() < end
                time.sleep(0.1)
        serving.shutdown()


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError("away"),
        BaseExceptionGroup("of a transport", [asyncio.CancelledError("away")]),
        SystemExit("away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_ends_a_connection_is_heard(monkeypatch, error):
    """An error at the first start, which would hang if nobody heard of it; else a new start."""
    tool = Candidate("get_time", "Tells it.", {"type": "object"}, "user", "old", "old get_time")
    ends = [error]
    again = threading.Event()

    class Connected:
        def __init__(self):
            self.ended = asyncio.Event()
            self.ended.set()

        async def items(self, category):
            return [tool]

        def keep(self):
            if not ends:
                again.set()

    @contextlib.asynccontextmanager
    async def connect(source, seconds):
        if first:
            raise ends.pop()
        yield Connected()
        if ends:
            raise ends.pop()

    def start():
        try:
            found.append(McpServer("old", "user"))
        except ConfigError as refusal:
            found.append(str(refusal))

    monkeypatch.setattr(mcp, "connect", connect)
    monkeypatch.setattr(mcp, "_FIRST_WAIT", 0.01)
    for first in (True, False):
        found, ends = [], [error]
        starting = threading.Thread(target=start, daemon=True)
        starting.start()
        starting.join(10)
        if first:
            assert "no MCP server answers" in found[0] and "away" in found[0]
    assert again.wait(10)
    found[0].close()


def test_a_server_without_a_usable_tool_is_an_error(tmp_path):
    program = tmp_path / "server.py"
    program.write_text(
        "from mcp.server.mcpserver import MCPServer\n"
        "server = MCPServer('empty')\n"
        "@server.tool()\n"
        "def mute() -> str: return ''\n"
        "server.run('stdio')\n"
    )
    with pytest.raises(ConfigError, match="no tool that can be used: no description"):
        McpServer(f"{sys.executable} {program}", "user")
