"""Lists of functions: in the OpenAI format or nearly, in that of BFCL, and ToolBench's folder.

The readers of BFCL and ToolBench are for documents of your own in their formats. The leaderboard's
own functions, and the toolsets that StableToolBench's solvable queries ask about, belong to tests:
a policy that trains on them makes its score there worthless.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trustee_jax.paths import user_path
from trustee_jax.toolsets.files import (
    ARGUMENTS,
    SUFFIXES,
    json_values,
    raw_tools,
    read_text,
    tools_within,
    unique_keys,
)
from trustee_jax.toolsets.importing.candidates import Candidate, Item, Limits, Refusal
from trustee_jax.toolsets.importing.demands import Part
from trustee_jax.toolsets.importing.names import SNAKE_CASE, snake_case
from trustee_jax.toolsets.importing.parts import Unusable
from trustee_jax.toolsets.importing.schemas import Field, SchemaReader
from trustee_jax.toolsets.importing.text import joined, plain
from trustee_jax.toolsets.tool import ToolError

BORROWED = "description taken from its toolset"
TWICE = "parameter of the same name left out"
_LONGEST_EXAMPLE = 60


def read_openai(source: str, category: str) -> Iterator[Item]:
    """Yields every function of a file that `load_repository` could read, or nearly.

    Unlike there, a wrong entry is refused by itself, and the others are read.

    Args:
      source: A file of tools in the format of OpenAI, MCP, Anthropic or Gemini.
      category: Of all functions; "" takes what stands in the file.

    Raises:
      ToolError: The file cannot be read, or holds no list of tools.
    """
    file = user_path(source)
    problems: list[str] = []
    for place, entry, group in raw_tools(file, problems):
        within = tools_within(entry)  # Gemini has a list of functions in one tool
        for function in [entry] if within is None else within:
            yield _from_openai(function, category, group, f"{file.name} {place}", file.stem)
    for problem in problems:
        yield Refusal(f"{file.name} {problem}", "not valid JSON")


def _from_openai(entry: Any, category: str, group: str, place: str, provider: str) -> Item:
    function = entry.get("function", entry) if isinstance(entry, dict) else entry
    if not isinstance(function, dict) or not function:
        return Refusal(place, "not a function", type(function).__name__)
    schemas = [function[word] for word in ARGUMENTS if function.get(word) is not None]
    kind = entry.get("type", "function")
    if kind != "function" and not schemas:
        return Refusal(place, "not a function", f"type {kind!r}")
    named = entry.get("category", function.get("category", group))
    return Candidate(
        function.get("name", ""),
        function.get("description") or function.get("title", ""),
        # As in the OpenAI format, a tool without "parameters" takes no arguments.
        schemas[0] if schemas else {"type": "object", "properties": {}},
        category or (named if isinstance(named, str) else group),
        provider,
        place,
    )


def read_bfcl(source: str, category: str, limits: Limits) -> Iterator[Item]:
    """Yields every function of a file, or of all files in a folder.

    Args:
      source: Function documents {"name", "description", "parameters"}, or objects with one or a
        list of them as "function" (questions, say): as JSON lines, as a JSON list or one after
        another; the types of Python, Java and JavaScript ("dict", "float", "tuple", "ArrayList",
        ...) become those of JSON schema.
      category: Of all functions; "" takes the name of each file.
      limits: Sizes of one function.

    Raises:
      ToolError: The file or folder cannot be read, or the folder has no such file.
    """
    path = user_path(source)
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file())
        if not files:
            raise ToolError(source, [f"the folder holds no {' or '.join(SUFFIXES)} file"])
    for file in files:
        for number, value, problem in json_values(read_text(file)):
            place = f"{file.name} line {number}"
            if problem:
                yield Refusal(place, "not valid JSON", problem)
                continue
            functions = list(_functions(value))
            for index, function in enumerate(functions):
                where = f"{place} [{index}]" if len(functions) > 1 else place
                if isinstance(function, dict) and "name" in function:
                    yield _from_bfcl(function, where, category or file.stem, file.stem, limits)
                else:
                    yield Refusal(where, "not a function", "no object with a name")


def _functions(value: Any) -> Iterator[Any]:
    """The function documents of a value, one or many of them, with or without questions."""
    for entry in value if isinstance(value, list) else [value]:
        found = entry.get("function", entry) if isinstance(entry, dict) else entry
        yield from found if isinstance(found, list) else [found]


def _from_bfcl(
    function: Mapping[str, Any], place: str, category: str, provider: str, limits: Limits
) -> Item:
    reader = SchemaReader({}, limits)
    written = function.get("parameters")
    if written is not None and not isinstance(written, Mapping):
        return Refusal(place, "parameters that are no object", repr(written)[:80])
    try:
        found = reader.demands(written or {})
        schema = reader.arguments(reader.fields(found), found)
    except Unusable as error:
        return Refusal(place, str(error), error.detail)
    name, description = function.get("name", ""), function.get("description", "")
    return Candidate(name, description, schema, category, provider, place, tuple(reader.changes))


def read_toolbench(source: str, category: str, limits: Limits) -> Iterator[Item]:
    """Yields every endpoint of every toolset.

    Args:
      source: The folder that holds the categories (`toolenv/tools`), or one category of it: each a
        folder of `<toolset>.json`.
      category: Of all functions; "" takes the name of the folder of each toolset.
      limits: Sizes of one function.

    Raises:
      ToolError: The folder cannot be read, or holds no toolset.
    """
    root = user_path(source)
    files = sorted(root.rglob("*.json"))
    if not files:
        problem = "holds no <category>/<toolset>.json; give ToolBench's tools folder"
        raise ToolError(source, [problem])
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
        group = category or file.parent.name
        for index, endpoint in enumerate(endpoints):
            where = f"{place} [{index}]"
            if isinstance(endpoint, dict):
                yield _from_toolbench(toolset, endpoint, group, file.stem, where, limits)
            else:
                yield Refusal(where, "not a function", type(endpoint).__name__)


def _from_toolbench(
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
    except Unusable as error:
        return Refusal(place, str(error), error.detail)
    description = plain(endpoint.get("description"))
    if not description and plain(toolset.get("tool_description")):
        description = joined(endpoint.get("name"), toolset.get("tool_description"))
        reader.note(BORROWED)
    written = endpoint.get("name", "")
    name = snake_case(written) if isinstance(written, str) else ""
    if name != written:
        reader.note(SNAKE_CASE)
    changes = tuple(reader.changes)
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
