"""What is demanded of one value, by however many parts of a document, all of which have to hold."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trustee_jax.toolsets.importing.conditions import or_null
from trustee_jax.toolsets.importing.values import equal, is_among

CONTRADICTION = "demands that exclude each other: the first one kept"
INFERRED = "missing type inferred from what is said of it"
CLOSED = "additionalProperties of a part of allOf taken for the whole"
SEVERAL_DEFAULTS = "one of several defaults taken"

# The keywords of each type by which an author who leaves the type out still names it.
_TELLING = (
    ("string", ("pattern", "minLength", "maxLength")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    ("array", ("minItems", "maxItems", "uniqueItems")),
    ("object", ("minProperties", "maxProperties")),
)
_TELLING_FORMATS = ("date", "date-time", "uuid", "uri", "email")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")


@dataclass(frozen=True, eq=False)
class Part:
    """A schema at its place in a document.

    Attributes:
      node: As the document has it; `allOf`, `anyOf` and other lists in it may hold `Part`s.
      above: The references that it stands in.
    """

    node: Any
    above: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Alternatives: `word` is "anyOf" or "oneOf"."""

    word: str
    variants: tuple[Part, ...]


@dataclass
class Demands:
    """The words of one or several schemas of the same value, in those of Draft 2020-12.

    Attributes:
      types: The JSON types; None if nothing is said of them.
      values: Of `enum` and `const`; None if there are no such.
      limits: Numeric limits and uniqueItems, by keyword.
      patterns: All of which a text matches.
      formats: All that are named.
      properties: Name -> schema.
      required: Names.
      extra: `additionalProperties`: a schema, or a boolean; None if nothing is said.
      by_pattern: `patternProperties`.
      prefix: `prefixItems`.
      items: Of the places behind them; None if nothing is said.
      groups: Of alternatives, of each of which one has to hold.
      conditions: Schemas that speak of nothing but which fields are there.
      descriptions: The first one matters most.
      default: A list of one, or of none.
      traits: "readOnly", "deprecated", "required" (as Draft 3 has it, on the field itself).
      reasons: For which something was changed or left out.
    """

    types: list[str] | None = None
    values: list[Any] | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    patterns: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    properties: dict[str, Part] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    extra: Part | bool | None = None
    by_pattern: dict[str, Part] = field(default_factory=dict)
    prefix: list[Part] = field(default_factory=list)
    items: Part | None = None
    groups: list[Group] = field(default_factory=list)
    conditions: list[dict[str, Any]] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)
    default: list[Any] = field(default_factory=list)
    traits: set[str] = field(default_factory=set)
    reasons: dict[str, None] = field(default_factory=dict)

    def note(self, reason: str) -> None:
        """Adds a reason."""
        self.reasons[reason] = None

    def both(self, other: "Demands") -> "Demands":
        """Returns what holds where both do; a default is the other's, if it has one."""
        result = dataclasses.replace(
            self,
            patterns=_distinct([*self.patterns, *other.patterns]),
            formats=_distinct([*self.formats, *other.formats]),
            properties=_all_of(self.properties, other.properties),
            required=_distinct([*self.required, *other.required]),
            by_pattern=_all_of(self.by_pattern, other.by_pattern),
            groups=[*self.groups, *other.groups],
            conditions=[*self.conditions, *other.conditions],
            descriptions=_distinct([*self.descriptions, *other.descriptions]),
            default=other.default or self.default,
            traits=self.traits | other.traits,
            reasons=self.reasons | other.reasons,
        )
        if self.default and other.default and not equal(self.default, other.default):
            result.note(SEVERAL_DEFAULTS)
        result.types = result._narrowed(_joined(self.types, other.types, overlap), self.types)
        result.values = result._narrowed(
            _joined(self.values, other.values, _common_values), self.values
        )
        result.limits = _tightest(self.limits, other.limits)
        result.extra = _both_schemas(self.extra, other.extra)
        if _reaches(self, other) or _reaches(other, self):
            result.note(CLOSED)
        places = range(max(len(self.prefix), len(other.prefix)))
        pairs = [(self._at(place), other._at(place)) for place in places]
        result.prefix = [_joined(mine, theirs, _same) or Part({}) for mine, theirs in pairs]
        result.items = _joined(self.items, other.items, _same)
        return result

    def _narrowed(self, common: Any, first: Any) -> Any:
        if common == []:
            self.note(CONTRADICTION)
            return first
        return common

    def _at(self, place: int) -> Part | None:
        return self.prefix[place] if place < len(self.prefix) else self.items

    def or_null(self) -> "Demands":
        """Returns what a value meets that meets these, or is null."""
        null = Part({"type": "null"})
        result = dataclasses.replace(self, reasons=dict(self.reasons))
        result.types = result.told_types()
        if result.types and "null" not in result.types:
            result.types = [*result.types, "null"]
        if self.values is not None and None not in self.values:
            result.values = [*self.values, None]
        result.groups = [Group(g.word, (*g.variants, null)) for g in self.groups]
        result.conditions = [or_null(condition) for condition in self.conditions]
        return result

    def allows_null(self) -> bool:
        """Whether null meets these, alternatives aside."""
        return (self.types is None or "null" in self.types) and (
            self.values is None or None in self.values
        )

    def told_types(self) -> list[str] | None:
        """The types; where none is said, the one that other words speak of."""
        if self.types is not None:
            return self.types
        if self.values is not None:
            is_text = all(isinstance(value, str) for value in self.values)
            return ["string"] if is_text else None
        inferred: str | None = None
        if self.properties or self.by_pattern or self.extra is not None:
            inferred = "object"
        elif self.groups:  # which say it, each for itself
            return None
        elif self.items is not None or self.prefix:
            inferred = "array"
        elif self.patterns or set(self.formats) & set(_TELLING_FORMATS):
            inferred = "string"
        else:
            told = [kind for kind, words in _TELLING if not self.limits.keys().isdisjoint(words)]
            inferred = told[0] if len(told) == 1 else None
        if inferred is not None:
            self.note(INFERRED)
        return None if inferred is None else [inferred]


