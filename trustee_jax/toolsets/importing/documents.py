"""Files that hold an OpenAPI document, as JSON values, and references within a document."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import yaml
from referencing import Registry, Specification
from referencing.exceptions import Unresolvable

from trustee_jax.toolsets.files import read_text, unique_keys
from trustee_jax.toolsets.importing.text import plain
from trustee_jax.toolsets.importing.yaml_values import load_yaml
from trustee_jax.toolsets.tool import ToolError


def load(path: Path) -> Mapping[str, Any]:
    """Returns a document as JSON values.

    Raises:
      ToolError: The file cannot be read or is no OpenAPI document.
    """
    return parse(read_text(path), str(path), is_yaml=path.suffix.lower() != ".json")


def parse(text: str | bytes, source: str, *, is_yaml: bool = False) -> Mapping[str, Any]:
    """Returns the text of a document as JSON values; `source` names it in errors.

    All references within the document are made pointers ("#/components/schemas/Pet"), also those
    that name a schema by its `$id` or `$anchor`.

    Raises:
      ToolError: It is no JSON or YAML, or no OpenAPI document.
    """
    try:
        document = load_yaml(text) if is_yaml else json.loads(text, object_pairs_hook=unique_keys)
        written = text if isinstance(text, str) else text.decode("utf-8", "replace")
        if any(name in written for name in NAMES):
            document = with_plain_references(document)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "YAML" if is_yaml else "JSON"
        raise ToolError(source, [f"not valid {kind}: {_line(error)}; correct it"]) from error
    version = ""
    if isinstance(document, Mapping):
        version = str(document.get("openapi") or document.get("swagger") or "")
    if not version.startswith(("2", "3")):
        remedy = 'give one with "openapi": "3..." or "swagger": "2.0" at its top'
        raise ToolError(source, [f"not an OpenAPI 3 or Swagger 2 document; {remedy}"])
    assert isinstance(document, Mapping)
    return document


def _line(error: Exception) -> str:
    return plain(str(error))[:200] or type(error).__name__


def mapping(value: Any) -> Mapping[str, Any]:
    """Returns a part of a document that is to be an object; an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}


NAMES = ("$id", "$anchor", "$dynamicAnchor")
"""The keywords by which a schema is given a name of its own."""
_NO_RESOLVER: Any = Registry().resolver()  # asked for, and of no use within one document


def at(document: Any, pointer: str) -> Any:
    """Returns what a JSON pointer ("/components/schemas/Pet") leads to.

    Raises:
      LookupError: It leads nowhere, or to neither an object nor a boolean.
    """
    try:
        found = Specification.OPAQUE.create_resource(document).pointer(pointer, _NO_RESOLVER)
    except (Unresolvable, TypeError, ValueError) as error:
        raise LookupError(pointer) from error
    if not isinstance(found.contents, Mapping | bool):
        raise LookupError(pointer)
    return found.contents


def with_plain_references(document: Any) -> Any:
    """Returns a document whose `$ref`s point to their targets by path from its root.

    References that lead nowhere or out of the document stay as they are. (The `Registry` of
    `referencing` looks for names below the keywords of JSON Schema only, not below "components".)

    Args:
      document: JSON values; schemas may stand anywhere in them.

    Raises:
      ValueError: A name or a reference is no URI.
    """
    targets = {"": "#"}
    for node, pointer, base in _objects(document):
        if isinstance(node.get("$id"), str):
            targets[base] = pointer
        for word in ("$anchor", "$dynamicAnchor"):
            if isinstance(node.get(word), str):
                targets[f"{base}#{node[word]}"] = pointer
    return _copy(document, "", targets)


def _copy(node: Any, base: str, targets: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_copy(item, base, targets) for item in node]
    if not isinstance(node, Mapping):
        return node
    base = _base(node, base)
    copy = {key: _copy(value, base, targets) for key, value in node.items()}
    if isinstance(reference := node.get("$ref"), str):
        url, fragment = urldefrag(urljoin(base, reference))
        if fragment.startswith("/") and url in targets:
            copy["$ref"] = targets[url] + fragment
        else:
            copy["$ref"] = targets.get(f"{url}#{fragment}" if fragment else url, reference)
    return copy


def _base(node: Mapping[str, Any], base: str) -> str:
    """The URI that references within an object start from."""
    name = node.get("$id")
    return urldefrag(urljoin(base, name)).url if isinstance(name, str) else base


def _objects(document: Any) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Every object of a document with the pointer that leads to it, and its URI."""
    waiting = [(document, "#", "")]
    while waiting:
        node, pointer, base = waiting.pop()
        if isinstance(node, Mapping):
            base = _base(node, base)
            yield node, pointer, base
        pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in pairs:
            if isinstance(value, Mapping | list):
                part = str(key).replace("~", "~0").replace("/", "~1").replace("%", "%25")
                waiting.append((value, f"{pointer}/{part}", base))
