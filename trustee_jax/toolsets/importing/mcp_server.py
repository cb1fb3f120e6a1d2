"""The tools of a live MCP server, over stdio or streamable HTTP."""

import asyncio
import contextlib
import json
import logging
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

from trustee_jax.errors import one_line
from trustee_jax.text import without_surrogates
from trustee_jax.toolsets.importing.candidates import Candidate, Item, Refusal
from trustee_jax.toolsets.tool import ToolError

SECONDS = 60.0
# A server that always names a next page would never end.
_MOST_PAGES = 1000


def read_mcp(source: str, category: str, *, seconds: float = SECONDS) -> Iterator[Item]:
    """Starts or calls a server, asks for its tools and leaves; no tool is called.

    Names and schemas stay as the server has them. What is wrong with a tool costs that tool alone.

    Args:
      source: The http(s) URL of the server, or the command line that starts it; of the
        environment it sees only the basics (PATH, HOME, ...): write `env KEY=... command` for
        more.
      category: Of all functions; "" takes the name that the server gives itself.
      seconds: How long start, handshake and each answer may take.

    Raises:
      ToolError: The `mcp` package is missing, or the server cannot be started or reached, or it
        does not answer as an MCP server.
    """

    async def read() -> list[Item]:
        async with connect(source, seconds) as server:
            return await server.items(category)

    check_source(source)
    try:
        with without_tracebacks():
            items = asyncio.run(read())
    except Exception as error:  # the client raises what its transports do, in groups
        raise no_server(source, error) from error
    yield from items


def check_source(source: str) -> None:
    """Checks what can be told before anything is started.

    Raises:
      ToolError: The `mcp` package is missing, or the source is no command line.
    """
    try:
        import mcp  # noqa: F401
    except ImportError as error:
        fix = "the package `mcp` is not installed; pip install 'trustee-jax[mcp]'"
        raise ToolError(source, [fix]) from error
    try:
        words = shlex.split(source)
    except ValueError as error:
        raise ToolError(source, [f"not a command line: {error}; correct it"]) from error
    if not words:
        raise ToolError(source, ["no command; give one that starts a server, or a URL"])


def no_server(source: str, error: BaseException) -> ToolError:
    """The error for a server that could not be asked for its tools."""
    problem = f"no MCP server answers: {cause(error)}; check the command or URL"
    return ToolError(source, [problem])


class Server:
    """A server that answers.

    Attributes:
      client: The official client, connected.
      ended: Is set when the server's messages have come to an end.
    """

    def __init__(self, client: Any, name: str, tap: "_Tap", limit: asyncio.Timeout):
        """Takes the client, its source's own name, the stream that it reads and the time it has."""
        self.client = client
        self.ended = tap.ended
        self._name = name
        self._tap = tap
        self._limit = limit

    def keep(self) -> None:
        """Lets it stay open without a limit of time."""
        self._limit.reschedule(None)

    async def items(self, category: str) -> list[Item]:
        """Asks for all tools, once; see `read_mcp`."""
        cursor: str | None = None
        read: set[str | None] = set()
        while cursor not in read and len(read) < _MOST_PAGES:
            read.add(cursor)
            page = await self.client.list_tools(cursor=cursor)
            cursor = page.next_cursor or None  # some name the end so: ""
        self._tap.listens = False
        info = self.client.server_info
        provider = info.name if info else self._name
        items = []
        for index, tool in enumerate(self._tap.tools):
            name = tool.get("name") if isinstance(tool, dict) else None
            place = f"{provider} {name if isinstance(name, str) else f'[{index}]'}"
            items.append(_item(tool, place, category or provider, provider))
        return items


@contextlib.asynccontextmanager
async def connect(source: str, seconds: float) -> AsyncIterator[Server]:
    """Starts or calls a server, for as long as the block runs.

    Args:
      source: As `read_mcp` takes it, checked.
      seconds: How long each answer may take, and the block unless `keep` is called.

    Raises:
      Exception: Whatever the transport or the client has against the server, often in groups; with
        a note where the server wrote what is no message.
    """
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if is_url(source):
        name, transport = urlsplit(source).hostname or "mcp", streamable_http_client(source)
    else:
        name, *words = shlex.split(source)
        transport = stdio_client(StdioServerParameters(command=name, args=words))
    tap = _Tap()
    client = Client(tap.tapped(transport), read_timeout_seconds=seconds)
    try:
        async with asyncio.timeout(seconds) as limit, client:
            yield Server(client, name, tap, limit)
    except Exception as error:
        if tap.unread:
            error.add_note(f"it wrote {tap.unread[:80]!r}, which is no message")
        raise


def is_url(source: str) -> bool:
    """Whether a source is the URL of a server, not a command that starts one."""
    return bool(re.match(r"https?://", source))


@contextlib.contextmanager
def without_tracebacks() -> Iterator[None]:
    """The client logs one for every line that is no message: many servers greet on stdout."""
    logger = logging.getLogger("mcp.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Tap:
    """The stream of a server's messages, with the tools taken out of every answer, unchecked.

    The client holds a page of tools against the protocol as a whole, and would refuse all of them
    for one that has a field of another type, be it one of no use here.

    Attributes:
      tools: What came.
      listens: Whether tools that come are still kept.
      unread: The last line that was no message.
      ended: Is set when no more can come.
    """

    def __init__(self) -> None:
        self.tools: list[Any] = []
        self.listens = True
        self.unread = ""
        self.ended = asyncio.Event()

    @contextlib.asynccontextmanager
    async def tapped(self, transport: Any) -> AsyncIterator[Any]:
        """The same transport, read through this stream."""
        async with transport as (self._stream, writer):
            yield self, writer

    async def receive(self) -> Any:
        import anyio

        try:
            item = await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self.ended.set()
            raise
        if isinstance(item, Exception) and (line := _line(item)):
            message = _message(line)
            item = message or item
            self.unread = self.unread if message else line
        result = getattr(getattr(item, "message", None), "result", None)
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            self.tools += result["tools"] if self.listens else []
            result["tools"] = []
        return item

    async def __anext__(self) -> Any:
        import anyio

        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    def __aiter__(self) -> "_Tap":
        return self

    async def __aenter__(self) -> "_Tap":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _line(error: Exception) -> str:
    """What the client could not read as a message, if that is known."""
    from pydantic import ValidationError

    line = error.errors()[0]["input"] if isinstance(error, ValidationError) else ""
    return line if isinstance(line, str) else json.dumps(line)


def _message(line: str) -> Any:
    """The message in a line with lone surrogates, which the client refuses, or None."""
    from mcp import types
    from mcp.shared.message import SessionMessage

    try:
        text = json.dumps(json.loads(line), ensure_ascii=False)
        clean = without_surrogates(text, "\ufffd")
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(clean, by_name=False))
    except (ValueError, RecursionError):
        return None


def _item(tool: Any, place: str, category: str, provider: str) -> Item:
    if not isinstance(tool, dict):
        return Refusal(place, "not a function", type(tool).__name__)
    schema = tool.get("inputSchema")
    if not isinstance(schema, dict):
        return Refusal(place, "no input schema")
    texts = (tool.get("description"), tool.get("title"))
    description = next((text for text in texts if isinstance(text, str) and text.strip()), "")
    return Candidate(tool.get("name", ""), description, schema, category, provider, place)


def cause(error: BaseException) -> str:
    """The innermost exception of a group, in a line, with its notes."""
    notes = list(getattr(error, "__notes__", ()))
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
        notes += getattr(error, "__notes__", ())
    return "; ".join([one_line(error, 200), *notes])
