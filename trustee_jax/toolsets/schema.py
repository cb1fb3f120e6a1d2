"""What makes one function description usable: the checks behind `load_repository`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from trustee_jax.errors import raises_recursion_error
from trustee_jax.toolsets.patterns import is_key_pattern, is_pattern
from trustee_jax.toolsets.remedies import (
    MENDS,
    bad_schema,
    not_an_object,
    undefined_name,
    unknown_field,
)

FIELDS = ("name", "description", "parameters", "strict")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FORMATS = FormatChecker(())
_FORMATS.checks("regex")(is_pattern)
_META_SCHEMA = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=_FORMATS)
# Where schemas stand within a schema, in all drafts: alone or in a list, and by name.
SCHEMAS = frozenset(
    (
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "contains"),
        *("items", "prefixItems", "additionalItems", "unevaluatedItems"),
        *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    )
)
NAMED_SCHEMAS = frozenset(
    (
        *("properties", "patternProperties", "dependentSchemas", "dependencies"),
        *("$defs", "definitions"),
    )
)
# They let a reference mean something that only a run's validator would find to be missing.
_ROAMING = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")
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


def subschemas(schema: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields (path, schema) of a schema and of all within it, of whichever draft they are."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key, value in schema.items():
        if key in NAMED_SCHEMAS and isinstance(value, dict):
            for name, child in value.items():
                yield from subschemas(child, (*path, key, name))
        elif key in SCHEMAS and isinstance(value, list):
            for index, child in enumerate(value):
                yield from subschemas(child, (*path, key, index))
        elif key in SCHEMAS:
            yield from subschemas(value, (*path, key))


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
    try:
        with raises_recursion_error():
            return _schema_problems(schema)
    except RecursionError:
        return ["parameters: nested too deeply; simplify them"]


def _schema_problems(schema: dict[str, Any]) -> list[str]:
    resolver = resolver_of(schema)
    broken: list[str] = []
    problems: list[str] = []
    # A reference may lead to where no keyword of JSON Schema has a schema.
    roots: list[tuple[Path, Any]] = [((), schema)]
    seen: set[int] = set()
    for root_path, root in roots:
        if found := _broken_rules(root, root_path):
            broken += found
            continue
        problems += _undefined_names(root) if root is schema else ()
        for path, node in subschemas(root, root_path):
            seen.add(id(node))
            problems += _misleading(path, node)
        for path, node in subschemas(root, root_path):
            if "$ref" not in node:
                continue
            # JSON Schema does not look at schemas where it knows no keyword.
            written = isinstance(node["$ref"], str)
            target = _target(resolver, node["$ref"]) if written else None
            if target is None:
                problems.append(
                    f"{_dotted((*path, '$ref'))}: {node['$ref']!r} leads nowhere; put the schema "
                    "under $defs of the same tool"
                )
            elif id(target) not in seen:
                seen.add(id(target))
                roots.append((tuple(node["$ref"].split("/")[1:]), target))
    # What else is wrong can be said of a schema of the right shape only.
    return broken or problems


def _broken_rules(schema: Any, path: Path) -> list[str]:
    """What JSON Schema forbids."""
    problems = []
    for error in _META_SCHEMA.iter_errors(schema):
        cause = best_match([error]) or error
        problems.append(f"{_dotted((*path, *cause.absolute_path))}: {bad_schema(cause)}")
    return list(dict.fromkeys(problems))  # each vocabulary of the meta-schema finds it anew


def _undefined_names(schema: dict[str, Any]) -> Iterator[str]:
    for path, node in closed_objects(schema):
        for name in node.get("required", ()):
            if name not in node["properties"]:
                found = undefined_name(name, node["properties"])
                yield f"{_dotted((*path, 'required'))}: {found}"
    if "properties" not in schema and schema.get("required") and _OPENING.isdisjoint(schema):
        yield "parameters.required: there are no properties; define or drop them"


def _misleading(path: Path, node: dict[str, Any]) -> Iterator[str]:
    """What JSON Schema allows, but cannot be meant or would not be held to."""
    if node.get("enum") == []:
        what = "there are no values to choose from; list them, or drop it"
        yield f"{_dotted((*path, 'enum'))}: {what}"
    if "dependencies" in node:
        what = "of an older draft; write dependentRequired or dependentSchemas"
        yield f"{_dotted((*path, 'dependencies'))}: {what} ({MENDS})"
    for pattern in node.get("patternProperties", ()):
        if not is_key_pattern(pattern):
            what = f"{pattern!r} is no pattern that names can be checked by; simplify it"
            yield f"{_dotted((*path, 'patternProperties'))}: {what} ({MENDS})"
    for word in _ROAMING:
        if word in node and (path or word != "$id"):
            yield f"{_dotted((*path, word))}: is not supported; remove it ({MENDS})"


def resolver_of(schema: Mapping[str, Any]) -> Any:
    """Returns what follows the references of a tool's schema, within it."""
    return Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()


def _target(resolver: Any, reference: str) -> Any:
    """What a reference leads to, if that ends at a schema of the same tool, or None."""
    first = target = None
    seen: set[str] = set()
    # A remote schema would be fetched in the middle of a run.
    while reference.startswith("#") and reference not in seen:
        seen.add(reference)
        try:
            target = resolver.lookup(reference).contents
        except (Unresolvable, AttributeError, TypeError, ValueError):  # as the library has it
            return None
        first = target if first is None else first
        if not isinstance(target, dict) or not isinstance(target.get("$ref"), str):
            return first if isinstance(target, dict | bool) else None
        reference = target["$ref"]
    return None


def _dotted(path: Any) -> str:
    return ".".join(["parameters", *map(str, path)])
