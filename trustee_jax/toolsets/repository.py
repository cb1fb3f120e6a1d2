"""The repository of tools, in memory or on disk, and drawing the tools of one task from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np

from trustee_jax.paths import user_path
from trustee_jax.toolsets.files import read_tools
from trustee_jax.toolsets.tool import Tool

STARTER = "starter"


class ToolView(Sequence[Tool]):
    """Some tools of a sequence that is read on demand: nothing is held but their indices.

    Attributes:
      indices: Of its tools in that sequence.
    """

    def __init__(self, read: Callable[[int], Tool], indices: Sequence[int] | np.ndarray):
        """Takes the function that reads the tool of an index, and the indices of the view."""
        self._read = read
        self.indices = indices

    def __len__(self) -> int:
        """Returns the number of tools."""
        return len(self.indices)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Tool: ...
    @overload
    def __getitem__(self, index: slice) -> "ToolView": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "Tool | ToolView":
        """Reads one tool, or makes a view of several."""
        if isinstance(index, slice):
            return ToolView(self._read, self.indices[index])
        return self._read(int(self.indices[index.__index__()]))


class ToolRepository:
    """Tools by category, in the order in which they were given.

    Attributes:
      tools: All tools.
      categories: Category name -> its tools; none is empty.
    """

    tools: Sequence[Tool]
    categories: Mapping[str, ToolView]

    def __init__(
        self, tools: Iterable[Tool], groups: Mapping[str, Sequence[int] | np.ndarray] | None = None
    ):
        """Groups `tools` by their category.

        Args:
          tools: All tools. Without `groups` they are held in memory.
          groups: Category -> indices into `tools`, then a sequence that is read on demand.
        """
        if groups is None or not isinstance(tools, Sequence):
            tools = tuple(tools)
            found: dict[str, list[int]] = {}
            for index, tool in enumerate(tools):
                found.setdefault(tool.category, []).append(index)
            groups = found
        self.tools = tools
        self.categories = {
            name: ToolView(tools.__getitem__, indices) for name, indices in groups.items()
        }

    def __len__(self) -> int:
        """Returns the number of tools."""
        return len(self.tools)

    def sample(
        self, rng: np.random.Generator, count: int, *, unlike: str | None = None
    ) -> tuple[Tool, ...]:
        """Draws the tools of one task, all from one category, in random order.

        The category is drawn uniformly among those with at least `count` tools; where none has
        that many, among all categories, and the result is shorter than `count`. Only the tools
        drawn are read.

        Args:
          rng: The only source of randomness.
          count: Tools wanted, at least 1.
          unlike: A category that they must not be of.

        Raises:
          ValueError: Count below 1, or no category is left to draw from.
          ToolError: A stored repository is damaged where a drawn tool lies.
        """
        groups = [group for name, group in self.categories.items() if name != unlike]
        if count < 1 or not groups:
            raise ValueError(
                f"cannot sample {count} tool(s) from {len(groups)} categories; ask for 1 or more"
            )
        groups = [group for group in groups if len(group) >= count] or groups
        group = groups[rng.integers(len(groups))]
        return tuple(group[i] for i in rng.permutation(len(group))[:count])


def joined(parts: Sequence[ToolRepository]) -> ToolRepository:
    """One repository of several, whose tools have distinct names; what is on disk stays there."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *map(len, parts)])
    groups: dict[str, list[int]] = {}

    def read(index: int) -> Tool:
        part = int(np.searchsorted(starts, index, side="right")) - 1
        return parts[part].tools[index - int(starts[part])]

    for part, start in zip(parts, starts, strict=False):
        for name, view in part.categories.items():
            groups.setdefault(name, []).extend(int(start) + int(i) for i in view.indices)
    return ToolRepository(ToolView(read, range(int(starts[-1]))), groups)


def load_repository(source: str) -> ToolRepository:
    """Reads and checks a repository of tools.

    Args:
      source: "starter"; or a file of tools in the OpenAI format, see `files.read_tools`; or a
        folder that `trustee tools import` wrote, whose tools are read when they are drawn.

    Raises:
      ToolError: With every problem of the file: its place, tool, field and remedy.
    """
    path = user_path(source)
    if source == STARTER:
        owners: dict[str, str] = {}
        files = sorted((Path(__file__).parent / STARTER).glob("*.json"))
        return ToolRepository(tool for file in files for tool in read_tools(file, owners))
    if path.is_dir():
        # tensorflow-datasets is imported only where it is used.
        from trustee_jax.toolsets.store import open_store

        return open_store(path)
    return ToolRepository(read_tools(path))
