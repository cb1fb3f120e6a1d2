"""What a reader finds in its source, how large it may be, and the account of what became of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Limits:
    """Bounds of one tool; ten tools and a dialogue have to fit a prompt.

    Attributes:
      parameters: Most top-level parameters; a function with more is dropped.
      bytes: Most bytes of the parameters as JSON; a function with more is dropped.
      depth: Levels of objects and lists below the parameters at which a reader cuts schemas that
        it has to build (OpenAPI, BFCL); it cuts earlier where `bytes` would be exceeded.
      description: Characters at which a tool's description is cut.
      parameter_description: Characters at which a reader cuts the description of a parameter.
    """

    parameters: int = 30
    bytes: int = 6000
    depth: int = 4
    description: int = 1000
    parameter_description: int = 200


@dataclass(frozen=True)
class Candidate:
    """A function as its source describes it; nothing about it is checked yet.

    Attributes:
      name: Whatever its source calls it; `normalise` makes it valid and unique.
      description: May hold HTML or Markdown, or be empty.
      parameters: What should be a JSON schema of the arguments object.
      category: The group it belongs to; empty if the source knows none.
      provider: Who offers it (a host, a company, a set of tools); caps count by it.
      place: Where it stands, for the report: the file and the operation.
      changes: Reasons for which the reader itself changed something, each counted once a tool.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] = field(hash=False)
    category: str
    provider: str
    place: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Something in the source that cannot become a candidate.

    Attributes:
      place: Where it stands: the file and the operation.
      reason: What is wrong in a few words, the same for all alike, e.g. "deprecated".
      detail: What distinguishes this one; may be empty.
    """

    place: str
    reason: str
    detail: str = ""


Item = Candidate | Refusal


@dataclass
class ImportReport:
    """The account of one import; `read` equals `kept` plus everything dropped.

    Attributes:
      read: Functions found in the source.
      kept: Tools that came out.
      changed: Reason -> how many of the kept tools were changed for it.
      dropped: Reason -> how many functions were left out for it.
      categories: Category -> tools kept.
      providers: Provider -> tools kept.
      examples: Reason -> the first few places, each with its name or detail.
    """

    read: int = 0
    kept: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    providers: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def change(self, reason: str, example: str) -> None:
        """Counts a change to a tool that is kept."""
        self.changed[reason] += 1
        self._example(reason, example)

    def drop(self, reason: str, example: str) -> None:
        """Counts a function that was left out."""
        self.dropped[reason] += 1
        self._example(reason, example)

    def _example(self, reason: str, example: str) -> None:
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(example)

    def text(self) -> str:
        """Returns the report as lines for a terminal, the most frequent reason first."""
        lines = [
            f"{self.read} functions read, {self.kept} tools kept in "
            f"{len(self.categories)} categories from {len(self.providers)} providers"
        ]
        for title, counts in (("changed", self.changed), ("dropped", self.dropped)):
            if counts:
                lines.append(f"{title}:")
            for reason, count in counts.most_common():
                lines.append(f"  {count:>7}  {reason}")
                lines += [f"           e.g. {example}" for example in self.examples[reason]]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as JSON values, counters ordered from the most frequent."""
        return {
            name: dict(value.most_common()) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
        }
