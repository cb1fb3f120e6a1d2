"""Figures and tables of a repository, for a terminal."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from trustee_jax.text import compact_json
from trustee_jax.toolsets.tool import Tool


@dataclass
class Overview:
    """What `trustee tools stats` counts, in one pass over the tools.

    Attributes:
      categories: Category -> tools.
      parameters: Number of parameters -> tools.
      required: Number of required parameters -> tools.
      types: Type of a parameter -> parameters ("enum" for a choice, "any" for no type).
      described: Parameters with a description.
      sizes: Bytes of each tool in the OpenAI format, as compact JSON.
    """

    categories: Counter[str] = field(default_factory=Counter)
    parameters: Counter[int] = field(default_factory=Counter)
    required: Counter[int] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    described: int = 0
    sizes: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, tools: Iterable[Tool]) -> "Overview":
        """Counts, holding none of the tools."""
        overview = cls()
        for tool in tools:
            overview._add(tool)
        return overview

    def _add(self, tool: Tool) -> None:
        properties = tool.parameters.get("properties", {})
        self.categories[tool.category] += 1
        self.parameters[len(properties)] += 1
        self.required[len(tool.parameters.get("required", ()))] += 1
        for schema in properties.values():
            self.types[_type(schema)] += 1
            self.described += isinstance(schema, dict) and bool(schema.get("description"))
        text = compact_json(tool.openai())
        self.sizes.append(len(text.encode()))

    def summary(self) -> Table:
        """The totals."""
        count, sizes = len(self.sizes), np.asarray(self.sizes)
        groups = list(self.categories.values())
        total = sum(n * tools for n, tools in self.parameters.items())
        required = sum(n * tools for n, tools in self.required.items())
        quantiles = [int(q) for q in np.quantile(sizes, (0.5, 0.95, 1.0))]
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, value in {
            "tools": f"{count:,}",
            "categories": f"{len(groups):,} of {min(groups)} to {max(groups):,} tools "
            f"(median {np.median(groups):g})",
            "parameters": f"{total:,}, {total / count:.1f} a tool, {_share(required, total)} "
            f"required, {_share(self.described, total)} described",
            "schema bytes": f"{quantiles[0]:,} median, {quantiles[1]:,} at 95%, {quantiles[2]:,} "
            f"at most; {int(sizes.sum()):,} in all",
        }.items():
            table.add_row(name, value)
        return table

    def histograms(self) -> list[Table]:
        """Tools by number of parameters, parameters by type, tools by category."""
        categories = dict(self.categories.most_common())
        return [
            _bars("parameters", "tools", _tail_together(self.parameters)),
            _bars("type", "parameters", dict(self.types.most_common())),
            _bars("category", "tools", categories),
        ]


def tools_table(tools: Iterable[Tool]) -> Table:
    """One line per tool; required parameters are marked with a star."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for name, ratio in (("name", None), ("category", None), ("parameters", 2), ("description", 3)):
        table.add_column(name, no_wrap=True, ratio=ratio)
    for tool in tools:
        required = tool.parameters.get("required", ())
        names = (f"{n}*" if n in required else n for n in tool.parameters.get("properties", {}))
        cells = (tool.name, tool.category, ", ".join(names), " ".join(tool.description.split()))
        table.add_row(*map(Text, cells))
    return table


def _type(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "any"
    if "enum" in schema:
        return "enum"
    kind = schema.get("type", "any")
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def _bars(name: str, what: str, counts: dict[Any, int], width: int = 32) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(name, overflow="fold", min_width=12)
    table.add_column(what, justify="right", min_width=10)
    table.add_column("")
    most = max(counts.values(), default=1)
    for key, count in counts.items():
        bar = "█" * round(width * count / most) or "▏"
        table.add_row(Text(str(key)), f"{count:,}", bar)
    return table


def _tail_together(counts: Counter[int], most: int = 10) -> dict[str, int]:
    """The counts in order, those above `most` as one."""
    listed = {str(number): counts[number] for number in sorted(counts) if number <= most}
    if more := sum(count for number, count in counts.items() if number > most):
        listed[f"more than {most}"] = more
    return listed


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "none"
