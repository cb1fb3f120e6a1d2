"""References within a document: by path, by `$id` and by `$anchor`."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urldefrag, urljoin

from referencing import Registry, Specification
from referencing.exceptions import Unresolvable

NAMES = ("$id", "$anchor", "$dynamicAnchor")
"""The keywords by which a schema is given a name of its own."""
_NO_RESOLVER: Any = Registry().resolver()  # asked for, and of no use within one document


def at(document: Any, pointer: str) -> Any:
    """Returns what a JSON pointer ("/components/schemas/Pet") leads to.

    Raises:
      LookupError: it leads nowhere, or to neither an object nor a boolean.
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
      ValueError: a name or a reference is no URI.
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
