"""JSON schemas out of the schemas of OpenAPI 3.0 and 3.1, Swagger 2 and BFCL.

What comes out is Draft 2020-12 without references, and small: types, descriptions, enums,
defaults, formats, limits, properties, items and `anyOf`. References are put in place and cut off
where they recur, `allOf` is merged, alternatives of an object become one object, other ones
`anyOf`, `nullable` becomes the type null. What is not taken over, or not as it is written, is noted
by a reason of its own; only titles, comments, extensions ("x-...") and what concerns XML, links and
the spelling of values in a request go without a word.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trustee_jax.toolsets.importing.candidates import Limits
from trustee_jax.toolsets.importing.conditions import renamed
from trustee_jax.toolsets.importing.demands import CONTRADICTION, Demands, Group, Part, overlap
from trustee_jax.toolsets.importing.dialects import left_out
from trustee_jax.toolsets.importing.names import CUT, RENAMED, Keys, named, rename_fields
from trustee_jax.toolsets.importing.parts import (
    PartReader,
    TooLarge,
    are_disjoint,
    fused,
    merged_objects,
    possible,
)
from trustee_jax.toolsets.importing.text import cut
from trustee_jax.toolsets.importing.values import equal, limits_of, usable_pattern, values_of
from trustee_jax.toolsets.patterns import is_key_pattern, matches
from trustee_jax.toolsets.schema import subschemas

DEEP = "deeply nested schema cut off"
MANY = "too many alternatives left open"
ONE_OF = "oneOf taken as anyOf"
READ_ONLY = "read-only fields left out"
DEPRECATED = "deprecated fields left out"
UNDESCRIBED = "required field that is not described left out"
CONDITION = "condition on fields that are left out"

_MOST_ALTERNATIVES = 6
# What they mean depends on which of the others stand beside them.
_SCOPED = {"properties", "patternProperties", "additionalProperties", "items", "prefixItems"}


@dataclass(frozen=True)
class Field:
    """A field of an object, or a parameter.

    Attributes:
      name: As the document has it.
      part: Its schema.
      required: Whether it has to be there.
      place: What it is part of ("body", "query"), to tell it from one of the same name.
      description: In place of that of its schema; "" leaves that.
    """

    name: str
    part: Part
    required: bool
    place: str = ""
    description: str = ""


class SchemaReader:
    """Reads the schemas of one function.

    Attributes:
      changes: Reasons for which something of the schemas was changed or left out.
    """

    def __init__(self, document: Any, limits: Limits, depth: int | None = None):
        """Takes the document that references lead into, and the depth at which to cut."""
        self.changes: dict[str, None] = {}
        self._limits = limits
        self._depth = limits.depth if depth is None else depth
        # A part is seldom written in fewer bytes: what is over would be dropped in the end.
        self._parts_left = limits.bytes // 12
        parts = PartReader(document, limits.bytes)
        self._read = parts.demands
        self.resolve = parts.resolve

    def note(self, *reasons: str) -> None:
        """Adds to `changes`."""
        self.changes |= dict.fromkeys(reasons)

    def demands(self, node: Any) -> Demands:
        """Returns what a schema demands, alternatives of an object merged into its fields.

        Args:
          node: A `Part`, or as the document has it; what is no schema demands nothing.

        Raises:
          Unusable: A reference cannot be followed.
          TooLarge: It, with those read before, has too many parts.
        """
        part = node if isinstance(node, Part) else Part(node)
        return merged_objects(self._read(part), self._read)

    def schema(self, node: Any, depth: int = 0, name: str = "", text: str = "") -> dict[str, Any]:
        """Returns one schema, its fields named as in the document.

        Args:
          node: A `Part`, or as the document has it; what is no schema counts as the open one.
          depth: Levels above it.
          name: Of the parameter in its document, where it shares that with another one: is put
            before the description.
          text: In place of its description.

        Raises:
          Unusable: A reference cannot be followed.
          TooLarge: It, with those read before, has too many parts.
        """
        self._parts_left -= 1
        if self._parts_left < 0:
            raise TooLarge(self._limits.bytes)
        found = self.demands(node)
        types = found.told_types()
        self.note(*found.reasons)
        out: dict[str, Any] = {}
        if types:
            out["type"] = types[0] if len(types) == 1 else list(types)
        if description := self._description([text] if text else found.descriptions, name):
            out["description"] = description
        for words, reasons in (
            values_of(found.values, found.default, types),
            limits_of(found.limits, types),
        ):
            out |= words
            self.note(*reasons)
        beside = [{"format": word} for word in found.formats]
        if types is None or "string" in types:
            beside += [{"pattern": pattern} for pattern in found.patterns]
        if types is None or "array" in types:
            self._add_items(found, out, depth)
        groups = [self._alternatives(group, types, depth) for group in found.groups]
        if types is None or "object" in types:
            beside += self._add_object(found, out, depth, closes=not any(groups))
        elif found.conditions:
            self.note(CONDITION)
        _add(out, [*beside, *groups])
        return out

    def arguments(self, fields: list[Field], body: Demands | None = None) -> dict[str, Any]:
        """Returns the schema of the arguments of a function, all fields with valid names.

        Args:
          fields: The parameters, and the fields of the body.
          body: Whose further demands hold of the arguments.
        """
        found = body or Demands()
        out: dict[str, Any] = {"type": "object", "properties": {}}
        limits, reasons = limits_of(found.limits, ["object"])
        out |= limits
        if [field.name for field in fields] != list(found.properties):
            self._leave_out_counts(out)
        self.note(*found.reasons, *reasons)
        groups = [self._alternatives(group, ["object"], 0) for group in found.groups]
        beside = self._fill_object(fields, found, out, 0, closes=not any(groups))
        _add(out, [*beside, *groups])
        nodes = [node for _, node in subschemas(out)]
        self.note(*rename_fields(nodes, self._limits.parameter_description))
        return out

    def fields(self, found: Demands, place: str = "") -> list[Field]:
        """Returns the fields of an object, but for read-only and deprecated optional ones."""
        result = []
        for name, part in found.properties.items():
            traits = self._read(part).traits
            required = name in found.required or "required" in traits
            if "readOnly" in traits:
                self.note(READ_ONLY)
            elif "deprecated" in traits and not required:
                self.note(DEPRECATED)
            elif part.node is not False:
                result.append(Field(name, part, required, place))
        is_open = found.extra is None and (found.by_pattern or not found.properties)
        for name in found.required:
            if name in found.properties:
                continue
            if is_open or found.extra not in (None, False):
                result.append(Field(name, _other(found, name), True, place))
            else:
                self.note(UNDESCRIBED)
        return result

    def _description(self, written: list[str], name: str) -> str:
        text = " ".join([*map(_ended, written[:-1]), *written[-1:]])
        longest = self._limits.parameter_description
        shown = named(name, text, longest) if name else cut(text, longest)
        if not shown.endswith(text):
            self.note(CUT)
        return shown

    def _descends(self, depth: int) -> bool:
        if depth >= self._depth:
            self.note(DEEP)
        return depth < self._depth

    def _add_items(self, found: Demands, out: dict[str, Any], depth: int) -> None:
        if (found.prefix or found.items) and self._descends(depth):
            if found.prefix:
                out["prefixItems"] = [self.schema(part, depth + 1) for part in found.prefix]
            if found.items:
                out["items"] = self.schema(found.items, depth + 1)

    def _alternatives(self, group: Group, types: list[str] | None, depth: int) -> dict[str, Any]:
        """Returns a schema that holds where one of the alternatives does; {}: always."""
        variants = possible(group)
        demands = [self._read(variant) for variant in variants]
        if not self._descends(depth):
            return {}
        if len(variants) > _MOST_ALTERNATIVES and any(d.values is None for d in demands):
            self.note(MANY)
            return {}
        if types is not None:
            # What is said of all need not be said of each; without it, a type would be guessed.
            variants = [
                Part({"allOf": [variant, {"type": types}]})
                for variant, d in zip(variants, demands, strict=True)
                if d.types is None or overlap(d.types, types)
            ]
        read = [self.schema(variant, depth + 1) for variant in variants]
        if group.word == "oneOf" and not are_disjoint(read):
            self.note(ONE_OF)
        if not read:
            self.note(CONTRADICTION)
        if not read or not all(read):
            return {}
        distinct = fused(read)
        return {"anyOf": distinct} if len(distinct) > 1 else distinct[0]

    def _add_object(
        self, found: Demands, out: dict[str, Any], depth: int, closes: bool
    ) -> list[dict[str, Any]]:
        speaks = found.properties or found.by_pattern or found.required or found.conditions
        if not speaks and not isinstance(found.extra, Part):
            if found.extra is False:
                out["additionalProperties"] = False
            return []
        if not self._descends(depth):
            return []
        fields = self.fields(found)
        if len(fields) < len(found.properties):
            self._leave_out_counts(out)
        if fields and not found.properties and found.extra is None:
            found = dataclasses.replace(found, extra=True)
        return self._fill_object(fields, found, out, depth + 1, closes)

    def _fill_object(
        self, fields: list[Field], found: Demands, out: dict[str, Any], depth: int, closes: bool
    ) -> list[dict[str, Any]]:
        """Adds the fields of an object; returns what is demanded of it beside them.

        Args:
          fields: Of it.
          found: All that is demanded of it.
          out: Is added to.
          depth: Of the fields.
          closes: Whether it takes no other fields than its own where nothing is said of others.
        """
        keys = Keys(field.name for field in fields)
        known = {}  # the fields of which the other demands speak
        others = []
        properties: dict[str, Any] = out.get("properties", {})
        for field in fields:
            key, shared = keys.claim(field.name, field.place), ""
            if field.name in properties:
                shared = field.name
                self.note(RENAMED)
            else:
                key = field.name  # made valid at last, wherever it stands
            if field.place in ("", "body"):
                known[field.name] = key
            else:
                others.append(key)
            properties[key] = self.schema(field.part, depth, shared, field.description)
            if field.required:
                out.setdefault("required", []).append(key)
        if properties:
            out["properties"] = properties
        conditions = [renamed(condition, known) for condition in found.conditions]
        beside = [condition for condition in conditions if condition is not None]
        if len(beside) < len(conditions):
            self.note(CONDITION)
        extra = self._add_by_pattern(found, out, depth, known, others)
        if isinstance(extra, Part):
            out["additionalProperties"] = self.schema(extra, depth) or True
        elif extra is not None:
            out["additionalProperties"] = extra
        elif "properties" in out and closes and (beside or "patternProperties" in out):
            # Beside these words, the list of fields would not count as the whole of them.
            out["additionalProperties"] = False
        return beside

    def _add_by_pattern(
        self,
        found: Demands,
        out: dict[str, Any],
        depth: int,
        known: Mapping[str, str],
        others: Iterable[str],
    ) -> Part | bool | None:
        """Adds patternProperties; returns what holds of the fields that nothing else speaks of.

        Args:
          found: Of the object.
          out: Is added to.
          depth: Of the fields.
          known: Name of a field -> its name here.
          others: Names that the patterns do not speak of.
        """
        extra = found.extra
        for pattern, part in found.by_pattern.items():
            if usable_pattern(pattern) == (pattern, "") and _tells(pattern, known, others):
                schema = self.schema(part, depth) if part.node is not False else False
                out.setdefault("patternProperties", {})[pattern] = schema
            else:
                self.note(left_out("patternProperties"))
                extra = True
        return extra

    def _leave_out_counts(self, out: dict[str, Any]) -> None:
        """Drops the limits of how many fields there are, where they are not the same fields."""
        for word in ("minProperties", "maxProperties"):
            if out.pop(word, None) is not None:
                self.note(left_out(word))


def _add(out: dict[str, Any], beside: Iterable[dict[str, Any]]) -> None:
    """Adds further schemas that hold: their words where these are free, or else under `allOf`."""
    for schema in beside:
        words = {
            word: value
            for word, value in schema.items()
            if word not in out or not equal(out[word], value)
        }
        if "description" in out:
            words.pop("description", None)
        if out.keys() & words.keys() or (_SCOPED & out.keys() and _SCOPED & words.keys()):
            out.setdefault("allOf", []).append(schema)
        else:
            out |= words


def _tells(pattern: str, known: Mapping[str, str], others: Iterable[str]) -> bool:
    """Whether names can be held to a pattern, and it means the same fields by their names here."""
    if not is_key_pattern(pattern):
        return False
    same = all(matches(pattern, name) == matches(pattern, key) for name, key in known.items())
    return same and not any(matches(pattern, name) for name in others)


def _other(found: Demands, name: str) -> Part:
    """The schema of a field that is not listed, but for what patternProperties say of it."""
    patterns = [usable_pattern(pattern)[0] for pattern in found.by_pattern]
    if not isinstance(found.extra, Part) or any(not p or matches(p, name) for p in patterns):
        return Part({})
    return found.extra


def _ended(text: str) -> str:
    return text if text[-1] in ".!?:" else f"{text}."
