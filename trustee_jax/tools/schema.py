"""What makes one function description usable: the checks behind `load_repository`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from trustee_jax.tools.remedies import bad_schema, not_an_object, undefined_name, unknown_field

FIELDS = ("name", "description", "parameters", "strict")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_META_SCHEMA = Draft202012Validator(
    Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
)
# Beside one of these, `properties` need not be the full list of what an object may hold.
_OPENING = frozenset(
    (
        "additionalProperties",
        "unevaluatedProperties",
        "patternProperties",
        "dependentSchemas",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "$ref",
        "$dynamicRef",
    )
)

Path = tuple[str | int, ...]


def closed_objects(schema: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields (path, schema) of every object whose `properties` name all that it may hold."""
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if isinstance(properties, dict):
        if _OPENING.isdisjoint(schema):
            yield path, schema
        for name, child in properties.items():
            yield from closed_objects(child, (*path, "properties", name))
    yield from closed_objects(schema.get("items"), (*path, "items"))


def function_problems(function: Mapping[str, Any]) -> list[str]:
    """Returns "field: problem; remedy" for everything wrong with a bare function dict."""
    problems = [
        f"{field}: {unknown_field(str(field), FIELDS)}" for field in function if field not in FIELDS
    ]
    name = function.get("name")
    if not isinstance(name, str) or not name:
        problems.append("name: missing or not a string; give the tool a name")
    elif not _NAME.fullmatch(name):
        usable = re.sub(r"[^a-zA-Z0-9_-]+", "_", name).strip("_")[:64]
        remedy = f"; use {usable!r}" if usable else ""
        problems.append(f"name: must be 1-64 letters, digits, '_' or '-'{remedy}")
    description = function.get("description")
    if not isinstance(description, str) or not description.strip():
        problems.append("description: missing or empty; say what the tool does and returns")
    if "parameters" in function:
        problems += _parameter_problems(function["parameters"])
    return problems


def _parameter_problems(schema: Any) -> list[str]:
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return [f"parameters: {not_an_object(schema)}"]
    problems = []
    for error in _META_SCHEMA.iter_errors(schema):
        cause = best_match([error]) or error
        problems.append(f"{_dotted(cause.absolute_path)}: {bad_schema(cause)}")
    if problems:  # what follows needs a schema of the right shape
        return list(dict.fromkeys(problems))  # each vocabulary of the meta-schema finds it anew
    for path, node in closed_objects(schema):
        for name in node.get("required", ()):
            if name not in node["properties"]:
                found = undefined_name(name, node["properties"])
                problems.append(f"{_dotted((*path, 'required'))}: {found}")
    if "properties" not in schema and schema.get("required") and _OPENING.isdisjoint(schema):
        problems.append("parameters.required: there are no properties; define or drop them")
    problems += [
        f"{_dotted((*path, 'enum'))}: there are no values to choose from; list them, or drop it"
        for path, node in _nodes(schema)
        if node.get("enum") == []
    ]
    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    for path, reference in _references(schema):
        if not _resolves(resolver, reference):
            problems.append(
                f"{_dotted(path)}: {reference!r} leads nowhere; put the schema under $defs of "
                "the same tool"
            )
    return problems


def _resolves(resolver: Any, reference: str) -> bool:
    """Whether a reference, and any it leads to, ends at a schema of the same tool."""
    seen: set[str] = set()
    # A remote schema would be fetched in the middle of a run.
    while reference.startswith("#") and reference not in seen:
        seen.add(reference)
        try:
            target = resolver.lookup(reference).contents
        except Unresolvable:
            return False
        if not isinstance(target, dict) or "$ref" not in target:
            return isinstance(target, dict | bool)
        reference = target["$ref"]
    return False


def _references(schema: Any) -> Iterator[tuple[Path, str]]:
    for path, node in _nodes(schema):
        if isinstance(reference := node.get("$ref"), str):
            yield (*path, "$ref"), reference


def _nodes(node: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every object within a schema, itself included, with its path."""
    if isinstance(node, dict):
        yield path, node
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in children:
        if isinstance(value, dict | list):
            yield from _nodes(value, (*path, key))


def _dotted(path: Any) -> str:
    return ".".join(["parameters", *map(str, path)])
