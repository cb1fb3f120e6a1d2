"""What an import read, kept, changed and dropped, each with its reason."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MAX_EXAMPLES = 3


@dataclass
class ImportReport:
    """The account of one import; `read` equals `kept` plus everything dropped.

    Attributes:
      read: functions found in the source.
      kept: tools that came out.
      changed: reason -> how many of the kept tools were changed for it.
      dropped: reason -> how many functions were left out for it.
      categories: category -> tools kept.
      providers: provider -> tools kept.
      examples: reason -> the first few places, each with its name or detail.
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
            "read": self.read,
            "kept": self.kept,
            "changed": dict(self.changed.most_common()),
            "dropped": dict(self.dropped.most_common()),
            "categories": dict(self.categories.most_common()),
            "providers": dict(self.providers.most_common()),
            "examples": {reason: list(examples) for reason, examples in self.examples.items()},
        }
