"""Schemas of older drafts in the spelling of Draft 2020-12, and without what cannot be checked."""

import contextlib
import json
import re
from typing import Any
from urllib.parse import quote

from trustee_jax.toolsets.importing.documents import NAMES, at, with_plain_references
from trustee_jax.toolsets.importing.names import rename_fields
from trustee_jax.toolsets.importing.values import JSON_TYPES, SLASHES, without_slashes
from trustee_jax.toolsets.patterns import is_fast, is_key_pattern, python_text
from trustee_jax.toolsets.remedies import OF_OBJECTS
from trustee_jax.toolsets.schema import Path, subschemas

TYPE = 'type "object" added'
NULLABLE = "nullable written as a type that may be null"
LETTERS = "types put in small letters"
TUPLE = "items of an older draft written as prefixItems"
DEPENDENCIES = "dependencies of an older draft written as dependentRequired or dependentSchemas"
EXCLUSIVE = "exclusive limits of an older draft written as numbers"
REQUIRED = "required: true moved into the list of its object"
NAMED = "$id, $anchor and references by them written as paths"
BESIDE = "what an older draft ignores beside $ref left out"
PATTERN = "pattern that cannot be checked left out"
SPELLED = "pattern of names written as Python has it"
KEYS = "pattern of names that cannot be checked opened to all names"

_NAMES = (*NAMES, "$recursiveAnchor", "$vocabulary")
# They hold a part of a schema's place, its name or a note, and demand nothing.
_BESIDE_REF = frozenset(
    [
        "$ref",
        "$schema",
        "$id",
        "id",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "definitions",
        "$defs",
        "readOnly",
        "writeOnly",
        "deprecated",
    ]
)
# Null may break what these say; notes hold for it as well.
_WHOLE = frozenset(("$ref", "allOf", "oneOf", "not", "if", "const"))
_NOTES = _BESIDE_REF - {"$ref"}

# A schema with a reference, and what it leads to.
_Target = tuple[dict[str, Any], Any]


def modern(schema: Any) -> tuple[Any, list[str]]:
    """Returns the parameters of a function in Draft 2020-12, and the reasons of all changes.

    Keywords of Draft 4 to 2019-09 are read whichever draft the schema declares; only where it
    declares Draft 4, 6 or 7, what stands beside a `$ref` is not. What is no object is returned as
    it is, and what breaks the rules of every draft stays.

    Args:
      schema: JSON values.

    Raises:
      RecursionError: It is nested too deeply.
    """
    if not isinstance(schema, dict):
        return schema, []
    reasons: dict[str, None] = {}
    declared = re.search(r"draft-0?([467])\b", str(schema.get("$schema")))
    draft = declared[1] if declared else ""
    schema = _with_paths(json.loads(json.dumps(schema)), draft == "4", reasons)
    nodes = list(subschemas(schema))
    targets = _targets(schema, nodes)
    for _, node in nodes:
        if draft and "$ref" in node and not node.keys() <= _BESIDE_REF:
            for key in node.keys() - _BESIDE_REF:
                del node[key]
            reasons[BESIDE] = None
        for rewrite in (
            *(_tuples, _dependencies, _exclusive_limits, _required, _letters),
            *(_patterns, _key_patterns),
        ):
            reasons |= dict.fromkeys(rewrite(node))
        if node is not schema:  # arguments are never null
            reasons |= dict.fromkeys(_nullable(node, targets))
    reasons |= dict.fromkeys(rename_fields([node for _, node in subschemas(schema)]))
    schema = _as_object(schema, targets, reasons)
    _follow(schema, targets)
    return schema, list(reasons)


def _with_paths(schema: dict[str, Any], is_4: bool, reasons: dict[str, None]) -> dict[str, Any]:
    """References by `$id`, `$anchor` and what older drafts had for them as paths."""
    for _, node in subschemas(schema):
        node.pop("$schema", None)
        if is_4 and isinstance(node.get("id"), str):
            node["$id"] = node.pop("id")
        if isinstance(node.get("$id"), str) and node["$id"].startswith("#"):
            node["$anchor"] = node.pop("$id")[1:]
        for word in ("$dynamicRef", "$recursiveRef"):
            if isinstance(node.get(word), str) and "$ref" not in node:
                node["$ref"] = node.pop(word)
                reasons[NAMED] = None
    nodes = [node for _, node in subschemas(schema)]
    if all(word not in node for node in nodes for word in _NAMES):
        return schema
    reasons[NAMED] = None
    # The library stumbles over a field called $schema.
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        schema = with_plain_references(schema)
    for _, node in subschemas(schema):
        for word in _NAMES:
            node.pop(word, None)
    return schema


def _targets(schema: dict[str, Any], nodes: list[tuple[Path, dict[str, Any]]]) -> list[_Target]:
    """Every schema with a reference to another one, and that one."""
    found = []
    for _, node in nodes:
        if isinstance(reference := node.get("$ref"), str) and reference.startswith("#"):
            with contextlib.suppress(LookupError):
                found.append((node, at(schema, reference[1:])))
    return found


def _follow(schema: dict[str, Any], targets: list[_Target]) -> None:
    """Points references to where their targets stand now."""
    places = {id(node): path for path, node in subschemas(schema)}
    for node, target in targets:
        if id(target) in places:
            parts = (str(p).replace("~", "~0").replace("/", "~1") for p in places[id(target)])
            node["$ref"] = "#" + "".join(f"/{quote(part, safe='!$&()*+,;=:@~')}" for part in parts)


