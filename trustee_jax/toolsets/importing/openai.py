"""Lists of functions in the OpenAI format, or in that of MCP, Anthropic or Gemini."""

from collections.abc import Iterator
from typing import Any

from trustee_jax.paths import user_path
from trustee_jax.toolsets.files import ARGUMENTS, raw_tools, tools_within
from trustee_jax.toolsets.importing.candidates import Candidate, Item, Refusal


def read_openai(source: str, category: str) -> Iterator[Item]:
    """Yields every function of a file that `load_repository` could read, or nearly.

    Unlike there, a wrong entry is refused by itself, and the others are read.

    Args:
      source: the file.
      category: of all functions; "" takes what stands in the file.

    Raises:
      ToolError: the file cannot be read, or holds no list of tools.
    """
    file = user_path(source)
    problems: list[str] = []
    for place, entry, group in raw_tools(file, problems):
        within = tools_within(entry)  # Gemini has a list of functions in one tool
        for function in [entry] if within is None else within:
            yield _item(function, category, group, f"{file.name} {place}", file.stem)
    for problem in problems:
        yield Refusal(f"{file.name} {problem}", "not valid JSON")


def _item(entry: Any, category: str, group: str, place: str, provider: str) -> Item:
    if not isinstance(entry, dict):
        return Refusal(place, "not a function", type(entry).__name__)
    function = entry.get("function", entry)
    kind = entry.get("type", "function")
    if not isinstance(function, dict) or not function:
        return Refusal(place, "not a function", type(function).__name__)
    schemas = [function[word] for word in ARGUMENTS if function.get(word) is not None]
    if kind != "function" and not schemas:
        return Refusal(place, "not a function", f"type {kind!r}")
    named = entry.get("category", function.get("category", group))
    return Candidate(
        function.get("name", ""),
        function.get("description") or function.get("title", ""),
        # As in the OpenAI format, a tool without "parameters" takes no arguments.
        schemas[0] if schemas else {"type": "object", "properties": {}},
        category or (named if isinstance(named, str) else group),
        provider,
        place,
    )
