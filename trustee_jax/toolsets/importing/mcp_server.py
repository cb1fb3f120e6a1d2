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
    try:
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client
        from mcp.client.streamable_http import streamable_http_client
    except ImportError as error:
        fix = "the package `mcp` is not installed; pip install 'trustee-jax[mcp]'"
        raise ToolError(source, [fix]) from error

    is_url = bool(re.match(r"https?://", source))
    if is_url:
        server: Any = source
        named = urlsplit(source).hostname or "mcp"
    else:
        try:
            words = shlex.split(source)
        except ValueError as error:
            raise ToolError(source, [f"not a command line: {error}; correct it"]) from error
        if not words:
            raise ToolError(source, ["no command; give one that starts a server, or a URL"])
        server = StdioServerParameters(command=words[0], args=words[1:])
        named = words[0]

    tools: list[Any] = []
    unread: list[str] = []

    async def listed() -> str:
        connect = streamable_http_client if is_url else stdio_client
        transport = _tapped(connect, server, tools, unread)
        client = Client(transport, read_timeout_seconds=seconds)
        async with asyncio.timeout(seconds), client:
            cursor: str | None = None
            read: set[str | None] = set()
            while cursor not in read and len(read) < _MOST_PAGES:
                read.add(cursor)
                page = await client.list_tools(cursor=cursor)
                cursor = page.next_cursor or None  # some name the end so: ""
            return client.server_info.name if client.server_info else named

    try:
        with _without_tracebacks():
            provider = asyncio.run(listed())
    except Exception as error:  # the client raises what its transports do, in groups
        wrote = f"; it wrote {unread[-1][:80]!r}, which is no message" if unread else ""
        problem = f"no MCP server answers: {_cause(error)}{wrote}; check the command or URL"
        raise ToolError(source, [problem]) from error
    for index, tool in enumerate(tools):
        name = tool.get("name") if isinstance(tool, dict) else None
        place = f"{provider} {name if isinstance(name, str) else f'[{index}]'}"
        yield _item(tool, place, category or provider, provider)


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """The client logs one for every line that is no message: many servers greet on stdout."""
    logger = logging.getLogger("mcp.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.asynccontextmanager
async def _tapped(
    connect: Any, server: Any, tools: list[Any], unread: list[str]
) -> AsyncIterator[Any]:
    """A transport of the client that takes the tools out of every answer, unchecked.

    The client holds a page of tools against the protocol as a whole, and would refuse all of them
    for one that has a field of another type, be it one of no use here.
    """
    async with connect(server) as (reader, writer):
        yield _Tap(reader, tools, unread), writer


class _Tap:
    """The stream of a server's messages."""

    def __init__(self, stream: Any, tools: list[Any], unread: list[str]):
        self._stream = stream
        self._tools = tools
        self._unread = unread

    async def receive(self) -> Any:
        item = await self._stream.receive()
        if isinstance(item, Exception) and (line := _line(item)):
            message = _message(line)
            item = message or item
            self._unread += [] if message else [line]
        result = getattr(getattr(item, "message", None), "result", None)
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            self._tools += result["tools"]
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


def _cause(error: BaseException) -> str:
    """The innermost exception of a group, in a line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
