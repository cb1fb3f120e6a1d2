"""What a run's tools come from, and what answers their calls.

A new kind of backend is a class with an `answer` (see `ToolBackend`) and a row of `SOURCE_KINDS`.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trustee_jax.environment.config import EnvironmentConfig
from trustee_jax.environment.tools.backend import ToolBackend
from trustee_jax.environment.tools.mcp import McpServer, McpTool
from trustee_jax.environment.tools.python import PythonTool, read_functions
from trustee_jax.errors import ConfigError
from trustee_jax.paths import user_path
from trustee_jax.toolsets import Tool, ToolRepository, load_repository
from trustee_jax.toolsets.files import DEFAULT_CATEGORY
from trustee_jax.toolsets.importing.mcp_server import is_url
from trustee_jax.toolsets.repository import joined

_COMMAND = "mcp:"
RealTools = tuple[list[tuple[Tool, ToolBackend]], list[str]]
"""Tools with their backends, and notes for the user."""


@dataclass(eq=False)
class OfferedTools:
    """The tools of a run.

    Attributes:
      repository: All of them.
      backends: What answers the calls of a tool; the simulator, where there is none.
      notes: What a user should know of them, a line each.
    """

    repository: ToolRepository
    backends: dict[str, ToolBackend] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SourceKind:
    """A kind of source whose tools something real answers.

    Attributes:
      matches: Whether a source is of this kind.
      open: (source, category, options) -> a block in which there are the tools, each with its
        backend, and notes for the user.
    """

    matches: Callable[[str], Any]
    open: Callable[[str, str, EnvironmentConfig], contextlib.AbstractContextManager[RealTools]]


@contextlib.contextmanager
def _python(source: str, category: str, config: EnvironmentConfig) -> Iterator[RealTools]:
    functions = read_functions(source, category)
    yield [(tool, PythonTool(function, config.tool_deadline)) for tool, function in functions], []


@contextlib.contextmanager
def _mcp(source: str, category: str, config: EnvironmentConfig) -> Iterator[RealTools]:
    with McpServer(source.removeprefix(_COMMAND).strip(), category) as server:
        deadline = config.tool_deadline
        left_out = server.report.dropped.items()
        yield (
            [(tool, McpTool(server, name, deadline)) for tool, name in server.tools],
            [f"{source}: {count} tools left out: {reason}" for reason, count in left_out],
        )


SOURCE_KINDS: list[SourceKind] = [
    SourceKind(lambda source: source.startswith(_COMMAND) or is_url(source), _mcp),
    SourceKind(lambda source: source.endswith(".py"), _python),
]
"""All kinds of real tools, the first that matches counts; every other source is simulated."""


@contextlib.contextmanager
def open_tools(sources: str, config: EnvironmentConfig) -> Iterator[OfferedTools]:
    """Reads the tools of a run, and keeps open what answers them while the block runs.

    Args:
      sources: One or more, separated by commas; commas within quotes do not count. Each is a Python
        file of functions; `mcp:` and the command line that starts an MCP server; the http(s) URL
        of one; or tools to simulate, as `load_repository` takes them. Real tools are of the
        category "user", as those of a file without categories; `NAME=` before a source of them
        names another, because the tools of a task are all of one category.
      config: The deadline of a call.

    Raises:
      ConfigError: A Python file or a server cannot be used, or two sources have a tool of the same
        name.
      ToolError: Tools to simulate cannot be used.
    """
    listed = split_sources(sources)
    if not listed:
        raise ConfigError("tools", sources, "name one or more sources, separated by commas")
    backends: dict[str, ToolBackend] = {}
    notes: list[str] = []
    parts: list[tuple[str, ToolRepository]] = []
    with contextlib.ExitStack() as stack:
        for source in listed:
            category, place, kind = _parse(source)
            if kind is None:
                parts.append((source, load_repository(source)))
                continue
            tools, said = stack.enter_context(kind.open(place, category, config))
            backends.update((tool.name, backend) for tool, backend in tools)
            parts.append((source, ToolRepository(tool for tool, _ in tools)))
            notes += said
        _check_names(sources, parts)
        yield OfferedTools(joined([part for _, part in parts]), backends, notes)


def has_real_tools(sources: str) -> bool:
    """Whether any of the sources, as `open_tools` takes them, is of real tools."""
    return any(_parse(source)[2] for source in split_sources(sources))


def split_sources(sources: str) -> list[str]:
    """The sources of a list, as they stand in it; a file whose name has commas is one."""
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or no path at all
        if sources and user_path(sources).exists():
            return [sources]
    parts = re.findall(r"""(?:"[^"]*"|'[^']*'|[^,])+""", sources)
    return [part.strip() for part in parts if part.strip()]


def _parse(source: str) -> tuple[str, str, SourceKind | None]:
    """A source's category, the source itself, and its kind if its tools are real."""
    match = re.fullmatch(r"([\w .-]+)=(.+)", source, re.DOTALL)
    if match and (kind := _kind(place := match[2].strip())):
        return match[1].strip(), place, kind
    return DEFAULT_CATEGORY, source, _kind(source)


def _kind(place: str) -> SourceKind | None:
    return next((kind for kind in SOURCE_KINDS if kind.matches(place)), None)


def _check_names(sources: str, parts: list[tuple[str, ToolRepository]]) -> None:
    if len(parts) < 2:  # a source by itself has been checked
        return
    owners: dict[str, str] = {}
    for source, repository in parts:
        for tool in repository.tools:
            if (first := owners.setdefault(tool.name, source)) is not source:
                where = f"both {first} and {source}" if first != source else f"{source} twice"
                fix = f"tool {tool.name!r} is in {where}; rename one or drop one of the two"
                raise ConfigError("tools", sources, fix)
