"""Lists of functions in the OpenAI format; names and schemas stay as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trustee_jax.tools.files import raw_tools
from trustee_jax.tools.importing.candidates import Candidate, Item, Refusal


def read_openai(source: str, category: str) -> Iterator[Item]:
    """Yields every function of a file that `load_repository` could read, or nearly.

    Unlike there, a wrong entry is refused by itself, and the others are read.

    Args:
      source: the file.
      category: of all functions; "" takes what stands in the file.

    Raises:
      ToolError: the file cannot be read, or holds no list of tools.
    """
    file = Path(source).expanduser()
    problems: list[str] = []
    for place, entry, group in raw_tools(file, problems):
        yield _item(entry, category, group, f"{file.name} {place}", file.stem)
    for problem in problems:
        yield Refusal(f"{file.name} {problem}", "not valid JSON")


def _item(entry: Any, category: str, group: str, place: str, provider: str) -> Item:
    if not isinstance(entry, dict):
        return Refusal(place, "not a function", type(entry).__name__)
    function = entry.get("function", entry)
    kind = entry.get("type", "function")
    if kind != "function" or not isinstance(function, dict) or not function:
        return Refusal(place, "not a function", f"type {kind!r}")
    named = entry.get("category", function.get("category", group))
    parameters = function.get("parameters")
    return Candidate(
        function.get("name", ""),
        function.get("description", ""),
        # As in the OpenAI format, a tool without "parameters" takes no arguments.
        {"type": "object", "properties": {}} if parameters is None else parameters,
        category or (named if isinstance(named, str) else group),
        provider,
        place,
    )
