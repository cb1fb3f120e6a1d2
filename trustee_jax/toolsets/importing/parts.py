"""The schemas of a document: references, `allOf` and alternatives of an object put in place."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from trustee_jax.toolsets.importing.conditions import is_presence, or_null
from trustee_jax.toolsets.importing.demands import INFERRED, Demands, Group, Part, overlap
from trustee_jax.toolsets.importing.dialects import own_demands
from trustee_jax.toolsets.importing.documents import at
from trustee_jax.toolsets.importing.values import distinct, equal, is_among

MERGED = "alternatives merged into one object"

_OBJECT = frozenset(("object", "null"))


def is_null(node: Any) -> bool:
    """Whether a schema, as it is written, is that of null alone."""
    if not isinstance(node, Mapping) or not {"$ref", "allOf"}.isdisjoint(node):
        return False
    return node.get("type") in ("null", ["null"]) or node.get("enum", [node.get("const", ...)]) == [
        None
    ]


def possible(group: Group) -> list[Part]:
    """Returns the alternatives that some value meets."""
    return [variant for variant in group.variants if variant.node is not False]


def merged_objects(found: Demands, read: Callable[[Part], Demands]) -> Demands:
    """Returns the demands with the alternatives of an object merged into its fields.

    Alternatives of which some are no objects stay as they are; those that only demand fields
    become conditions. Required is what the schema itself requires, or all alternatives do; where
    each requires something more, one of these is.

    Args:
      found: With alternatives, or without.
      read: Gives the demands of a part.
    """
    for group in found.groups:
        variants = possible(group)
        others = [variant for variant in variants if not is_null(variant.node)]
        if others and all(is_presence(variant.node) for variant in others):
            condition = {group.word: [variant.node for variant in others]}
            condition = condition if len(others) == len(variants) else or_null(condition)
            conditions = [*found.conditions, condition]
            found = dataclasses.replace(_without(found, group), conditions=conditions)
        elif others:
            found = _merged(found, group, others, read)
    return found


def _without(found: Demands, group: Group) -> Demands:
    return dataclasses.replace(found, groups=[g for g in found.groups if g is not group])


def _merged(
    found: Demands, group: Group, parts: list[Part], read: Callable[[Part], Demands]
) -> Demands:
    types = found.told_types()
    variants = [merged_objects(read(part), read) for part in parts]
    if types:
        variants = [v for v in variants if v.types is None or overlap(v.types, types)]
    is_object = bool(found.properties) and types is not None and _OBJECT.issuperset(types)
    if not any(v.properties for v in variants) or not all(
        _OBJECT.issuperset(v.types or ()) and (v.properties or is_object) for v in variants
    ):
        return found
    result = dataclasses.replace(_without(found, group), reasons=dict(found.reasons))
    for variant in variants:
        result.reasons |= variant.reasons
    result.note(MERGED)
    if types is None and any(v.types is None for v in variants):
        result.note(INFERRED)
    nullable = len(parts) < len(possible(group)) or any("null" in (v.types or ()) for v in variants)
    nullable = nullable and (types is None or "null" in types)
    result.types = ["object", "null"] if nullable else ["object"]
    result.properties = _fields(found, variants)
    everywhere = [n for n in variants[0].required if all(n in v.required for v in variants)]
    result.required = list(dict.fromkeys([*found.required, *everywhere]))
    opens = any(v.by_pattern or v.extra not in (None, False) for v in variants)
    result.extra = True if opens and found.extra is None else found.extra
    further = [
        [n for n in v.required if n not in result.required and not _is_set_by_server(v, n, read)]
        for v in variants
    ]
    if all(further):
        condition = {"anyOf": [{"required": names} for names in distinct(further)]}
        result.conditions = [*found.conditions, condition]
    return result


def _is_set_by_server(found: Demands, name: str, read: Callable[[Part], Demands]) -> bool:
    return name in found.properties and "readOnly" in read(found.properties[name]).traits


def _fields(found: Demands, variants: Sequence[Demands]) -> dict[str, Part]:
    """The fields of an object with those of its alternatives, each of which may describe one."""
    result = dict(found.properties)
    for name in dict.fromkeys(name for v in variants for name in v.properties):
        parts = [v.properties[name] for v in variants if name in v.properties]
        different = [
            part
            for i, part in enumerate(parts)
            if not any(equal(part.node, other.node) for other in parts[:i])
        ]
        one_of_them = different[0] if len(different) == 1 else Part({"anyOf": different})
        if name not in result:
            result[name] = one_of_them
        elif len(parts) == len(variants):
            result[name] = Part({"allOf": [result[name], one_of_them]})
    return result


def are_disjoint(schemas: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no value can meet two of these schemas, told from types and choices."""
    return all(_are_disjoint(one, other) for one, other in combinations(schemas, 2))


