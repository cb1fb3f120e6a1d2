"""From candidates to tools: names, descriptions, duplicates, checks and caps, all counted."""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from trustee_jax.toolsets.importing.candidates import ImportReport, Item, Limits, Refusal
from trustee_jax.toolsets.importing.drafts import modern
from trustee_jax.toolsets.importing.names import Names, is_valid, provider_word
from trustee_jax.toolsets.importing.text import cut
from trustee_jax.toolsets.schema import function_problems
from trustee_jax.toolsets.tool import Tool

DEFAULT_CATEGORY = "user"
MADE_VALID = "name made valid"
TAKEN = "name taken by an earlier tool"


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
    digests: tuple[bytes, bytes] = field(compare=False)  # by which duplicates are known


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
    before it or a number behind. Schemas of older drafts are brought to the newest, and what cannot
    be checked is left out of them. Dropped are functions without a description, over the limits,
    with a schema that is not valid even so, and duplicates: those with the name, description and
    parameters of an earlier one, or of the same provider with the same name and parameter names.

    Memory does not grow with what is read: hashes and names are remembered, and under a cap also
    the `per_provider` functions of each provider, which come out when all is read.

    Args:
      items: From `read`.
      report: Is updated while the result is consumed.
      per_provider: Most tools of one provider; a uniform sample of its functions that depends on
        nothing but their contents; schemas of those over the cap are not checked. None: all.
      limits: Sizes; the defaults of `Limits` if None.
      taken: Names in use already, e.g. of the repository that the tools will join.

    Yields:
      Checked tools.
    """
    limits = limits or Limits()
    names = Names(taken)
    seen: set[bytes] = set()
    sample = _Sample(per_provider)
    for item in items:
        report.read += 1
        ready = _ready(item, limits, seen)
        if isinstance(ready, Refusal):
            report.drop(ready.reason, _example(ready.place, ready.detail))
            continue
        loser = sample.loser(ready)
        # The dearest check is spared to what the cap leaves out.
        if loser is not ready and (problem := _schema_problem(ready.parameters)):
            report.drop("schema not valid", _example(ready.place, _example(ready.name, problem)))
            continue
        seen.update(ready.digests)
        if loser is not None:
            reason = f"over the cap of {per_provider} per provider"
            report.drop(reason, _example(loser.place, loser.name))
        if per_provider is None:
            yield _tool(ready, names, report)
        elif loser is not ready:
            sample.add(ready)
    for ready in sample.drained():
        yield _tool(ready, names, report)


class _Sample:
    """The functions of the lowest ranks, at most `size` of each provider."""

    def __init__(self, size: int | None):
        self._size = size
        # Of each provider a heap with the highest rank on top.
        self._heaps: dict[str, list[tuple[int, _Ready]]] = {}

    def loser(self, ready: _Ready) -> _Ready | None:
        """Returns the one that has to stay outside if this one came in; None: there is room."""
        heap = self._heaps.get(ready.provider, [])
        if self._size is None or len(heap) < self._size:
            return None
        return heap[0][1] if heap and ready.rank < heap[0][1].rank else ready

    def add(self, ready: _Ready) -> None:
        """Takes one in, in place of the loser where there is no room."""
        heap = self._heaps.setdefault(ready.provider, [])
        push = heapq.heappush if len(heap) < (self._size or 0) else heapq.heapreplace
        push(heap, (-ready.rank, ready))

    def drained(self) -> Iterator[_Ready]:
        """Yields all, by provider and rank, and forgets them."""
        for provider in sorted(self._heaps):
            for _, ready in sorted(self._heaps.pop(provider), reverse=True):
                yield ready


def _ready(item: Item, limits: Limits, seen: set[bytes]) -> _Ready | Refusal:
    """Checks one item but for its schema; returns it, or why it is left out."""
    if isinstance(item, Refusal):
        return item

    def refusal(reason: str, detail: str = "") -> Refusal:
        return Refusal(item.place, reason, _example(str(item.name), detail))

    if not isinstance(item.name, str) or not item.name.strip():
        return refusal("no name")
    if not isinstance(item.description, str) or not item.description.strip():
        return refusal("no description")
    try:
        json.dumps(item.parameters, allow_nan=False)
        schema, changed = modern(item.parameters)
        parameters = json.dumps(schema, ensure_ascii=False)
        size = len(parameters.encode())
        f"{item.name}{item.description}{item.category}{item.provider}".encode()
    except (TypeError, ValueError, RecursionError) as error:
        return refusal("not JSON", str(error)[:80])
    if size > limits.bytes:
        return refusal(f"parameters larger than {limits.bytes} bytes", f"{size} bytes")
    listed = schema.get("properties") if isinstance(schema, Mapping) else None
    properties = listed if isinstance(listed, Mapping) else {}
    if len(properties) > limits.parameters:
        return refusal(f"more than {limits.parameters} parameters", str(len(properties)))
    changes = [*item.changes, *changed]
    description = cut(item.description.strip(), limits.description)
    if description != item.description.strip():
        changes.append(f"description cut at {limits.description} characters")
    copy = _digest(item.name, description, parameters)
    twin = _digest(item.provider, item.name, *sorted(map(str, properties)))
    if copy in seen:
        return refusal("same as an earlier function")
    if twin in seen:
        return refusal("same name and parameter names as an earlier function of its provider")
    return _Ready(
        int.from_bytes(_digest(item.provider, item.name, description, parameters)),
        item.place,
        item.name,
        description,
        parameters,
        " ".join(item.category.split()) or provider_word(item.provider) or DEFAULT_CATEGORY,
        item.provider,
        tuple(dict.fromkeys(changes)),
        (copy, twin),
    )


def _schema_problem(parameters: str) -> str:
    """The first problem of a schema; "" if it can be used."""
    schema = json.loads(parameters)
    # Name and description are not at stake here.
    problems = function_problems({"name": "x", "description": "x", "parameters": schema})
    return problems[0] if problems else ""


def _tool(ready: _Ready, names: Names, report: ImportReport) -> Tool:
    """Names a tool and counts it."""
    name = names.claim(ready.name, ready.provider)
    example = _example(ready.place, name)
    for reason in ready.changes:
        report.change(reason, example)
    if name != ready.name:
        reason = TAKEN if is_valid(ready.name) else MADE_VALID
        report.change(reason, _example(ready.place, f"{ready.name!r} -> {name!r}"))
    report.kept += 1
    report.categories[ready.category] += 1
    report.providers[ready.provider] += 1
    return Tool(name, ready.description, json.loads(ready.parameters), ready.category)


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def _example(place: str, detail: str) -> str:
    return f"{place}: {detail}"[:200] if detail else place[:200]
