"""ToolBench's folder of tools: `<category>/<toolset>.json`, each with a list of endpoints.

This is for the folder that its authors publish, or one in its format. StableToolBench's solvable
queries are a test over the same endpoints: leave out of training the toolsets it asks about.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trustee_jax.paths import user_path
from trustee_jax.toolsets.files import unique_keys
from trustee_jax.toolsets.importing.candidates import Candidate, Item, Refusal
from trustee_jax.toolsets.importing.demands import Part
from trustee_jax.toolsets.importing.limits import Limits
from trustee_jax.toolsets.importing.names import SNAKE_CASE, snake_case
from trustee_jax.toolsets.importing.parts import TooLarge
from trustee_jax.toolsets.importing.schemas import Field, SchemaReader
from trustee_jax.toolsets.importing.text import joined, plain
from trustee_jax.toolsets.tool import ToolError

_LONGEST_EXAMPLE = 60
BORROWED = "description taken from its toolset"
TWICE = "parameter of the same name left out"


def read_toolbench(source: str, category: str, limits: Limits) -> Iterator[Item]:
    """Yields every endpoint of every toolset.

    Args:
      source: the folder that holds the categories (`toolenv/tools`), or one category of it.
      category: of all functions; "" takes the name of the folder of each toolset.
      limits: sizes of one function.

    Raises:
      ToolError: the folder cannot be read, or holds no toolset.
    """
    root = user_path(source)
    files = sorted(root.rglob("*.json"))
    if not files:
        raise ToolError(
            source, ["holds no <category>/<toolset>.json; give ToolBench's tools folder"]
        )
    for file in files:
        place = str(file.relative_to(root))
        try:
            text = file.read_text(encoding="utf-8-sig")
            toolset = json.loads(text, object_pairs_hook=unique_keys)
        except (OSError, ValueError, RecursionError) as error:
            yield Refusal(place, "file that is no toolset", str(error))
            continue
        endpoints = toolset.get("api_list") if isinstance(toolset, dict) else None
        if not isinstance(endpoints, list):
            yield Refusal(place, "file that is no toolset", 'no list "api_list"')
            continue
        for index, endpoint in enumerate(endpoints):
            where = f"{place} [{index}]"
            if isinstance(endpoint, dict):
                yield _candidate(
                    toolset, endpoint, category or file.parent.name, file.stem, where, limits
                )
            else:
                yield Refusal(where, "not a function", type(endpoint).__name__)


def _candidate(
    toolset: Mapping[str, Any],
    endpoint: Mapping[str, Any],
    category: str,
    stem: str,
    place: str,
    limits: Limits,
) -> Item:
    named = toolset.get("tool_name")
    provider = named if isinstance(named, str) and named.strip() else stem
    reader = SchemaReader({}, limits)
    fields: dict[str, Field] = {}
    for group in ("required_parameters", "optional_parameters"):
        listed = endpoint.get(group)
        is_required = group == "required_parameters"
        for parameter in listed if isinstance(listed, list) else ():
            key = parameter.get("name") if isinstance(parameter, dict) else None
            if not isinstance(key, str) or not key.strip():
                continue
            if key in fields:
                reader.note(TWICE)
            else:
                fields[key] = Field(key, Part(_schema(parameter, is_required)), is_required)
    try:
        schema = reader.arguments(list(fields.values()))
    except TooLarge:
        return Refusal(place, f"parameters larger than {limits.bytes} bytes")
    description = plain(endpoint.get("description"))
    changes = tuple(reader.changes)
    if not description and plain(toolset.get("tool_description")):
        description = joined(endpoint.get("name"), toolset.get("tool_description"))
        changes = (*changes, BORROWED)
    written = endpoint.get("name", "")
    name = snake_case(written) if isinstance(written, str) else ""
    if name != written:
        changes = (*changes, SNAKE_CASE)
    return Candidate(name or written, description, schema, category, provider, place, changes)


def _schema(parameter: Mapping[str, Any], is_required: bool) -> dict[str, Any]:
    """A parameter as a schema: "DATE (YYYY-MM-DD)" is a type there.

    What is called the default of a required parameter is an example, and often all that tells what
    it is about: it goes into the description.
    """
    schema = {k: parameter[k] for k in ("type", "description", "default", "enum") if k in parameter}
    kind = parameter.get("type")
    if isinstance(kind, str):
        schema["type"] = kind.partition("(")[0].strip()
        if schema["type"].lower() == "date":
            schema["format"] = "date"
    if schema.get("default") == "":
        del schema["default"]  # as most have it that have none
    example = schema.pop("default", "") if is_required else ""
    if isinstance(example, str | int | float) and 0 < len(str(example)) <= _LONGEST_EXAMPLE:
        schema["description"] = joined(schema.get("description"), f"Example: {example}")
    return schema
