"""The repository of tools: reading it from files, and drawing the tools of one task from it."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trustee_jax.tools.schema import function_problems
from trustee_jax.tools.tool import Tool, ToolError

STARTER = "starter"
DEFAULT_CATEGORY = "user"


class ToolRepository:
    """Tools by category, in the order in which they were given.

    Attributes:
      tools: all tools.
      categories: category name -> its tools; none is empty.
    """

    def __init__(self, tools: Iterable[Tool]):
        """Groups `tools` by their category."""
        self.tools = tuple(tools)
        groups: dict[str, list[Tool]] = {}
        for tool in self.tools:
            groups.setdefault(tool.category, []).append(tool)
        self.categories = {name: tuple(group) for name, group in groups.items()}

    def __len__(self) -> int:
        """Returns the number of tools."""
        return len(self.tools)

    def sample(self, rng: np.random.Generator, count: int) -> tuple[Tool, ...]:
        """Draws the tools of one task, all from one category, in random order.

        The category is drawn uniformly among those with at least `count` tools; where none has
        that many, among all categories, and the result is shorter than `count`.

        Args:
          rng: the only source of randomness.
          count: tools wanted, at least 1.

        Raises:
          ValueError: count below 1, or the repository is empty.
        """
        if count < 1 or not self.tools:
            raise ValueError(f"cannot sample {count} tool(s) from {len(self)}; ask for 1 or more")
        groups = list(self.categories.values())
        groups = [group for group in groups if len(group) >= count] or groups
        group = groups[rng.integers(len(groups))]
        return tuple(group[i] for i in rng.permutation(len(group))[:count])


def load_repository(source: str) -> ToolRepository:
    """Reads and checks a repository of tools.

    Args:
      source: "starter", or the path of a file of tools in the OpenAI format, each as
        {"type": "function", "function": {...}} or as the bare function dict, with an optional
        "category" beside it ("user" if absent). The file is a JSON list of tools, JSON lines of
        tools (.jsonl), {"<category>": [tools]}, or {"category": "...", "tools": [tools]}.

    Raises:
      ToolError: with every problem of the file: its place, tool, field and remedy.
    """
    if source == STARTER:
        files = sorted((Path(__file__).parent / STARTER).glob("*.json"))
    else:
        files = [Path(source).expanduser()]
    tools: list[Tool] = []
    owners: dict[str, str] = {}
    for file in files:
        problems: list[str] = []
        for place, entry, category in _entries(file):
            tool = _tool(entry, category, place, problems)
            if tool is None:
                continue
            here = f"{file.name} {place}"
            first = owners.setdefault(tool.name, here)
            if first != here:
                problems.append(
                    f"{place} {tool.name!r}: name: already used by {first}; rename one of the two"
                )
            tools.append(tool)
        if problems:
            raise ToolError(str(file), problems)
    if not tools:
        raise ToolError(source, ["the file holds no tools; add at least one"])
    return ToolRepository(tools)


def _tool(entry: Any, category: str, place: str, problems: list[str]) -> Tool | None:
    """Builds a tool, or adds to `problems` what is wrong with it."""
    wrapper = entry if isinstance(entry, dict) else {}
    function = wrapper.get("function", wrapper)
    if not isinstance(function, dict) or not function:
        problems.append(f'{place}: not a tool; use {{"type": "function", "function": {{...}}}}')
        return None
    own_category: Any = wrapper.get("category", function.get("category", category))
    label = f"{place} {function.get('name', '(no name)')!r}"
    function = {k: v for k, v in function.items() if k not in ("type", "category")}
    found = function_problems(function)
    if wrapper.get("type", "function") != "function":
        found.append(f'type: {wrapper["type"]!r} is not supported; use "function"')
    if not isinstance(own_category, str) or not own_category.strip():
        found.append("category: must be a non-empty string; correct or drop it")
    problems += [f"{label}: {problem}" for problem in found]
    if found:
        return None
    # As in the OpenAI format, a tool without "parameters" takes no arguments.
    parameters = function.get("parameters", {"type": "object", "properties": {}})
    return Tool(function["name"], function["description"].strip(), parameters, own_category)


def _entries(file: Path) -> Iterator[tuple[str, Any, str]]:
    """Yields (place in the file, raw tool, category) in the order of the file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(str(file), [f"cannot be read: {error}; give a UTF-8 file"]) from error
    if file.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield f"line {number}", _json(line, file, f"line {number}: "), DEFAULT_CATEGORY
        return
    document = _json(text, file)
    if isinstance(document, list):
        groups: dict[str, Any] = {DEFAULT_CATEGORY: document}
    elif isinstance(document, dict) and isinstance(document.get("category"), str):
        if set(document) != {"category", "tools"}:
            raise ToolError(str(file), ['beside "category" there must be "tools", and no more'])
        groups = {document["category"]: document["tools"]}
    else:
        groups = document
    if not isinstance(groups, dict) or not all(isinstance(g, list) for g in groups.values()):
        raise ToolError(str(file), ['use a list of tools, or {"<category>": [tools], ...}'])
    for category, group in groups.items():
        for index, entry in enumerate(group):
            place = f"[{index}]" if isinstance(document, list) else f"{category}[{index}]"
            yield place, entry, category


def _json(text: str, file: Path, place: str = "") -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ToolError(str(file), [f"{place}not valid JSON: {error}; correct it"]) from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON value")
