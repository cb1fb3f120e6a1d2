"""OpenAPI 3.0, 3.1 and Swagger 2 documents: an operation becomes a function.

Its arguments are the path and query parameters, the headers that are neither standard nor carry
credentials, and the fields of the body (JSON, or a form), all in one object. A body that is no
object is the parameter "body". Left out are what the document's security schemes name, other
well-known credentials, cookies, constants, and parameters that only steer the transport.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trustee_jax.tools.importing.candidates import Candidate, Item, Refusal
from trustee_jax.tools.importing.documents import load
from trustee_jax.tools.importing.limits import Limits
from trustee_jax.tools.importing.names import snake_case
from trustee_jax.tools.importing.schemas import (
    SchemaReader,
    TooLarge,
    Unusable,
    arguments_object,
    depths,
    size,
)
from trustee_jax.tools.importing.text import joined
from trustee_jax.tools.tool import ToolError

SUFFIXES = (".json", ".yaml", ".yml")
METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
CREDENTIALS = "credentials left out"
TRANSPORT = "parameters of the transport left out"
CLASH = "body field with the name of another parameter left out"

_CREDENTIAL = re.compile(
    r"auth(?!or(?!iz))|api[-_.]?key|app[-_.]?key|(access|session|security|bearer|app)[-_.]?token|"
    r"^token$|secret|signature|subscription[-_]key|csrf|xsrf|credential|bearer|"
    r"x-amz-(date|algorithm|expires|signedheaders|target)|user_?key$",
    re.IGNORECASE,
)
# Headers of HTTP and of tracing; query parameters that choose the form of the answer.
_HEADERS = re.compile(
    r"accept(-.*)?|content-?.*|user-agent|if-.*|range|host|cookie|cache-control|connection|date|"
    r"referer|origin|prefer|via|etag|x-forwarded-.*|x-requested-with|ocp-date|"
    r".*(request|correlation|trace|interaction|client-?request)-?_?id|return-client-request-id|"
    r".*user-agent|.*idempotency.*|x-http-method-override|x-amz-.*|x-ms-.*|x-fapi-.*",
    re.IGNORECASE,
)
_TRANSPORT = re.compile(
    r"\$\.xgafv|alt|callback|pretty_?print|quotauser|userip|upload_?protocol|uploadtype|"
    r"api[-_]version|\$format|jsonp",
    re.IGNORECASE,
)
_JSON = re.compile(r"application/(.*\+)?json|text/json|\*/\*|", re.IGNORECASE)
_FORM = re.compile(r"(application/x-www-form-urlencoded|multipart/.*)", re.IGNORECASE)


def read_openapi(source: str, category: str, limits: Limits) -> Iterator[Item]:
    """Yields every operation of a document, or of all documents in a folder.

    Args:
      source: a JSON or YAML file, or a folder of them; files in it that are no OpenAPI documents
        are refused one by one.
      category: of all functions; "" takes the title of each document.
      limits: sizes of one function.

    Raises:
      ToolError: the file cannot be read or is no OpenAPI document; the folder has none.
    """
    path = Path(source).expanduser()
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
      document: from `load` or `parse`.
      place: the name of the document in reports.
      limits: sizes of one function.
      category: of all functions; "" takes the document's title in snake_case.
      provider: who offers them; "" takes `x-providerName`, the server's host, or the title.
    """
    info = _mapping(document.get("info"))
    title = info.get("title") if isinstance(info.get("title"), str) else ""
    category = category or snake_case(str(title))
    provider = provider or _provider(document, info) or category
    hidden = _security_names(document)
    for route, path_item in _mapping(document.get("paths")).items():
        try:
            entry = _mapping(SchemaReader(document, limits).resolve(path_item))
        except Unusable as error:
            yield Refusal(f"{place} {route}", str(error), error.detail)
            continue
        for method in METHODS:
            if method not in entry:
                continue
            where = f"{place} {method.upper()} {route}"
            operation = entry[method]
            if not isinstance(operation, Mapping):
                yield Refusal(where, "operation that is no object")
            elif operation.get("deprecated") is True:
                yield Refusal(where, "deprecated")
            else:
                yield _candidate(
                    _Operation(document, str(route), method, entry, operation, hidden, limits),
                    (category, provider, where),
                )


