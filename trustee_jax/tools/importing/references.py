"""References as JSON pointers: what `$id` and `$anchor` name is looked up once for a document."""

from collections.abc import Iterator, Mapping
from typing import Any

from referencing import Registry, Resource, Specification
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

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

    References that lead nowhere or out of the document stay as they are.

    Args:
      document: JSON values; schemas may stand anywhere in them.
    """
    pointers = {id(node): pointer for node, pointer in _places(document, "#")}
    registry: Registry[Any] = Registry().with_resource("", _SPECIFICATION.create_resource(document))
    return _copy(document, registry.crawl().resolver(), pointers)


def _copy(node: Any, resolver: Any, pointers: Mapping[int, str]) -> Any:
    if isinstance(node, list):
        return [_copy(item, resolver, pointers) for item in node]
    if not isinstance(node, Mapping):
        return node
    resolver = resolver.in_subresource(_SPECIFICATION.create_resource(node))
    copy = {key: _copy(value, resolver, pointers) for key, value in node.items()}
    if isinstance(reference := node.get("$ref"), str):
        try:
            target = resolver.lookup(reference).contents
        except (Unresolvable, ValueError):
            return copy
        copy["$ref"] = pointers.get(id(target), reference)
    return copy


def _places(node: Any, pointer: str) -> Iterator[tuple[Any, str]]:
    """Every object and list of a document with the pointer that leads to it."""
    waiting = [(node, pointer)]
    while waiting:
        node, pointer = waiting.pop()
        if not isinstance(node, Mapping | list):
            continue
        yield node, pointer
        pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in pairs:
            if isinstance(value, Mapping | list):
                part = str(key).replace("~", "~0").replace("/", "~1").replace("%", "%25")
                waiting.append((value, f"{pointer}/{part}"))


def _named(node: Any) -> str | None:
    name = node.get("$id") if isinstance(node, Mapping) else None
    return name if isinstance(name, str) else None


def _anchors(specification: Specification[Any], node: Any) -> Any:
    if not isinstance(node, Mapping):
        return ()
    named = {k: node[k] for k in ("$anchor", "$dynamicAnchor") if isinstance(node.get(k), str)}
    anchors = DRAFT202012.anchors_in(named)
    return [type(a)(name=a.name, resource=specification.create_resource(node)) for a in anchors]


def _inner(node: Any) -> Iterator[Any]:
    children = node.values() if isinstance(node, Mapping) else node
    is_open = isinstance(node, Mapping | list)
    return (child for child in (children if is_open else ()) if isinstance(child, Mapping | list))


def _in_subresource(segments: Any, resolver: Any, subresource: Resource[Any]) -> Any:
    return resolver.in_subresource(subresource)


# JSON Schema's own specification finds schemas below its keywords only, not those of an OpenAPI
# document below "components", "paths" and the rest.
_SPECIFICATION: Specification[Any] = Specification(  # type: ignore[call-arg]
    name="a document that holds schemas",
    id_of=_named,
    subresources_of=_inner,
    anchors_in=_anchors,
    maybe_in_subresource=_in_subresource,
)