def _are_disjoint(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if "enum" in one and "enum" in other:
        return not any(is_among(value, other["enum"]) for value in one["enum"])
    return "type" in one and "type" in other and not overlap(_types(one), _types(other))


def _types(schema: Mapping[str, Any]) -> list[str]:
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def fused(schemas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns distinct alternatives; those that are choices of one type as one choice."""
    found = distinct(schemas)
    shapes = {(str(s.get("type")), s.get("description"), *sorted(s)) for s in found}
    if len(shapes) > 1 or not all({"enum"} <= s.keys() <= _CHOICE for s in found):
        return found
    return [{**found[0], "enum": distinct(value for s in found for value in s["enum"])}]


_CHOICE = {"type", "description", "enum"}


RECURSIVE = "recursive schema cut off"


class Unusable(ValueError):
    """A schema that cannot be brought here; its text is the reason, `detail` the particulars."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason)
        self.detail = detail


class TooLarge(Unusable):
    """A schema has more parts than its size allows."""

    def __init__(self, limit: int):
        super().__init__(f"parameters larger than {limit} bytes")


class PartReader:
    """Reads what the schemas of a document demand, each once."""

    def __init__(self, document: Any, most: int):
        """Takes the document that references lead into, and how many schemas may be read."""
        self._document = document
        self._left = self._most = most
        self._known: dict[Part, Demands] = {}

    def resolve(self, node: Any) -> Any:
        """Follows a reference to what it stands for; other values are returned as they are.

        Raises:
          Unusable: The reference leads out of the document, nowhere, or to itself.
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
        try:
            return at(self._document, reference[1:])
        except LookupError:
            raise Unusable("reference that leads nowhere", reference) from None

    def demands(self, part: Part) -> Demands:
        """Returns what a schema demands; its fields, items and alternatives stay as they are.

        What is no schema demands nothing.

        Raises:
          Unusable: A reference cannot be followed.
          TooLarge: Too many schemas are read.
        """
        if part not in self._known:
            self._left -= 1
            if self._left < 0:
                raise TooLarge(self._most)
            self._known[part] = self._demands(part)
        return self._known[part]

    def _demands(self, part: Part) -> Demands:
        node, above = part.node, part.above
        if not isinstance(node, Mapping):
            return Demands()
        own = total = own_demands(node, above)
        if isinstance(reference := node.get("$ref"), str):
            if reference in above:
                total = own.both(self._stub(reference))
            else:
                target = Part(self._lookup(reference), (*above, reference))
                total = own.both(self.demands(target))
            # What is said beside a reference is said of this place.
            total.descriptions = own.descriptions or total.descriptions
        parts = node.get("allOf")
        for other in parts if isinstance(parts, list) else ():
            other = other if isinstance(other, Part) else Part(other, above)
            total = total.both(self.demands(other))
        for group in total.groups:
            total = self._without_single(total, group)
        total = dataclasses.replace(total, default=own.default or total.default)
        return total.or_null() if _is_nullable(node) else total

    def _stub(self, reference: str) -> Demands:
        """What stands for a schema that is cut off: its type, description and traits."""
        target = self.resolve({"$ref": reference})
        node = target if isinstance(target, Mapping) else {}
        kept = ("type", "description", "readOnly", "deprecated")
        stub = own_demands({word: node[word] for word in kept if word in node}, ())
        stub.note(RECURSIVE)
        return stub.or_null() if _is_nullable(node) else stub

    def _without_single(self, total: Demands, group: Group) -> Demands:
        """Puts an alternative that is the only one, or the only one beside null, in its place."""
        variants = possible(group)
        others = [variant for variant in variants if not is_null(variant.node)]
        if len(others) != 1 or is_presence(others[0].node):
            return total
        rest = dataclasses.replace(total, groups=[g for g in total.groups if g is not group])
        result = rest.both(self.demands(others[0]))
        result.default = rest.default or result.default
        is_nullable = len(variants) > 1 and rest.allows_null()
        return result.or_null() if is_nullable else result


def _is_nullable(node: Mapping[str, Any]) -> bool:
    return True in (node.get("nullable"), node.get("x-nullable"))
