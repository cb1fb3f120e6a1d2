"""From candidates to tools: names, descriptions, duplicates, checks and caps, all counted."""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trustee_jax.tools.importing.candidates import Item, Refusal
from trustee_jax.tools.importing.limits import Limits
from trustee_jax.tools.importing.names import Names, provider_word
from trustee_jax.tools.importing.report import ImportReport
from trustee_jax.tools.importing.text import cut
from trustee_jax.tools.schema import function_problems
from trustee_jax.tools.tool import Tool

DEFAULT_CATEGORY = "user"
# They let a reference mean something that only a run's validator would find to be missing.
_ROAMING = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")


@dataclass(order=True)
class _Ready:
    """A checked function that waits for its name; the order is that of the sample."""

    rank: int
    place: str
    name: str = field(compare=False)
    description: str = field(compare=False)
    parameters: str = field(compare=False)  # JSON: a tenth of the memory
    category: str = field(compare=False)
    provider: str = field(compare=False)
    changes: tuple[str, ...] = field(compare=False)


def normalise(
    items: Iterable[Item],
    report: ImportReport,
    *,
    per_provider: int | None = None,
    limits: Limits | None = None,
    taken: Iterable[str] = (),
) -> Iterator[Tool]:
    """Turns what a reader found into tools that pass `load_repository`'s checks.

    A valid name stays as it is; others become snake_case, and a taken one gets its provider
    before it or a number behind. Dropped are functions without a description, over the limits,
    with a schema that is not valid, and duplicates: those with the name, description and
    parameters of an earlier one, or of the same provider with the same name and parameter names.

    Memory does not grow with what is read: hashes and names are remembered, and under a cap also
    the `per_provider` functions of each provider, which come out when all is read.

    Args:
      items: from `read`.
      report: is updated while the result is consumed.
      per_provider: most tools of one provider; a uniform sample of its functions that depends on
        nothing but their contents. None: all of them.
      limits: sizes; the defaults of `Limits` if None.
      taken: names in use already, e.g. of the repository that the tools will join.

    Yields:
      Checked tools.
    """
    limits = limits or Limits()
    names = Names(taken)
    seen: set[bytes] = set()
    waiting: dict[str, list[tuple[int, _Ready]]] = {}
    for item in items:
        report.read += 1
        problem = _problem(item, limits, seen)
        if isinstance(problem, Refusal):
            report.drop(problem.reason, _example(problem.place, problem.detail))
        elif per_provider is None:
            yield _tool(problem, names, report)
        else:
            # A heap of the lowest ranks, the highest of them on top.
            heap = waiting.setdefault(problem.provider, [])
            heapq.heappush(heap, (-problem.rank, problem))
            if len(heap) > per_provider:
                _, last = heapq.heappop(heap)
                reason = f"over the cap of {per_provider} per provider"
                report.drop(reason, _example(last.place, last.name))
    for provider in sorted(waiting):
        for _, ready in sorted(waiting.pop(provider), reverse=True):
            yield _tool(ready, names, report)


def _problem(item: Item, limits: Limits, seen: set[bytes]) -> _Ready | Refusal:
    """Checks one item; what is returned is ready for a name, or why it is left out."""
    if isinstance(item, Refusal):
        return item

    def refusal(reason: str, detail: str = "") -> Refusal:
        return Refusal(item.place, reason, _example(str(item.name), detail))

    if not isinstance(item.name, str) or not item.name.strip():
        return refusal("no name")
    if not isinstance(item.description, str) or not item.description.strip():
        return refusal("no description")
    try:
        parameters = json.dumps(item.parameters, ensure_ascii=False, allow_nan=False)
        size = len(parameters.encode())
        f"{item.name}{item.description}{item.category}{item.provider}".encode()
    except (TypeError, ValueError, RecursionError) as error:
        return refusal("not JSON", str(error)[:80])
    if size > limits.bytes:
        return refusal(f"parameters larger than {limits.bytes} bytes", f"{size} bytes")
    schema = json.loads(parameters)
    listed = schema.get("properties") if isinstance(schema, dict) else None
    properties = listed if isinstance(listed, dict) else {}
    if len(properties) > limits.parameters:
        return refusal(f"more than {limits.parameters} parameters", str(len(properties)))
    changes = list(item.changes)
    description = cut(item.description.strip(), limits.description)
    if description != item.description.strip():
        changes.append(f"description cut at {limits.description} characters")
    rank = _digest(item.provider, item.name, description, parameters)
    twin = _digest(item.provider, item.name, *sorted(properties))
    copy = _digest(item.name, description, parameters)
    if copy in seen:
        return refusal("same as an earlier function")
    if twin in seen:
        return refusal("same name and parameter names as an earlier function of its provider")
    # "name" stands for the name, which is made valid later.
    problems = function_problems(
        {"name": "name", "description": description, "parameters": schema}
    ) or [f"parameters: {keyword} is not supported; remove it" for keyword in _roaming(schema)]
    if problems:
        return refusal("schema not valid", problems[0])
    seen.update((copy, twin))
    category = " ".join(item.category.split()) or provider_word(item.provider) or DEFAULT_CATEGORY
    return _Ready(
        int.from_bytes(rank),
        item.place,
        item.name,
        description,
        parameters,
        category,
        item.provider,
        tuple(dict.fromkeys(changes)),
    )


def _tool(ready: _Ready, names: Names, report: ImportReport) -> Tool:
    """Names a tool and counts it."""
    name = names.claim(ready.name, ready.provider)
    example = _example(ready.place, name)
    for reason in ready.changes:
        report.change(reason, example)
    if name != ready.name:
        report.change("renamed", _example(ready.place, f"{ready.name!r} -> {name!r}"))
    report.kept += 1
    report.categories[ready.category] += 1
    report.providers[ready.provider] += 1
    return Tool(name, ready.description, json.loads(ready.parameters), ready.category)


def _roaming(schema: Any) -> Iterator[str]:
    """Yields the keywords of a schema that make references depend on more than their text."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in _ROAMING and isinstance(value, str):
                yield key
            yield from _roaming(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _roaming(value)


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def _example(place: str, detail: str) -> str:
    return f"{place}: {detail}"[:200] if detail else place[:200]