def _tuples(node: dict[str, Any]) -> list[str]:
    if not isinstance(node.get("items"), list) or "prefixItems" in node:
        return []
    listed = node.pop("items")
    if listed:
        node["prefixItems"] = listed
    if "additionalItems" in node:
        node["items"] = node.pop("additionalItems")
    return [TUPLE]


def _dependencies(node: dict[str, Any]) -> list[str]:
    written: Any = node.get("dependencies")
    newer = [node.get(word, {}) for word in ("dependentRequired", "dependentSchemas")]
    if not all(isinstance(value, dict) for value in (written, *newer)):
        return []
    del node["dependencies"]
    for name, needed in written.items():
        is_schema = isinstance(needed, dict | bool)
        word = "dependentSchemas" if is_schema else "dependentRequired"
        node.setdefault(word, {})[name] = [needed] if isinstance(needed, str) else needed
    return [DEPENDENCIES]


def _exclusive_limits(node: dict[str, Any]) -> list[str]:
    found = []
    for limit in ("minimum", "maximum"):
        word = f"exclusive{limit.title()}"
        if isinstance(flag := node.get(word), bool):
            del node[word]
            if flag and limit in node:
                node[word] = node.pop(limit)
            found.append(EXCLUSIVE)
    return found


def _required(node: dict[str, Any]) -> list[str]:
    """`required` beside a property's type, as Draft 3 had it and many write it."""
    properties, listed = node.get("properties"), node.get("required", [])
    if not isinstance(properties, dict) or not isinstance(listed, list):
        return []
    flags = {
        name: child.pop("required")
        for name, child in properties.items()
        if isinstance(child, dict) and isinstance(child.get("required"), bool)
    }
    if missing := [name for name, flag in flags.items() if flag and name not in listed]:
        node["required"] = [*listed, *missing]
    return [REQUIRED] if flags else []


def _letters(node: dict[str, Any]) -> list[str]:
    written = node.get("type")
    names = written if isinstance(written, list) else [written]
    small = [n.lower() if isinstance(n, str) and n.lower() in JSON_TYPES else n for n in names]
    if small == names:
        return []
    node["type"] = small if isinstance(written, list) else small[0]
    return [LETTERS]


def _patterns(node: dict[str, Any]) -> list[str]:
    if not isinstance(written := node.get("pattern"), str):
        return []
    pattern = without_slashes(written)
    if pattern is None or not is_fast(pattern):
        del node["pattern"]
        return [PATTERN]
    node["pattern"] = pattern
    return [SLASHES] if pattern != written else []


def _key_patterns(node: dict[str, Any]) -> list[str]:
    written = node.get("patternProperties")
    if not isinstance(written, dict):
        return []
    plain = {without_slashes(pattern): child for pattern, child in written.items()}
    if plain == written and all(map(is_key_pattern, written)):
        return []
    readable = {python_text(p): child for p, child in plain.items() if p is not None}
    kept = {pattern: child for pattern, child in readable.items() if is_key_pattern(pattern)}
    node["patternProperties"] = kept
    if len(kept) == len(written):
        return [SPELLED]
    # Names that only the lost pattern allowed would be unknown ones otherwise.
    node["additionalProperties"] = True
    return [KEYS]


def _nullable(node: dict[str, Any], targets: list[_Target]) -> list[str]:
    """`nullable`, as OpenAPI 3.0 and Gemini have it."""
    if node.get("nullable") is not True:
        return []
    del node["nullable"]
    if not node.keys().isdisjoint(_WHOLE):
        inner = {word: node.pop(word) for word in list(node) if word not in _NOTES}
        node["anyOf"] = [inner, {"type": "null"}]
        targets[:] = [(inner if owner is node else owner, target) for owner, target in targets]
        return [NULLABLE]
    if isinstance(listed := node.get("anyOf"), list) and {"type": "null"} not in listed:
        listed.append({"type": "null"})
    types = node.get("type", "null")
    if types != "null" and "null" not in (types if isinstance(types, list) else ()):
        node["type"] = [*(types if isinstance(types, list) else [types]), "null"]
    if isinstance(listed := node.get("enum"), list) and None not in listed:
        listed.append(None)
    return [NULLABLE]


def _as_object(
    schema: dict[str, Any], targets: list[_Target], reasons: dict[str, None]
) -> dict[str, Any]:
    """What says what an object holds, but not that it is one, says that too."""
    types = schema.get("type")
    may_be_others = isinstance(types, list) and "object" in types  # arguments are nothing else
    if not may_be_others and ("type" in schema or not schema.keys() <= OF_OBJECTS):
        return schema
    if not may_be_others:
        reasons[TYPE] = None
    if all(target is not schema for _, target in targets):
        return {"type": "object"} | {k: v for k, v in schema.items() if k != "type"}
    # What refers to the whole means it as it was.
    outside: dict[str, Any] = {
        word: schema.pop(word) for word in ("definitions", "$defs") if word in schema
    }
    definitions = outside.setdefault("$defs", {})
    name = "Arguments"
    while name in definitions:
        name += "_"
    definitions[name] = schema
    result: dict[str, Any] = {"type": "object", "$ref": "", **outside}
    targets.append((result, schema))
    return result
