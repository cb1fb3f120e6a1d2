"""From candidates to tools: names, descriptions, duplicates, checks and caps, all counted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trustee_jax.tools.importing.candidates import Item
from trustee_jax.tools.importing.report import ImportReport
from trustee_jax.tools.tool import Tool


@dataclass(frozen=True)
class Limits:
    """How large a tool may be.

    Attributes:
      parameters: most top-level parameters.
      bytes: most bytes of the parameters as compact JSON.
      depth: most levels of objects and arrays below the parameters themselves.
      description: characters at which a tool's description is cut.
      parameter_description: characters at which the description of a parameter is cut.
    """

    parameters: int = 30
    bytes: int = 8000
    depth: int = 5
    description: int = 600
    parameter_description: int = 200


def normalise(
    items: Iterable[Item],
    report: ImportReport,
    *,
    per_provider: int | None = None,
    limits: Limits | None = None,
    taken: Iterable[str] = (),
) -> Iterator[Tool]:
    """Turns what a reader found into tools that pass `load_repository`'s checks.

    Names become snake_case, valid (``^[a-zA-Z0-9_-]{1,64}$``) and unique; duplicates are dropped.
    Memory does not grow with the schemas: only names and hashes are remembered.

    Args:
      items: from `read`.
      report: is updated while the result is consumed.
      per_provider: most tools of one provider; a sample of all its functions that depends on
        nothing but the functions themselves. None: all of them.
      limits: sizes; the defaults of `Limits` if None.
      taken: names in use already, e.g. of the repository that the tools will join.

    Yields:
      Checked tools, those of one provider together.
    """
    raise NotImplementedError
    yield