def overlap(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """Returns the types that both lists hold; an integer is a number."""
    one, other = list(one), set(other)
    result = [t for t in one if t in other or (t == "integer" and "number" in other)]
    return result + ["integer"] * ("number" in one and "integer" in other - {*result, "number"})


def _joined(one: Any, other: Any, join: Callable[[Any, Any], Any]) -> Any:
    """What both say; None is what says nothing."""
    if one is None or other is None:
        return other if one is None else one
    return join(one, other)


def _common_values(one: list[Any], other: list[Any]) -> list[Any]:
    return [value for value in one if is_among(value, other)]


def _tightest(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = {**one, **other}
    for word in one.keys() & other.keys():
        if word == "multipleOf":
            result[word] = math.lcm(one[word], other[word])
        elif word != "uniqueItems":
            result[word] = (max if word in _LOWER else min)(one[word], other[word])
    return result


def _all_of(one: Mapping[str, Part], other: Mapping[str, Part]) -> dict[str, Part]:
    common = {name: _same(one[name], other[name]) for name in one if name in other}
    return {**one, **other, **common}


def _same(one: Part, other: Part) -> Part:
    return one if equal(one.node, other.node) else Part({"allOf": [one, other]})


def _both_schemas(one: Part | bool | None, other: Part | bool | None) -> Part | bool | None:
    if one is False or other is False:
        return False
    if isinstance(one, Part) and isinstance(other, Part):
        return _same(one, other)
    return next((e for e in (one, other) if isinstance(e, Part)), one or other)


def _reaches(one: Demands, other: Demands) -> bool:
    """Whether what one says of other fields speaks of those that the other one lists."""
    limits = one.extra is False or isinstance(one.extra, Part)
    return limits and not other.properties.keys() <= one.properties.keys()


def _distinct(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))
