"""OpenAPI 3.0, 3.1 and Swagger 2 documents: an operation becomes a function.

What becomes of an operation's parts is in `operation.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from trustee_jax.paths import user_path
from trustee_jax.toolsets.importing.candidates import Item, Limits, Refusal
from trustee_jax.toolsets.importing.documents import load, mapping
from trustee_jax.toolsets.importing.names import snake_case
from trustee_jax.toolsets.importing.operation import Operation
from trustee_jax.toolsets.importing.parts import Unusable
from trustee_jax.toolsets.importing.schemas import SchemaReader
from trustee_jax.toolsets.tool import ToolError

SUFFIXES = (".json", ".yaml", ".yml")
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")


def read_openapi(source: str, category: str, limits: Limits) -> Iterator[Item]:
    """Yields every operation of a document, or of all documents in a folder.

    Args:
      source: A JSON or YAML file, or a folder of them; files in it that are no OpenAPI documents
        are refused one by one.
      category: Of all functions; "" takes the title of each document.
      limits: Sizes of one function.

    Raises:
      ToolError: The file cannot be read or is no OpenAPI document; the folder has none.
    """
    path = user_path(source)
    if not path.is_dir():
        yield from operations(load(path), path.name, limits, category=category)
        return
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise ToolError(source, [f"the folder holds no {', '.join(SUFFIXES)} file"])
    for file in files:
        place = str(file.relative_to(path))
        try:
            document = load(file)
        except ToolError as error:
            yield Refusal(place, "file that is no OpenAPI document", error.problems[0])
        else:
            yield from operations(document, place, limits, category=category)


def operations(
    document: Mapping[str, Any],
    place: str,
    limits: Limits,
    *,
    category: str = "",
    provider: str = "",
) -> Iterator[Item]:
    """Yields every operation of one document.

    Args:
      document: From `load` or `parse`.
      place: The name of the document in reports.
      limits: Sizes of one function.
      category: Of all functions; "" takes the document's title in snake_case.
      provider: Who offers them; "" takes `x-providerName`, the server's host, or the title.
    """
    info = mapping(document.get("info"))
    title = info.get("title") if isinstance(info.get("title"), str) else ""
    category = category or snake_case(str(title))
    provider = provider or _provider(document) or category
    hidden = _security_names(document)
    names: set[str] = set()
    for route, path_item in mapping(document.get("paths")).items():
        try:
            entry = mapping(SchemaReader(document, limits).resolve(path_item))
        except Unusable as error:
            yield Refusal(f"{place} {route}", str(error), error.detail)
            continue
        for method in METHODS:
            if method not in entry:
                continue
            where = f"{place} {method.upper()} {route}"
            written = entry[method]
            if not isinstance(written, Mapping):
                yield Refusal(where, "operation that is no object")
            elif written.get("deprecated") is True:
                yield Refusal(where, "deprecated")
            else:
                operation = Operation(document, str(route), method, entry, written, hidden, limits)
                name = operation.name(names)
                names.add(name)
                yield operation.candidate(name, category, provider, where)


def _security_names(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(place, lower-case name) of the API keys that the document declares."""
    components = mapping(document.get("components"))
    schemes = {
        **mapping(document.get("securityDefinitions")),
        **mapping(components.get("securitySchemes")),
    }
    return {
        (str(scheme.get("in")).strip().lower(), str(scheme.get("name")).lower())
        for scheme in schemes.values()
        if isinstance(scheme, Mapping) and scheme.get("type") == "apiKey"
    }


def named_provider(document: Mapping[str, Any]) -> str:
    """The name that a document itself gives to who offers it; "" if it gives none."""
    named = mapping(document.get("info")).get("x-providerName")
    return named.strip() if isinstance(named, str) else ""


def _provider(document: Mapping[str, Any]) -> str:
    if named := named_provider(document):
        return named
    if isinstance(document.get("host"), str):
        return str(document["host"])
    servers = document.get("servers")
    first = mapping(servers[0]) if isinstance(servers, list) and servers else {}
    try:
        return urlsplit(str(first.get("url", ""))).hostname or ""
    except ValueError:
        return ""