def _candidate(operation: "_Operation", origin: tuple[str, str, str]) -> Item:
    category, provider, where = origin
    smallest: dict[str, Any] | None = None
    changes: dict[str, None] = {}
    for depth in depths(operation.limits):
        try:
            smallest, changes = operation.parameters(depth)
        except TooLarge:
            continue
        except Unusable as error:
            return Refusal(where, str(error), error.detail)
        count = len(smallest["properties"])
        if count > operation.limits.parameters or size(smallest) <= operation.limits.bytes:
            break
    if smallest is None:
        return Refusal(where, f"parameters larger than {operation.limits.bytes} bytes")
    return Candidate(
        operation.name(),
        operation.description(),
        smallest,
        category,
        provider,
        where,
        tuple(changes),
    )


class _Operation:
    """One operation of a document, and how its parts become a function."""

    def __init__(
        self,
        document: Mapping[str, Any],
        route: str,
        method: str,
        entry: Mapping[str, Any],
        operation: Mapping[str, Any],
        hidden: set[tuple[str, str]],
        limits: Limits,
    ):
        self.limits = limits
        self._document = document
        self._route = route
        self._method = method
        self._entry = entry
        self._operation = operation
        self._hidden = hidden

    def name(self) -> str:
        """The operation's id in snake_case, or method and path where it has none."""
        written = self._operation.get("operationId")
        if isinstance(written, str):  # "GET_ListUsers": as documents with one path do
            written = written.removeprefix(f"{self._method.upper()}_")
        name = snake_case(written) if isinstance(written, str) else ""
        return name or snake_case(f"{self._method} {self._route}")

    def description(self) -> str:
        """Summary and description, of the path where the operation has neither."""
        own = joined(self._operation.get("summary"), self._operation.get("description"))
        return own or joined(self._entry.get("summary"), self._entry.get("description"))

    def parameters(self, depth: int) -> tuple[dict[str, Any], dict[str, None]]:
        """Returns the schema of the arguments and what was changed for it."""
        reader = SchemaReader(self._document, self.limits, depth)
        properties: dict[str, Any] = {}
        required: list[str] = []
        bodies = []
        for parameter in self._listed(reader):
            place = parameter.get("in")
            name = parameter.get("name")
            if place == "body":
                bodies.append(parameter)
            elif isinstance(name, str) and self._is_wanted(name, str(place), reader):
                self._add(parameter, name, reader, properties, required)
        for body in bodies:  # Swagger 2
            name = body.get("name") if isinstance(body.get("name"), str) else "body"
            self._add_body(
                body.get("schema"), str(name), body.get("required"), reader, properties, required
            )
        if "requestBody" in self._operation:
            body = _mapping(reader.resolve(self._operation["requestBody"]))
            schema = _content(_mapping(body.get("content")))
            if schema is not None:
                self._add_body(schema, "body", body.get("required"), reader, properties, required)
        return arguments_object(properties, required), reader.changes

    def _listed(self, reader: SchemaReader) -> list[Mapping[str, Any]]:
        """The parameters of the path, those of the operation in their place."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for owner in (self._entry, self._operation):
            listed = owner.get("parameters")
            for entry in listed if isinstance(listed, list) else ():
                parameter = _mapping(reader.resolve(entry))
                found[str(parameter.get("name")), str(parameter.get("in"))] = parameter
        return list(found.values())

    def _is_wanted(self, name: str, place: str, reader: SchemaReader) -> bool:
        if place not in ("path", "query", "header", "formData"):
            return False  # cookies
        credential = (place, name.lower()) in self._hidden or _CREDENTIAL.search(name)
        if credential and place in ("query", "header"):
            reader.changes[CREDENTIALS] = None
            return False
        if (place == "header" and _HEADERS.fullmatch(name)) or (
            place == "query" and _TRANSPORT.fullmatch(name)
        ):
            reader.changes[TRANSPORT] = None
            return False
        return True

    def _add(
        self,
        parameter: Mapping[str, Any],
        name: str,
        reader: SchemaReader,
        properties: dict[str, Any],
        required: list[str],
    ) -> None:
        is_required = parameter.get("required") is True or parameter.get("in") == "path"
        if parameter.get("deprecated") is True and not is_required:
            return
        node = parameter.get("schema")
        if node is None:
            node = _content(_mapping(parameter.get("content")))
        if node is None:  # Swagger 2 has the type beside the name
            node = {k: v for k, v in parameter.items() if k not in ("required", "in", "name")}
        schema = reader.schema(node)
        description = reader.schema({"description": parameter.get("description")})
        schema = {**schema, **description}
        values = schema.get("enum", ())
        if len(values) == 1 and parameter.get("in") in ("query", "header"):
            reader.changes[TRANSPORT] = None  # a constant: the caller chooses nothing
            return
        key = reader.key(name)
        if key and key not in properties:
            properties[key] = schema
            if is_required:
                required.append(key)

    def _add_body(
        self,
        node: Any,
        name: str,
        is_required: Any,
        reader: SchemaReader,
        properties: dict[str, Any],
        required: list[str],
    ) -> None:
        flat, above = reader.merged(node, ())
        flat = reader.without_alternatives(flat, above)
        if not isinstance(flat.get("properties"), Mapping) or not flat["properties"]:
            key = reader.key(name) or "body"
            if key in properties:
                key = "body" if "body" not in properties else f"{key}_body"
            schema = reader.schema(node)
            if schema in ({}, {"type": "object"}) and is_required is not True:
                return  # some documents give every operation an empty body
            properties[key] = schema if schema else {"type": "object"}
            if is_required is True:
                required.append(key)
            return
        fields, needed = reader.properties(flat, 0, above)
        for key, schema in fields.items():
            if key in properties:
                reader.changes[CLASH] = None
            elif self._method != "get" and re.fullmatch(_BODY_CREDENTIAL, key):
                reader.changes[CREDENTIALS] = None
            else:
                properties[key] = schema
                # Authors leave the body's own flag out far more often than they mean "optional".
                if key in needed and is_required is not False:
                    required.append(key)


# In a body, a password may be what the operation is about (create a user); these never are.
_BODY_CREDENTIAL = re.compile(
    r"(x-)?api[-_]?key|access[-_]?token|(client[-_]?)?secret|authorization", re.IGNORECASE
)


def _content(content: Mapping[str, Any]) -> Any:
    """The schema of the media type to use: JSON, a form, or whatever stands first."""
    for pattern in (_JSON, _FORM, re.compile(".*")):
        for name, media in content.items():
            kind = str(name).partition(";")[0].strip()
            if pattern.fullmatch(kind) and isinstance(media, Mapping):
                schema = media.get("schema")
                return schema if schema is not None else {"type": "string"}
    return None


def _security_names(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(place, lower-case name) of the API keys that the document declares."""
    components = _mapping(document.get("components"))
    schemes = {
        **_mapping(document.get("securityDefinitions")),
        **_mapping(components.get("securitySchemes")),
    }
    return {
        (str(scheme.get("in")), str(scheme.get("name")).lower())
        for scheme in schemes.values()
        if isinstance(scheme, Mapping) and scheme.get("type") == "apiKey"
    }


def _provider(document: Mapping[str, Any], info: Mapping[str, Any]) -> str:
    named = info.get("x-providerName")
    if isinstance(named, str) and named.strip():
        return named.strip()
    if isinstance(document.get("host"), str):
        return str(document["host"])
    servers = document.get("servers")
    first = _mapping(servers[0]) if isinstance(servers, list) and servers else {}
    try:
        return urlsplit(str(first.get("url", ""))).hostname or ""
    except ValueError:
        return ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
