"""The tools of a live MCP server, over stdio or streamable HTTP."""

import asyncio
import re
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from trustee_jax.tools.importing.candidates import Candidate, Item, Refusal
from trustee_jax.tools.tool import ToolError

SECONDS = 60.0
# A server that always names a next page would never end.
_MOST_PAGES = 1000


def read_mcp(source: str, category: str, *, seconds: float = SECONDS) -> Iterator[Item]:
    """Starts or calls a server, asks for its tools and leaves; no tool is called.

    Names and schemas stay as the server has them (but for "$schema").

    Args:
      source: the http(s) URL of the server, or the command line that starts it; of the
        environment it sees only the basics (PATH, HOME, ...): write `env KEY=... command` for
        more.
      category: of all functions; "" takes the name that the server gives itself.
      seconds: how long start, handshake and each answer may take.

    Raises:
      ToolError: the `mcp` package is missing, or the server cannot be started or reached, or it
        does not answer as an MCP server.
    """
    try:
        from mcp import Client, StdioServerParameters
    except ImportError as error:
        fix = "the package `mcp` is not installed; pip install 'trustee-jax[mcp]'"
        raise ToolError(source, [fix]) from error

    if re.match(r"https?://", source):
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

    async def listed() -> tuple[str, list[Any]]:
        async with asyncio.timeout(seconds), Client(server, read_timeout_seconds=seconds) as client:
            name = client.server_info.name if client.server_info else named
            tools: list[Any] = []
            cursor = None
            for _ in range(_MOST_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    break
            return name, tools

    try:
        provider, tools = asyncio.run(listed())
    except Exception as error:  # the client raises what its transports do, in groups
        problem = f"no MCP server answers: {_cause(error)}; check the command or URL"
        raise ToolError(source, [problem]) from error
    for tool in tools:
        yield _item(tool, category or provider, provider)


def _item(tool: Any, category: str, provider: str) -> Item:
    place = f"{provider} {tool.name}"
    schema = tool.input_schema
    if not isinstance(schema, dict):
        return Refusal(place, "no input schema")
    schema = {key: value for key, value in schema.items() if key != "$schema"}
    description = tool.description or tool.title or ""
    return Candidate(tool.name, description, schema, category, provider, place)


def _cause(error: BaseException) -> str:
    """The innermost exception of a group, in a line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
