"""One operation of an OpenAPI document as a function.

Its arguments are the path and query parameters, the headers that are neither standard nor carry
credentials, and the fields of the body (JSON, or a form), all in one object. A body that is no
object is the parameter "body". Left out are what the document's security schemes name, other
well-known credentials, cookies, constants, what is deprecated, and parameters that only steer the
transport.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Set
from typing import Any

from trustee_jax.toolsets.importing.candidates import Candidate, Item, Limits, Refusal
from trustee_jax.toolsets.importing.demands import Demands, Part
from trustee_jax.toolsets.importing.dialects import left_out
from trustee_jax.toolsets.importing.documents import mapping
from trustee_jax.toolsets.importing.names import SNAKE_CASE, snake_case
from trustee_jax.toolsets.importing.parts import TooLarge, Unusable
from trustee_jax.toolsets.importing.schemas import DEPRECATED, Field, SchemaReader
from trustee_jax.toolsets.importing.text import joined, plain
from trustee_jax.toolsets.importing.values import equal

CREDENTIALS = "credentials left out"
TRANSPORT = "parameters of the transport left out"
CONSTANT = "parameters with a single value left out"
COOKIES = "cookies left out"
UNPLACED = "parameter that cannot be placed left out"
TWICE = "parameter of the same name and place left out"
UNDESCRIBED = "content that has no schema left open"
EMPTY_BODY = "body without content left out"
OTHER_BODIES = "other forms of the body left out"
NO_OBJECT = "body that is no object left out"
OPTIONAL_BODY = "fields of an optional body made optional"
FROM_PATH = "named by method and path"
ASSUMED_BODY = "body taken for required where nothing is said"

_PLACES = ("path", "query", "header", "cookie", "formdata")
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
_TEXT = re.compile(r"text/(?!json$).*|application/(.*\+)?xml", re.IGNORECASE)
_EXAMPLES = frozenset(("example", "examples"))
# In a body, a password may be what the operation is about (create a user); these never are.
_BODY_CREDENTIAL = re.compile(
    r"(x-)?api[-_]?key|access[-_]?token|(client[-_]?)?secret|authorization", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """One operation of a document, and how its parts become a function.

    Attributes:
      document: The OpenAPI document.
      route: Its path.
      method: In lower case.
      entry: The path item.
      operation: Of it.
      hidden: (place, lower-case name) of the parameters that carry credentials.
      limits: Sizes of the function.
    """

    document: Mapping[str, Any]
    route: str
    method: str
    entry: Mapping[str, Any]
    operation: Mapping[str, Any]
    hidden: Set[tuple[str, str]]
    limits: Limits

    def candidate(self, name: str, category: str, provider: str, place: str) -> Item:
        """Returns the function, its schema cut at the depth at which it is small enough."""
        smallest: dict[str, Any] | None = None
        changes: dict[str, None] = {}
        for depth in range(self.limits.depth, 0, -1):
            try:
                smallest, changes = self.parameters(depth)
            except TooLarge:
                continue
            except Unusable as error:
                return Refusal(place, str(error), error.detail)
            count = len(smallest["properties"])
            if count > self.limits.parameters or _size(smallest) <= self.limits.bytes:
                break
        if smallest is None:
            return Refusal(place, f"parameters larger than {self.limits.bytes} bytes")
        if name != self.operation.get("operationId"):
            is_own = name == self._own_name()
            changes[SNAKE_CASE if is_own else FROM_PATH] = None
        return Candidate(
            name, self.description(), smallest, category, provider, place, tuple(changes)
        )

    def name(self, taken: Set[str]) -> str:
        """The operation's id in snake_case, or method and path where it has none of its own.

        Args:
          taken: Names of other operations of the document.
        """
        name = self._own_name()
        if name and name not in taken:
            return name
        path = snake_case(f"{self.method} {self.route}")
        numbered = (f"{path}_{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain((path,), numbered) if name not in taken)

    def _own_name(self) -> str:
        written = self.operation.get("operationId")
        if not isinstance(written, str):
            return ""
        # "GET_ListUsers": as documents with one path do
        return snake_case(written.removeprefix(f"{self.method.upper()}_"))

    def description(self) -> str:
        """Summary and description, of the path where the operation has neither."""
        own = joined(self.operation.get("summary"), self.operation.get("description"))
        return own or joined(self.entry.get("summary"), self.entry.get("description"))

    def parameters(self, depth: int) -> tuple[dict[str, Any], dict[str, None]]:
        """Returns the schema of the arguments and what was changed for it."""
        reader = SchemaReader(self.document, self.limits, depth)
        fields: list[Field] = []
        bodies: list[tuple[str, Any, Mapping[str, Any]]] = []
        for (name, place), parameter in self._listed(reader).items():
            if place == "body":  # Swagger 2
                bodies.append((name, parameter.get("schema"), parameter))
            elif self._is_wanted(name, place, reader):
                fields += _parameter(parameter, name, place, reader)
        if "requestBody" in self.operation:
            body = mapping(reader.resolve(self.operation["requestBody"]))
            content = mapping(body.get("content"))
            media = _media(content, reader)
            if media is None:
                reader.note(EMPTY_BODY)
            else:
                schema = media.get("schema")
                bodies.append(("body", schema, body))
                others = [mapping(other).get("schema", schema) for other in content.values()]
                if not all(equal(other, schema) for other in others):
                    reader.note(OTHER_BODIES)
        if len(bodies) > 1:
            reader.note(OTHER_BODIES)
        found: Demands | None = None
        for name, schema, body in bodies[:1]:
            of_body, found = self._body(name, schema, body, reader)
            fields += of_body
        return reader.arguments(fields, found), reader.changes

    def _listed(self, reader: SchemaReader) -> dict[tuple[str, str], Mapping[str, Any]]:
        """(name, place) -> parameter of the path, or of the operation in its place."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for owner in (self.entry, self.operation):
            listed = owner.get("parameters")
            own: dict[tuple[str, str], Mapping[str, Any]] = {}
            if listed is not None and not isinstance(listed, list):
                reader.note(UNPLACED)
                continue
            for entry in listed or ():
                parameter = mapping(reader.resolve(entry))
                key = _key(parameter)
                if key is None:
                    reader.note(UNPLACED)
                    continue
                if not equal(own.setdefault(key, parameter), parameter):
                    reader.note(TWICE)
            found |= own
        return found

    def _is_wanted(self, name: str, place: str, reader: SchemaReader) -> bool:
        if place == "cookie":
            reader.note(COOKIES)
            return False
        credential = (place, name.lower()) in self.hidden or _CREDENTIAL.search(name)
        if credential and place in ("query", "header"):
            reader.note(CREDENTIALS)
            return False
        if (place == "header" and _HEADERS.fullmatch(name)) or (
            place == "query" and _TRANSPORT.fullmatch(name)
        ):
            reader.note(TRANSPORT)
            return False
        return True

    def _body(
        self, name: str, node: Any, body: Mapping[str, Any], reader: SchemaReader
    ) -> tuple[list[Field], Demands | None]:
        """Returns the fields of the body, and what is demanded of them as a whole."""
        is_required = body.get("required")
        if node is None:
            reader.note(UNDESCRIBED)
            text = plain(body.get("description"))
            return [Field(name, Part({}), is_required is True, "body", text)], None
        found = reader.demands(node)
        types = found.told_types()
        if not found.properties or (types is not None and "object" not in types):
            if is_required is not True and _is_empty(found):
                reader.note(EMPTY_BODY)  # some documents give every operation one
                return [], None
            text = "" if found.descriptions else plain(body.get("description"))
            return [Field(name, Part(node), is_required is True, "body", text)], None
        if types is not None and len(types) > 1:
            reader.note(NO_OBJECT)
        if found.values is not None:
            reader.note(left_out("enum"))
        fields = reader.fields(found, "body")
        wanted = [
            f for f in fields if self.method == "get" or not _BODY_CREDENTIAL.fullmatch(f.name)
        ]
        if len(wanted) < len(fields):
            reader.note(CREDENTIALS)
        least = {word for word in found.limits if word == "minProperties"}
        demanding = any(f.required for f in wanted) or found.conditions or found.groups or least
        if demanding and is_required is False:
            reader.note(OPTIONAL_BODY)
            wanted = [dataclasses.replace(field, required=False) for field in wanted]
            limits = {word: found.limits[word] for word in found.limits.keys() - least}
            found = dataclasses.replace(found, conditions=[], groups=[], limits=limits)
        elif demanding and is_required is not True:
            # Authors leave the body's own flag out far more often than they mean "optional".
            reader.note(ASSUMED_BODY)
        return wanted, found


