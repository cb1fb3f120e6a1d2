"""Plain requests that call for one tool, and the call that answers them: written by code."""

from __future__ import annotations

import json
import random
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trustee_jax import streams
from trustee_jax.streams import Purpose
from trustee_jax.toolsets.arguments import check_arguments
from trustee_jax.toolsets.repository import ToolRepository
from trustee_jax.toolsets.tool import Tool

_ATTEMPTS = 10  # draws of a tool for one call
_WORDS = ("Maple", "Orion", "Lisbon", "Amber", "Harbour", "Willow", "Copper", "Juniper")
_FORMATS = {
    "date": ("2025-03-14", "2025-09-02"),
    "date-time": ("2025-03-14T09:30:00Z", "2025-09-02T18:00:00Z"),
    "time": ("09:30:00", "18:00:00"),
    "email": ("maple@example.com", "orion@example.com"),
    "uri": ("https://example.com/maple", "https://example.com/orion"),
    "uuid": ("6f1c0a52-8f6e-4d0a-9f0e-2b1f7c3d4e5f", "0b9f2d4c-1a3e-4c5b-8d7f-9e0a1b2c3d4e"),
    "ipv4": ("192.0.2.7", "192.0.2.31"),
    "ipv6": ("2001:db8::7", "2001:db8::31"),
}


def example_arguments(tool: Tool, rng: random.Random) -> dict[str, Any] | None:
    """Arguments that the tool takes, with its required parameters only.

    Args:
      tool: What is called.
      rng: Chooses among values.

    Returns:
      The arguments; None where the schema asks for more than is known here, e.g. a pattern.
    """
    try:
        arguments = dict(_required(tool.parameters, rng))
    except _UnknownSchemaError:
        return None
    return None if check_arguments(tool, arguments) else arguments


@dataclass(frozen=True)
class DrawnCall:
    """A call of a drawn tool.

    Attributes:
      tools: The tool that is called, and the others that were drawn with it.
      arguments: What it is called with.
      rng: For further choices of the same draw.
    """

    tools: tuple[Tool, ...]
    arguments: dict[str, Any]
    rng: random.Random


def draw_call(
    repository: ToolRepository,
    purpose: Purpose,
    seed: int,
    *place: int,
    others: int = 0,
    unlike: Container[str] = (),
) -> DrawnCall | None:
    """Draws a tool that code can write arguments for.

    Args:
      repository: The tools.
      purpose: Of the random streams.
      seed: Of the run.
      *place: Of the call; the attempt is added.
      others: Tools that are drawn with it, of its category.
      unlike: Names that it must not have.

    Returns:
      The call; None if no attempt found one.
    """
    for attempt in range(_ATTEMPTS):
        rng = streams.choices(purpose, seed, *place, attempt)
        drawn = streams.generator(purpose, seed, *place, attempt)
        tools = repository.sample(drawn, 1 + others)
        arguments = None if tools[0].name in unlike else example_arguments(tools[0], rng)
        if arguments is not None:
            return DrawnCall(tools, arguments, rng)
    return None


def example_request(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """What a user may write who wants just that call, values included."""
    text = tool.description.strip().rstrip(".")
    if not arguments:
        return f"I need this: {text}."
    values = ", ".join(f"{name.replace('_', ' ')} {_said(v)}" for name, v in arguments.items())
    return f"I need this: {text}. Use {values}."


def example_result(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a tool may return that did what it was asked for: two of its arguments, and that."""
    return {**dict(list(arguments.items())[:2]), "status": "done"}


def example_answer(result: Mapping[str, Any]) -> str:
    """What an assistant may tell the user of a result."""
    told = (f"{name.replace('_', ' ')} {_said(value)}" for name, value in result.items())
    return f"Here is the result: {', '.join(told)}."


def example_refusal(tool: Tool) -> str:
    """What an assistant may say who lacks the tool that is wanted."""
    return f"None of my tools can do this: {tool.description.strip().rstrip('.')}."


class _UnknownSchemaError(Exception):
    """Nothing is known that such a schema takes."""


def _required(schema: Mapping[str, Any], rng: random.Random) -> Iterator[tuple[str, Any]]:
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        yield name, _value(properties.get(name, True), rng)


def _value(schema: Any, rng: random.Random) -> Any:
    if schema is True:
        return rng.choice(_WORDS)
    if not isinstance(schema, Mapping):
        raise _UnknownSchemaError
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return rng.choice(schema[key])
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    if kind == "string":
        return rng.choice(_FORMATS.get(schema.get("format", ""), _WORDS))
    if kind in ("integer", "number"):
        return _number(schema, rng)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "array":
        least = max(1, schema.get("minItems", 1))
        return [_value(schema.get("items", True), rng) for _ in range(least)]
    if kind == "object":
        return dict(_required(schema, rng))
    raise _UnknownSchemaError


def _number(schema: Mapping[str, Any], rng: random.Random) -> Any:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 1 if high is None or high > 1 else high - 10
    if high is None:
        high = low + 20
    value = rng.uniform(low, high)
    return round(value / step) * step


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
