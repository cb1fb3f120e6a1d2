"""Schemas that speak of nothing but which fields of an object are there: either/or, not both."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

_LISTS = ("anyOf", "oneOf", "allOf")
_SILENT = ("title", "description")


def is_presence(node: Any) -> bool:
    """Whether a schema, as it is written, demands fields, or forbids them, and no more."""
    words = node.keys() - set(_SILENT) if isinstance(node, Mapping) else set()
    return bool(words - {"type"}) and all(_is_presence(word, node[word]) for word in words)


def _is_presence(word: str, value: Any) -> bool:
    if word == "type":
        return bool(value == "object")
    if word == "required":
        return _is_names(value)
    if word == "dependentRequired":
        return isinstance(value, Mapping) and all(map(_is_names, value.values()))
    if word == "not":
        return is_presence(value)
    return (
        word in _LISTS and isinstance(value, list) and bool(value) and all(map(is_presence, value))
    )


def renamed(node: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any] | None:
    """Returns such a schema with other names for its fields; None if one of them has none.

    Args:
      node: For which `is_presence` holds, or from `or_null`.
      keys: Name of a field -> its new one.
    """
    try:
        return _renamed(node, keys)
    except KeyError:
        return None


def _renamed(node: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for word, value in node.items():
        if word == "type":
            result[word] = value
        elif word == "required":
            result[word] = [keys[name] for name in value]
        elif word == "dependentRequired":
            result[word] = {keys[k]: [keys[name] for name in v] for k, v in value.items()}
        elif word == "not":
            result[word] = _renamed(value, keys)
        elif word in _LISTS:
            result[word] = [_renamed(item, keys) for item in value]
    return result


def or_null(node: dict[str, Any]) -> dict[str, Any]:
    """Returns such a schema so that null meets it too: "not" and "oneOf" may forbid that."""
    if Draft202012Validator(node).is_valid(None):
        return node
    return {"anyOf": [node, {"type": "null"}]}


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
