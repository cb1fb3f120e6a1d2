"""JSON schemas out of the schemas of OpenAPI 3.0 and 3.1, Swagger 2 and BFCL.

What comes out is Draft 2020-12 without references, and small: types, descriptions, enums,
defaults, formats, limits, properties, items and `anyOf`. References are put in place and cut off
where they recur, `allOf` is merged, alternatives of an object become one object, other ones
`anyOf`, `nullable` becomes the type null.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from trustee_jax.tools.importing.limits import Limits
from trustee_jax.tools.importing.names import snake_case
from trustee_jax.tools.importing.text import cut, plain
from trustee_jax.tools.importing.values import bounds, coerced, fits, json_types

RECURSIVE = "recursive schema cut off"
DEEP = "deeply nested schema cut off"
UNKNOWN_TYPE = "unknown type left open"
VALUES = "values of another type than their parameter left out"
RENAMED = "parameter renamed"
MERGED = "alternatives merged into one object"
MANY = "too many alternatives left open"

_MOST_ALTERNATIVES = 6
_LONGEST_DEFAULT = 200
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# Of two merged schemas, what these say is joined; otherwise the first one wins.
_JOINED = ("properties", "required", "allOf")
_SHAPES = ("type", "$ref", "properties", "items", "enum", "const", "allOf", "oneOf", "anyOf")


class Unusable(ValueError):
    """A schema that cannot be brought here; its text is the reason, `detail` the particulars."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason)
        self.detail = detail


class TooLarge(Exception):
    """A schema has more parts than its size allows."""