def _key(parameter: Mapping[str, Any]) -> tuple[str, str] | None:
    """(name, place) of a parameter, the place in small letters; None where one is not known."""
    name, place = parameter.get("name"), str(parameter.get("in")).strip().lower()
    if isinstance(name, int | float) and not isinstance(name, bool):
        name = str(name)
    if place == "body":  # whose name is no more than a label
        return (name if isinstance(name, str) and name.strip() else "body"), place
    return (name, place) if isinstance(name, str) and place in _PLACES else None


def _parameter(
    parameter: Mapping[str, Any], name: str, place: str, reader: SchemaReader
) -> list[Field]:
    """Returns a parameter; none if the caller has nothing to choose."""
    is_required = parameter.get("required") is True or place == "path"
    if parameter.get("deprecated") is True and not is_required:
        reader.note(DEPRECATED)
        return []
    node = parameter.get("schema")
    media = _media(mapping(parameter.get("content")), reader) if node is None else None
    if media is not None:
        node = media.get("schema")
        if node is None:
            reader.note(UNDESCRIBED)
            node = {}
    elif node is None:  # Swagger 2 has the type beside the name
        node = {k: v for k, v in parameter.items() if k not in ("required", "in", "name")}
    elif not _EXAMPLES.isdisjoint(parameter):
        reader.note(left_out("examples"))
    part = Part(node)
    values = reader.demands(part).values
    if values is not None and len(values) == 1 and place in ("query", "header"):
        reader.note(CONSTANT)
        return []
    return [Field(name, part, is_required, place, plain(parameter.get("description")))]


def _is_empty(found: Demands) -> bool:
    """Whether a schema says at most that a value is an object."""
    rest = dataclasses.replace(found, types=None, extra=None, reasons={})
    return rest == Demands() and found.types in (None, ["object"])


def _media(content: Mapping[str, Any], reader: SchemaReader) -> Mapping[str, Any] | None:
    """The media type to use: JSON, a form, or whatever stands first; None if there is none.

    What is a text needs no schema to be known for one.
    """
    for pattern in (_JSON, _FORM, re.compile(".*")):
        for name, media in content.items():
            kind = str(name).partition(";")[0].strip()
            if pattern.fullmatch(kind) and isinstance(media, Mapping | None):
                media = media or {}
                if not _EXAMPLES.isdisjoint(media):
                    reader.note(left_out("examples"))
                is_text = media.get("schema") is None and _TEXT.fullmatch(kind)
                return {"schema": {"type": "string"}} if is_text else media
    return None


def _size(schema: Any) -> int:
    """The bytes of a schema as `normalise` counts them."""
    return len(json.dumps(schema, ensure_ascii=False).encode("utf-8", "replace"))
