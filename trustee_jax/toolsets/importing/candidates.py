"""What a reader finds in its source: functions that may become tools, and what cannot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A function as its source describes it; nothing about it is checked yet.

    Attributes:
      name: whatever its source calls it; `normalise` makes it valid and unique.
      description: may hold HTML or Markdown, or be empty.
      parameters: what should be a JSON schema of the arguments object.
      category: the group it belongs to; empty if the source knows none.
      provider: who offers it (a host, a company, a set of tools); caps count by it.
      place: where it stands, for the report: the file and the operation.
      changes: reasons for which the reader itself changed something, each counted once a tool.
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
      place: where it stands: the file and the operation.
      reason: what is wrong in a few words, the same for all alike, e.g. "deprecated".
      detail: what distinguishes this one; may be empty.
    """

    place: str
    reason: str
    detail: str = ""


Item = Candidate | Refusal