class SchemaReader:
    """Reads the schemas of one function.

    Attributes:
      changes: reasons for which something of the schemas was changed or left out.
    """

    def __init__(self, document: Any, limits: Limits, depth: int | None = None):
        """Takes the document that references lead into, and the depth at which to cut."""
        self.changes: dict[str, None] = {}
        self._document = document
        self._limits = limits
        self._depth = limits.depth if depth is None else depth
        # A part is seldom written in fewer bytes: what is over would be dropped in the end.
        self._parts_left = limits.bytes // 12

    def resolve(self, node: Any) -> Any:
        """Follows a reference to what it stands for; other values are returned as they are.

        Raises:
          Unusable: the reference leads out of the document, nowhere, or to itself.
        """
        seen: set[str] = set()
        while isinstance(node, Mapping) and isinstance(node.get("$ref"), str):
            reference = node["$ref"]
            if reference in seen:
                raise Unusable("reference to itself", reference)
            seen.add(reference)
            node = self._lookup(reference)
        return node

    def _lookup(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise Unusable("reference to another document", reference)
        node = self._document
        for part in unquote(reference[1:]).split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                raise Unusable("reference that leads nowhere", reference)
        return node

    def schema(self, node: Any, depth: int = 0, above: tuple[str, ...] = ()) -> dict[str, Any]:
        """Returns one schema.

        Args:
          node: as the document has it; what is no schema counts as the open one.
          depth: levels above it.
          above: references that it stands in.

        Raises:
          Unusable: a reference cannot be followed.
          TooLarge: it, with those read before, has too many parts.
        """
        self._parts_left -= 1
        if self._parts_left < 0:
            raise TooLarge
        flat, above = self.merged(node, above)
        types, understood = json_types(flat.get("type"))
        if not understood:
            self._note(UNKNOWN_TYPE)
        types = types or _implied(flat)
        nullable = True in (flat.get("nullable"), flat.get("x-nullable"))
        if nullable and types and "null" not in types:
            types = [*types, "null"]
        result: dict[str, Any] = {}
        if types:
            result["type"] = types[0] if len(types) == 1 else types
        description = cut(plain(flat.get("description")), self._limits.parameter_description)
        if description:
            result["description"] = description
        self._add_values(flat, types, result)
        if isinstance(flat.get("format"), str) and flat["format"].strip():
            result["format"] = flat["format"].strip()
        result |= bounds(flat, types)
        if "array" in types and "items" in flat and self._descends(depth):
            result["items"] = self._items(flat["items"], depth, above)
        if "object" in types or _alternatives(flat):
            self._add_properties(flat, result, depth, above)
        if "properties" not in result and "items" not in result:
            self._add_alternatives(flat, result, depth, above)
        return result

    def merged(self, node: Any, above: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Returns a schema with its references and `allOf` put in place, one level deep.

        Args:
          node: as the document has it.
          above: references that it stands in; one of them again is cut off.

        Returns:
          (the schema, `above` with the references followed).
        """
        if not isinstance(node, Mapping):
            return {}, above
        if isinstance(node.get("$ref"), str):
            reference = node["$ref"]
            if reference in above:
                self._note(RECURSIVE)
                return self._stub(node), above
            target, above = self.merged(self._lookup(reference), (*above, reference))
            beside = ("description", "default", "nullable", "deprecated", "readOnly")
            return {**target, **{k: node[k] for k in beside if k in node}}, above
        flat = {key: value for key, value in node.items() if key != "allOf"}
        parts = node.get("allOf")
        for part in parts if isinstance(parts, list) else ():
            self._parts_left -= 1
            if self._parts_left < 0:
                raise TooLarge
            other, above = self.merged(part, above)
            _join(flat, other)
        return flat, above

    def _stub(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """What stands for a schema that is cut off: its type and description."""
        target = self.resolve(node)
        kept = ("type", "description")
        return {k: target[k] for k in kept if k in target} if isinstance(target, Mapping) else {}

    def properties(
        self, flat: Mapping[str, Any], depth: int, above: tuple[str, ...]
    ) -> tuple[dict[str, Any], list[str]]:
        """Returns the properties of an object schema and the names of those required.

        Left out are those that are read-only, or deprecated and not required. Names get the
        letters, digits, "_", "." and "-" that function calling allows.
        """
        listed = flat.get("properties")
        wanted = flat.get("required")
        required = {r for r in wanted if isinstance(r, str)} if isinstance(wanted, list) else set()
        properties: dict[str, Any] = {}
        kept: list[str] = []
        for name, child in (listed if isinstance(listed, Mapping) else {}).items():
            traits = self.resolve(child)
            if not isinstance(traits, Mapping):
                traits = {}
            optional = name not in required
            if traits.get("readOnly") is True or (traits.get("deprecated") is True and optional):
                continue
            key = self.key(str(name))
            if not key or key in properties:
                continue
            properties[key] = self.schema(child, depth, above)
            if not optional or traits.get("required") is True:  # Draft 3 wrote it there
                kept.append(key)
        return properties, kept

    def key(self, name: str) -> str:
        """Returns a valid name for a parameter; "" where nothing of it is usable."""
        if _KEY.fullmatch(name):
            return name
        self._note(RENAMED)
        plain_name = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")[:64] or snake_case(name)
        return plain_name if not plain_name[:1].isdigit() else f"_{plain_name}"[:64]

    def _add_values(self, flat: Mapping[str, Any], types: list[str], out: dict[str, Any]) -> None:
        listed = flat.get("enum", [flat["const"]] if "const" in flat else None)
        if isinstance(listed, list) and listed:
            values: list[Any] = []
            for value in listed:
                scalar = value is None or isinstance(value, str | int | float)
                usable = coerced(value, types) if scalar else None
                if usable is None and (value is not None or (types and "null" not in types)):
                    self._note(VALUES)
                elif not any(usable == v and type(usable) is type(v) for v in values):
                    values.append(usable)
            if "null" in types and values and None not in values:
                values.append(None)
            if values and values != [None]:
                out["enum"] = values
        if flat.get("default") is not None:
            default = coerced(flat["default"], types)
            usable = default is not None and default != "" and (not types or fits(default, types))
            if not usable or ("enum" in out and default not in out["enum"]):
                if flat["default"] != "":
                    self._note(VALUES)
            elif len(repr(default)) <= _LONGEST_DEFAULT:
                out["default"] = default

    def _descends(self, depth: int) -> bool:
        if depth < self._depth:
            return True
        self._note(DEEP)
        return False

    def _items(self, items: Any, depth: int, above: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(items, list):  # one schema a position: what they share is the first one
            items = items[0] if items else {}
        return self.schema(items, depth + 1, above)

    def _add_properties(
        self, flat: dict[str, Any], out: dict[str, Any], depth: int, above: tuple[str, ...]
    ) -> None:
        flat = self.without_alternatives(flat, above)
        extra = flat.get("additionalProperties")
        if flat.get("properties") and self._descends(depth):
            properties, required = self.properties(flat, depth + 1, above)
            if properties:
                out.setdefault("type", "object")
                out["properties"] = properties
            if required:
                out["required"] = required
            if extra is True:
                out["additionalProperties"] = True
        if isinstance(extra, Mapping) and extra and self._descends(depth):
            out["additionalProperties"] = self.schema(extra, depth + 1, above)

    def without_alternatives(self, flat: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
        """Returns an object schema whose `oneOf` or `anyOf` is merged into its properties.

        Alternatives of which some are no objects stay as they are.
        Required is what the schema itself requires, or all of the alternatives do.
        """
        variants = [self.merged(v, above)[0] for v in _alternatives(flat)]
        variants = [v for v in variants if not set(_SHAPES).isdisjoint(v)]
        objects = [v for v in variants if isinstance(v.get("properties"), Mapping)]
        if not objects or (len(objects) < len(variants) and "properties" not in flat):
            return flat
        variants = objects
        self._note(MERGED)
        flat = {key: value for key, value in flat.items() if key not in ("oneOf", "anyOf")}
        everywhere = set.intersection(*(set(_texts(v.get("required"))) for v in variants))
        own_properties = flat.get("properties")
        properties = dict(own_properties) if isinstance(own_properties, Mapping) else {}
        for name in dict.fromkeys(name for v in variants for name in v["properties"]):
            found = [v["properties"][name] for v in variants if name in v["properties"]]
            properties.setdefault(name, self._any_of(found))
        flat |= {"type": "object", "properties": properties}
        own = _texts(flat.get("required"))
        flat["required"] = own + [name for name in sorted(everywhere) if name not in own]
        return flat

    def _any_of(self, schemas: list[Any]) -> Any:
        """Returns the schema of a property that alternatives describe each in its own way."""
        distinct = [s for i, s in enumerate(schemas) if s not in schemas[:i]]
        if len(distinct) == 1:
            return distinct[0]
        resolved = [self.resolve(s) for s in distinct]
        enums = [_constants(s) for s in resolved]
        if all(enums):  # what tells the alternatives apart, as a rule
            return {**resolved[0], "enum": [v for values in enums for v in values]}
        return {"anyOf": distinct}

    def _add_alternatives(
        self, flat: Mapping[str, Any], out: dict[str, Any], depth: int, above: tuple[str, ...]
    ) -> None:
        variants = [v for v in _alternatives(flat) if not set(_SHAPES).isdisjoint(v)]
        if not variants or not self._descends(depth):
            return
        if len(variants) > _MOST_ALTERNATIVES:
            self._note(MANY)
            return
        distinct: dict[str, dict[str, Any]] = {}
        for variant in variants:
            read = self.schema({**_inherited(flat), **variant}, depth + 1, above)
            distinct.setdefault(json.dumps(read, sort_keys=True), read)
        if len(distinct) == 1:
            (only,) = distinct.values()
            out.update({key: value for key, value in only.items() if key not in out})
        elif all(distinct.values()):
            out["anyOf"] = list(distinct.values())

    def _note(self, reason: str) -> None:
        self.changes[reason] = None


def _join(flat: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Adds to a schema what another one demands beside it."""
    for key, value in other.items():
        if key == "properties" and isinstance(value, Mapping):
            mine = flat.get("properties")
            flat[key] = {**value, **(mine if isinstance(mine, Mapping) else {})}
        elif key == "required" and isinstance(value, list):
            mine = _texts(flat.get(key))
            flat[key] = mine + [name for name in _texts(value) if name not in mine]
        elif key not in _JOINED:
            flat.setdefault(key, value)


def _alternatives(flat: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    for key in ("oneOf", "anyOf"):
        if isinstance(flat.get(key), list):
            return [variant for variant in flat[key] if isinstance(variant, Mapping)]
    return []


def _constants(schema: Any) -> list[Any]:
    """The values that a schema lists; none if it lists none."""
    if not isinstance(schema, Mapping):
        return []
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return values if isinstance(values, list) else []


def _inherited(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": flat["type"]} if isinstance(flat.get("type"), str) else {}


def _implied(flat: Mapping[str, Any]) -> list[str]:
    """The type of a schema that does not say it."""
    if isinstance(flat.get("properties"), Mapping) or "additionalProperties" in flat:
        return ["object"]
    if "items" in flat:
        return ["array"]
    values = flat.get("enum")
    if isinstance(values, list) and values and all(isinstance(v, str) for v in values):
        return ["string"]
    if {"pattern", "minLength", "maxLength"} & set(flat) or flat.get("format") in (
        "date",
        "date-time",
        "uuid",
        "uri",
        "email",
    ):
        return ["string"]
    return []


def _texts(value: Any) -> list[str]:
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def arguments_object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Returns the schema of the arguments of a function."""
    result: dict[str, Any] = {"type": "object", "properties": properties}
    return {**result, "required": required} if required else result


def size(schema: Any) -> int:
    """Returns the bytes of a schema as `normalise` counts them."""
    return len(json.dumps(schema, ensure_ascii=False).encode("utf-8", "replace"))


def depths(limits: Limits) -> Iterable[int]:
    """Returns the depths to read a function at until it is small enough."""
    return range(limits.depth, 0, -1)
