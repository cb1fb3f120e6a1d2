"""Tools that the simulator writes for a named domain, held to a schema and checked one by one."""

import copy
import dataclasses
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment.driver import SupportsRequests, run
from trustee_jax.environment.novelty import similarity
from trustee_jax.simulator.prompts import Prompts
from trustee_jax.simulator.schemas import Schema, closed
from trustee_jax.simulator.simulator import Simulator, SimulatorError
from trustee_jax.streams import Purpose
from trustee_jax.toolsets.importing import Candidate, Refusal
from trustee_jax.toolsets.schema import function_problems

_TEMPLATE = Path(__file__).with_suffix(".jinja")
_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "date-time": {"type": "string", "format": "date-time"},
    "list": {"type": "array", "items": {"type": "string"}},
}
_PARAMETERS = 5
_TOOL_TOKENS = 400  # what one tool of the schema below can take, and a little more
_MOST_AT_ONCE = 4
_SHOWN = 24  # tools that the model is told of; code compares with all
_NEAR_COPY = 0.75
# No quotes and brackets: small models otherwise go on in JSON within the text. Not written as what
# is left out, since the engine's [^"] lets an escaped quote pass.
_CHARACTERS = "A-Za-zÀ-ÖØ-öø-ÿ0-9 ,.;:()'/%&+?!-"


def synthesize(
    simulator: Simulator,
    engine: SupportsRequests,
    domains: Sequence[str],
    per_domain: int,
    *,
    seed: int = 0,
    on_item: Callable[[Candidate | Refusal], None] = lambda item: None,
) -> list[Candidate | Refusal]:
    """Writes tools, all domains at the same time.

    The model is asked for a few tools at a time and told those that it has. A domain ends when it
    has enough, or after twice the requests that it should have needed.

    Args:
      simulator: The model; the options of its task generator hold, but for the answer's length.
      engine: Serves it.
      domains: What the tools are about, in words; each becomes a category.
      per_domain: Tools wanted of each.
      seed: Decides, with the engine's, what is written.
      on_item: Called with each part of the result as soon as it is there.

    Returns:
      Domain by domain, what `normalise` takes: a candidate for each tool that passed the checks, a
      refusal for each that did not and for each request without a usable answer.

    Raises:
      ConfigError: The context is too short for a tool.
    """
    writer = _writer(simulator)
    domain_tools = [
        _write_domain(writer, domain, per_domain, (Purpose.SYNTHESIS, seed, number), on_item)
        for number, domain in enumerate(domains)
    ]
    return [item for items in run(domain_tools, {"simulator": engine}) for item in items]


def category_of(domain: str) -> str:
    """The category of a domain's tools."""
    return re.sub(r"\W+", "_", domain.strip().lower()).strip("_")


class _ToolPrompts(Prompts):
    """One template in place of those of the roles."""

    def __init__(self) -> None:
        environment = jinja2.Environment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates = {"task": environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))}


def _writer(simulator: Simulator) -> Simulator:
    writer = copy.copy(simulator)
    writer.prompts = _ToolPrompts()
    return writer


def _write_domain(
    writer: Simulator,
    domain: str,
    wanted: int,
    key: tuple[int, ...],
    on_item: Callable[[Candidate | Refusal], None],
) -> Generator[Request, Completion, list[Candidate | Refusal]]:
    at_once = max(1, min(_MOST_AT_ONCE, writer.max_length // (3 * _TOOL_TOKENS)))
    items: list[Candidate | Refusal] = []
    have: list[Candidate] = []

    def add(item: Candidate | Refusal) -> None:
        items.append(item)
        on_item(item)

    for number in range(2 * -(-wanted // at_once)):
        count = min(at_once, wanted - len(have))
        if not count:
            break
        place = f"{domain}, request {number + 1}"
        fields = {
            "domain": domain,
            "count": count,
            "have": [{"name": t.name, "description": t.description} for t in have[-_SHOWN:]],
            "types": [*_TYPES, "choice"],
        }
        options = dataclasses.replace(writer.config.task, max_tokens=count * _TOOL_TOKENS)
        try:
            answer, _ = yield from writer.ask_completion(
                "task", fields, tools_schema(count), (*key, number), options=options
            )
        except SimulatorError as error:
            add(Refusal(place, f"no answer: {error.failure.problem}", str(error)))
            continue
        for entry in answer["tools"]:
            candidate = _candidate(entry, domain, place)
            reason = _reason(candidate, entry, have)
            if reason is None:
                have.append(candidate)
                add(candidate)
            else:
                add(Refusal(place, reason, f"{candidate.name}: {candidate.description}"))
    return items


def tools_schema(count: int) -> Schema:
    """Schema of an answer: {tools: [{name, description, parameters: [...]}]}."""
    rest = {"description": _text(8, 80), "required": {"type": "boolean"}}
    name = {"type": "string", "pattern": "^[a-z]{1,14}(_[a-z]{1,14}){0,2}$"}
    plain = closed(name=name, type={"type": "string", "enum": [*_TYPES]}, **rest)
    value = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9 _-]{0,19}$"}
    values = {"type": "array", "items": value, "minItems": 2, "maxItems": 6}
    choice = closed(name=name, type={"type": "string", "enum": ["choice"]}, values=values, **rest)
    parameters = {"type": "array", "items": {"anyOf": [plain, choice]}, "maxItems": _PARAMETERS}
    tool = closed(
        name={"type": "string", "pattern": "^[a-z]{2,12}(_[a-z]{2,14}){1,3}$"},
        description=_text(30, 200),
        parameters=parameters,
    )
    return closed(tools={"type": "array", "items": tool, "minItems": count, "maxItems": count})


def _candidate(entry: Mapping[str, Any], domain: str, place: str) -> Candidate:
    properties, required = {}, []
    for parameter in entry["parameters"]:
        kind = parameter["type"]
        schema = (
            {"type": "string", "enum": list(dict.fromkeys(parameter["values"]))}
            if kind == "choice"
            else copy.deepcopy(_TYPES[kind])
        )
        properties[parameter["name"]] = {**schema, "description": parameter["description"].strip()}
        if parameter["required"]:
            required.append(parameter["name"])
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = list(dict.fromkeys(required))
    return Candidate(
        name=entry["name"],
        description=entry["description"].strip(),
        parameters=parameters,
        category=category_of(domain),
        provider=domain,
        place=place,
    )


def _reason(
    candidate: Candidate, entry: Mapping[str, Any], have: Sequence[Candidate]
) -> str | None:
    """Why a tool that fits the schema is refused; None if it is not."""
    if any(candidate.name == other.name for other in have):
        return "repeats a name"
    if len(candidate.parameters["properties"]) < len(entry["parameters"]):
        return "repeats a parameter"
    if any(len(s.get("enum", "ab")) < 2 for s in candidate.parameters["properties"].values()):
        return "a choice without alternatives"
    nearest = (similarity(candidate.description, other.description) for other in have)
    if max(nearest, default=0.0) >= _NEAR_COPY:
        return "near copy of another tool"
    function = {k: getattr(candidate, k) for k in ("name", "description", "parameters")}
    problems = function_problems(function)
    return f"not valid: {problems[0]}" if problems else None


def _text(least: int, most: int) -> Schema:
    pattern = f"^[A-Z][{_CHARACTERS}]{{{least - 1},{most - 1}}}$"
    return {"type": "string", "pattern": pattern}
