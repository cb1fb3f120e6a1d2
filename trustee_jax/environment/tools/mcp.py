"""Tools of a live MCP server, which stays open over the run and is started again when it dies."""

import asyncio
import threading
import time
from collections.abc import Coroutine, Generator, Sequence
from typing import Any

from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.invocations import Invocation
from trustee_jax.environment.tools.backend import Answer, CallContext, invoke
from trustee_jax.errors import ConfigError
from trustee_jax.storage import Closing
from trustee_jax.toolsets.importing import ImportReport, normalise
from trustee_jax.toolsets.importing.candidates import Candidate, Item
from trustee_jax.toolsets.importing.mcp_server import (
    SECONDS,
    Server,
    cause,
    check_source,
    connect,
    no_server,
    without_tracebacks,
)
from trustee_jax.toolsets.tool import Tool, ToolError

# Seconds before a server is started again: doubled from one failure to the next.
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
# After so many seconds of service a failure counts as the first one.
_STABLE = 60.0
# Seconds in which a server says whether it is there, and leaves at the end of the run.
_PATIENCE = 10.0
_AWAY = {"error": "the tool's server has ended and is being started again; try again later"}


class McpServer(Closing):
    """A server with its client, in a thread and an event loop of their own.

    Attributes:
      tools: Those that can be offered, with the names that the server has for them.
      report: What was left out, and why.
    """

    def __init__(self, source: str, category: str, *, seconds: float = SECONDS):
        """Starts or calls the server, and asks for its tools.

        Args:
          source: The http(s) URL of the server, or the command line that starts it.
          category: Of all tools.
          seconds: How long a start may take.

        Raises:
          ConfigError: The server does not answer, or has no tool that can be offered.
        """
        self.tools: list[tuple[Tool, str]] = []
        self.report = ImportReport()
        self._source, self._category, self._seconds = source, category, seconds
        self._server: Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        try:
            check_source(source)
            self._thread.start()
            self._run(self._start())
            if not self.tools:
                why = "; ".join(self.report.dropped) or "it lists none"
                raise ToolError(source, [f"the server has no tool that can be used: {why}"])
        except ToolError as error:
            self.close()
            raise ConfigError("tools", source, error.problems[0]) from error

    def call(self, name: str, arguments: dict[str, Any], deadline: float) -> Any:
        """Calls a tool of the server and waits; for other threads than the loop's.

        Args:
          name: As the server has it.
          arguments: Of the call.
          deadline: Seconds until the server is told that nobody waits any more.

        Returns:
          The structured content where there is one, else the texts; {"error": ...} if the tool
          says so, or the server is not there.

        Raises:
          Exception: Whatever the client has against the answer.
        """
        return self._run(self._call(name, arguments, deadline))

    def close(self) -> None:
        """Ends the server."""
        if self._thread.is_alive():
            self._run(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self) -> None:
        started: asyncio.Future[None] = self._loop.create_future()
        self._task = asyncio.create_task(self._serve(started))
        await started

    async def _stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task], timeout=_PATIENCE)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()  # calls that nobody waits for

    async def _serve(self, started: asyncio.Future[None]) -> None:
        """Keeps the server open; a start that fails is fatal only when it is the first one."""
        wait = _FIRST_WAIT
        with without_tracebacks():
            while True:
                start = time.monotonic()
                try:
                    await self._serve_once(started)
                # Transports raise what ended their own tasks, cancellations in groups included.
                except BaseException as error:
                    if not started.done():
                        started.set_exception(no_server(self._source, error))
                        return
                    if self._task.cancelling():
                        raise
                finally:
                    self._server = None
                wait = _FIRST_WAIT if time.monotonic() - start > _STABLE else wait
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    async def _serve_once(self, started: asyncio.Future[None]) -> None:
        """Keeps the server open until it ends, with an exception or without."""
        async with connect(self._source, self._seconds) as server:
            items = await server.items(self._category)
            server.keep()
            if not started.done():
                self._read(items)
                started.set_result(None)
            self._server = server
            await server.ended.wait()

    def _read(self, items: Sequence[Item]) -> None:
        names: dict[str, str] = {}
        for item in items:
            if isinstance(item, Candidate) and item.name in names.values():
                continue  # a name that is listed twice
            # One at a time, because a name may be made valid.
            for tool in normalise([item], self.report, taken=names):
                assert isinstance(item, Candidate)
                names[tool.name] = item.name
                self.tools.append((tool, item.name))

    async def _call(self, name: str, arguments: dict[str, Any], deadline: float) -> Any:
        from mcp import types

        server = self._server
        if server is None:
            return _AWAY
        parameters = types.CallToolRequestParams(name=name, arguments=arguments)
        try:
            async with asyncio.timeout(deadline):
                # Not `client.call_tool`, which asks for the list again to check its own schemas.
                result = await server.client.session.send_request(
                    types.CallToolRequest(params=parameters), types.CallToolResult, deadline + 1
                )
        except TimeoutError:
            return {"error": f"timed out after {deadline:g} s"}
        except Exception as error:
            await self._check(server)
            return _AWAY if self._server is not server else {"error": cause(error)}
        texts = [block.text for block in result.content if block.type == "text"]
        if result.is_error:
            return {"error": "\n".join(texts) or "the tool failed"}
        if result.structured_content is not None:
            return result.structured_content
        return "\n".join(texts)

    async def _check(self, server: Server) -> None:
        """Finds out whether a server that refused a call, and our session with it, still exist."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await server.client.list_tools()
        except TimeoutError:
            return  # it is busy
        except Exception:
            server.ended.set()
            self._server = None


class McpTool:
    """A tool of a server."""

    def __init__(self, server: McpServer, name: str, deadline: float):
        """Takes the server, its name for the tool, and the seconds that a call may take."""
        self._server = server
        self._name = name
        self._deadline = deadline

    def answer(self, call: CallRecord, context: CallContext) -> Generator[Invocation, Any, Answer]:
        """Coroutine that answers one call; see `ToolBackend`."""
        return (yield from invoke(self._call, call, self._deadline))

    def _call(self, arguments: dict[str, Any]) -> Any:
        return self._server.call(self._name, arguments, self._deadline)
