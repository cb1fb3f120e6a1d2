"""Names of parameters that function calling does not allow, exchanged within a JSON schema."""

from collections.abc import Iterator, Sequence
from typing import Any

from trustee_jax.tools.importing.names import Keys

RENAMED = "parameter renamed"
NOT_RENAMED = "parameter not renamed, as patterns speak of its name"
_NAMED = ("properties", "dependentRequired", "dependentSchemas")
# What stands in them are values, whose fields are those of the schemas.
_VALUES = ("default", "const", "enum", "examples")


def rename_fields(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """Gives all fields valid and distinct names, in place; returns the reasons of changes.

    One name becomes the same other one throughout, so that what several schemas say of a field
    goes on to hold. The original stands first in its description.

    Args:
      nodes: a schema and all within it, in Draft 2020-12.
    """
    names = list(dict.fromkeys(name for node in nodes for name in _names(node)))
    keys = Keys(names)
    known = {name: keys.claim(name) for name in names}
    if all(name == key for name, key in known.items()):
        return []
    if any("patternProperties" in node or "propertyNames" in node for node in nodes):
        return [NOT_RENAMED]
    for node in nodes:
        _rename(node, known)
    return [RENAMED]


def _names(node: dict[str, Any]) -> Iterator[str]:
    for word in _NAMED:
        yield from _object(node, word)
    for listed in (node.get("required"), *_object(node, "dependentRequired").values()):
        if isinstance(listed, list):
            yield from (name for name in listed if isinstance(name, str))


def _rename(node: dict[str, Any], known: dict[str, str]) -> None:
    for name, child in (properties := _object(node, "properties")).items():
        schema = {} if child is True else child
        if known[name] != name and isinstance(schema, dict):
            text = schema.get("description", "")
            schema["description"] = f"{name}: {text}".rstrip(": ")
            properties[name] = schema
    for word in _NAMED:
        if named := _object(node, word):
            node[word] = {known[name]: child for name, child in named.items()}
    needed = _object(node, "dependentRequired")
    for owner, word in ((node, "required"), *((needed, name) for name in needed)):
        if isinstance(listed := owner.get(word), list):
            owner[word] = [known.get(n, n) if isinstance(n, str) else n for n in listed]
    for word in _VALUES:
        if word in node:
            node[word] = _renamed(node[word], known)


def _object(node: dict[str, Any], word: str) -> dict[str, Any]:
    return node[word] if isinstance(node.get(word), dict) else {}


def _renamed(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {known.get(name, name): _renamed(child, known) for name, child in value.items()}
    return [_renamed(child, known) for child in value] if isinstance(value, list) else value
