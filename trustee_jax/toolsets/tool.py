"""One tool, and the error that a bad one raises."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trustee_jax.errors import InputError

MAX_LISTED_PROBLEMS = 20


@dataclass(frozen=True)
class Tool:
    """A function that the policy may call; no code stands behind it.

    Attributes:
      name: Unique in its repository, matches ``^[a-zA-Z0-9_-]{1,64}$``.
      description: What the tool does and returns, for the model.
      parameters: JSON Schema (Draft 2020-12) of the arguments object.
      category: The group that tools of one task are drawn from.
    """

    name: str
    description: str
    parameters: dict[str, Any] = field(hash=False)
    category: str = "user"

    def openai(self) -> dict[str, Any]:
        """Returns the tool in the OpenAI format, as chat templates expect it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": copy.deepcopy(self.parameters),
            },
        }


class ToolError(InputError):
    """A tool file that cannot be used.

    Attributes:
      source: The file.
      problems: One line per problem: where, which tool, which field, what to do.
    """

    def __init__(self, source: str, problems: Sequence[str]):
        """Writes the message: the source, then up to 20 problems, each on a line."""
        self.source = source
        self.problems = tuple(problems)
        shown = self.problems[:MAX_LISTED_PROBLEMS]
        lines = [f"{source}: {len(self.problems)} problem(s) with its tools", *shown]
        if len(self.problems) > len(shown):
            lines.append(f"... and {len(self.problems) - len(shown)} more")
        super().__init__("\n  ".join(lines))
