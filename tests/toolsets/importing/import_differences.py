"""Where an imported tool allows other calls than its document does, and whether its report says so.

Of two readings of a document, the open one is JSON Schema's own; in the closed one, an object that
lists its fields takes no others, as `check_arguments` has it. What the closed one allows, the tool
has to allow, and what the open one forbids, the tool has to forbid.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from random_documents import NAMES
from reference_schemas import FORMATS, Reference, with_python_patterns

from trustee_jax.toolsets import Tool, check_arguments

_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LIMITS += ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_CONDITIONS = ("anyOf", "oneOf", "not", "dependentRequired", "required")
_FIELDS = ("properties", "required", "additionalProperties", "patternProperties", "items")
_FIELDS += ("prefixItems", "unevaluatedProperties", "minItems", *_CONDITIONS)
_UNLISTED = " of nothing"
_ORIGINALS = {name[:64].rstrip(": ") for name in NAMES}

CLOSED = "additionalProperties of a part of allOf taken for the whole"
CONSTANT = "parameters with a single value left out"
INFERRED = "missing type inferred from what is said of it"
EMPTY_BODY = "body without content left out"
MERGED = "alternatives merged into one object"
# What the document still forbids where the reason is given: the keywords of the errors.
LOOSER = {
    CLOSED: ("unevaluatedProperties",),
    MERGED: ("anyOf", "oneOf"),
    "body that is no object left out": (),
    "condition on fields that are left out": _CONDITIONS,
    "demands that exclude each other: the first one kept": (
        "type",
        "enum",
        "const",
        "not",
        "oneOf",
    ),
    "fields of an optional body made optional": (*_CONDITIONS, "minProperties"),
    "limits that are no usable numbers left out": _LIMITS,
    "limits that no value meets left out": _LIMITS,
    "multipleOf of a fraction left out": ("multipleOf",),
    "pattern that cannot be compiled left out": ("pattern",),
    "pattern that can take too long left out": ("pattern",),
    "pattern taken out of its slashes": ("pattern",),
    "required field that is not described left out": ("required",),
    "values brought to the type of their parameter": ("enum", "const", "type"),
    "values of another type than their parameter left out": ("enum", "const", "type"),
}
# Reasons "X left out": the errors of X, and of what stands in it.
NAMED = ("not", "if", "contains", "propertyNames", "minProperties", "maxProperties")
NAMED += ("enum", "patternProperties", "unevaluatedProperties")
CUT = (
    "deeply nested schema cut off",
    "recursive schema cut off",
    "too many alternatives left open",
)
LEFT_OUT = ("read-only fields left out", "deprecated fields left out")


@dataclass
class Comparison:
    """One tool against its document."""

    reference: Reference
    tool: Tool
    reasons: set[str]
    compared: int = 0
    allowed: int = 0
    forbidden: int = 0
    excused: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left_out = self.reference.given_by_server()
        self.validator = Draft202012Validator(
            with_python_patterns(self.tool.parameters), format_checker=FORMATS
        )

    def differences(self, call: dict[str, Any]) -> Iterator[str]:
        """Yields what is wrong with the tool, in the light of one call."""
        arguments = self.arguments(call)
        if arguments is None:
            return
        self.compared += 1
        messages = check_arguments(self.tool, arguments)
        readings = [self.reference.errors(c, closed=False) for c in self.same(call)]
        if not messages and all(readings):
            reasons = [[self.looser(e, e.absolute_path) for e in errors] for errors in readings]
            best = min(range(len(readings)), key=lambda i: reasons[i].count(None))
            for error, reason in zip(readings[best], reasons[best], strict=True):
                if reason is None:
                    where = f"{list(error.absolute_path)} {error.validator}"
                    yield f"allowed, though {where}: {error.message[:200]}"
                else:
                    self.excused[reason] = self.excused.get(reason, 0) + 1
        elif messages and not self.reference.errors(call, closed=True):
            reason = self.stricter(arguments, messages)
            if reason is None:
                yield f"forbidden, though it is right: {messages}"
            else:
                self.excused[reason] = self.excused.get(reason, 0) + 1
        elif messages:
            self.forbidden += 1
        else:
            self.allowed += 1

    def same(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        """The calls that have the same arguments: no body, and one without fields."""
        if self.reference.body is None or self.body_key() is not None or call.get("body", {}) != {}:
            return [call]
        return [{"parameters": call["parameters"]}, {**call, "body": {}}]

    def looser(self, error: ValidationError, path: Iterable[Any]) -> str | None:
        """The reason that says why the tool allows what the document forbids."""
        word, where = str(error.validator), set(error.absolute_schema_path)
        path = list(path)
        place, name = path[0] if isinstance(path[0], tuple) else ("", "")
        is_parameter = CONSTANT in self.reasons and place
        if is_parameter and self.key(self.tool.parameters, name, place) is None:
            return CONSTANT
        for reason in self.reasons:
            if word in LOOSER.get(reason, ()) and not (error.context and word == "anyOf"):
                return reason
        for reason in self.reasons:
            named = reason.removesuffix(" left out")
            if named in NAMED and ({named, "then" if named == "if" else named} & {*where, word}):
                return reason
            if named == "patternProperties" and word == "additionalProperties":
                return reason
            if reason == CLOSED and "additionalProperties" in where:
                return reason
            if reason in CUT and self.is_cut(path, word, reason):
                return reason
            if reason in LEFT_OUT and self.speaks_of_left_out(error, path):
                return reason
            if word == "oneOf" and not error.context:  # more than one of them holds
                untyped = any("type" not in variant for variant in error.validator_value)
                if reason == "oneOf taken as anyOf" or (reason == INFERRED and untyped):
                    return reason
            if word in LOOSER.get(reason, ()):
                return reason
        branches: dict[Any, list[ValidationError]] = {}
        for inner in error.context or ():
            branches.setdefault(inner.schema_path[0], []).append(inner)
        for inner_errors in branches.values():
            found = [self.looser(e, [*path, *e.relative_path]) for e in inner_errors]
            if None not in found:
                return found[0]
        return None

    def speaks_of_left_out(self, error: ValidationError, path: list[Any]) -> bool:
        if error.validator == "required" and isinstance(error.instance, dict):
            names = [n for n in error.validator_value if n not in error.instance]
            if names and set(names) <= self.left_out:
                return True
        return bool(self.left_out & {part for part in path[1:] if isinstance(part, str)})

    def is_cut(self, path: list[Any], word: str, reason: str) -> bool:
        """Whether the tool has nothing to say where the document has."""
        found = self.schemas_at(path)
        if reason == "too many alternatives left open":
            return word in ("anyOf", "oneOf") and any("anyOf" not in schema for schema in found)
        structural = {"properties", "items", "prefixItems", "anyOf", "allOf", "patternProperties"}
        cut = [s for s in found if structural.isdisjoint(s) and s.get("type") != "string"]
        if reason == "recursive schema cut off":
            words = {"type", "description"}
            return not found or any(s.keys() <= words for s in found)
        return not found or (bool(cut) and (word in _FIELDS or word == "type"))

    def schemas_at(self, path: list[Any]) -> list[dict[str, Any]]:
        """The schemas of the tool at a place of the call; none if it does not reach there."""
        schemas = [self.tool.parameters]
        if path and isinstance(path[0], tuple):
            place, name = path[0]
            schemas, path = self._children(schemas, name, place), path[1:]
        elif path and path[0] == "body":
            path = path[1:]
            if self.body_key() is not None:
                schemas = [self.tool.parameters["properties"][self.body_key()]]
            elif path:
                schemas, path = self._children(schemas, path[0], "body"), path[1:]
        for part in path:
            schemas = self._children(schemas, part, "")
        return list(_spread(schemas))

    def _children(self, schemas: list[Any], part: Any, place: str) -> list[Any]:
        found: list[Any] = []
        for schema in _spread(schemas):
            if isinstance(part, int):
                prefix = schema.get("prefixItems", [])
                items = [schema["items"]] if "items" in schema else []
                found += prefix[part : part + 1] or items
                continue
            key = self.key(schema, str(part), place)
            if key in schema.get("properties", {}):
                found.append(schema["properties"][key])
            else:
                found += schema.get("patternProperties", {}).values()
                found.append(schema.get("additionalProperties"))
        return [schema for schema in found if isinstance(schema, dict)]

    def stricter(self, arguments: dict[str, Any], messages: list[str]) -> str | None:
        """The reason that says why the tool forbids what the document allows."""
        errors = list(self.validator.iter_errors(arguments))
        words = {str(e.validator) for e in _leaves(errors)}
        if INFERRED in self.reasons and "type" in words:
            return INFERRED
        for reason in LEFT_OUT:
            if reason in self.reasons and self.names_left_out(messages):
                return reason
        is_unknown = all(m.startswith("unknown parameter") for m in messages)
        if EMPTY_BODY in self.reasons and is_unknown:
            return EMPTY_BODY
        if MERGED in self.reasons and self.reference.has_open_alternative():
            return MERGED
        assumed = "body taken for required where nothing is said"
        if (
            assumed in self.reasons
            and not any(e.path for e in errors)
            and words <= {*_CONDITIONS, "minProperties"}
        ):
            return assumed
        return None

    def names_left_out(self, messages: list[str]) -> bool:
        return any(
            f"{name}{more}'" in message
            for name in self.left_out
            for more in ("", _UNLISTED)
            for message in messages
        )

    def arguments(self, call: dict[str, Any]) -> dict[str, Any] | None:
        """The call as the tool takes it; None if the tool has no place for a part of it."""
        result: dict[str, Any] = {}
        for (place, name), value in call["parameters"].items():
            key = self.key(self.tool.parameters, name, place)
            if key is None and CONSTANT in self.reasons:
                continue
            assert key is not None, (place, name)
            result[key] = self.renamed([self.tool.parameters["properties"][key]], value)
        if "body" not in call:
            return result
        body = call["body"]
        if self.body_key() is not None:
            key = self.body_key()
            result[key] = self.renamed([self.tool.parameters["properties"][key]], body)
        elif isinstance(body, dict):
            for name, value in body.items():
                key = self.key(self.tool.parameters, name, "body")
                key = key or _unlisted(name, [self.tool.parameters])
                schema = self.tool.parameters["properties"].get(key, {})
                result[key] = self.renamed([schema], value)
        elif self.reference.body is not None:
            return None
        return result

    def body_key(self) -> str | None:
        return "body" if "body" in self.tool.parameters["properties"] else None

    def key(self, schema: dict[str, Any], name: str, place: str) -> str | None:
        """The name that a field has in the tool: its own, or where its description gives that."""
        children = schema.get("properties", {}).items()
        keys = [key for key, child in children if _owner(key, child) == _shown(name)]
        if not place:
            return keys[0] if keys else None
        reference = self.reference
        # The parameters of this name, in the order of the document, and then the body's field.
        places = [
            p
            for p, n in reference.parameters
            if n == name and not (CONSTANT in self.reasons and reference.is_constant(p, n))
        ]
        index = len(places) if place == "body" else places.index(place) if place in places else -1
        return keys[index] if 0 <= index < len(keys) else None

    def renamed(self, schemas: list[Any], value: Any) -> Any:
        """A value with the names of its fields as the tool has them."""
        if isinstance(value, list):
            return [
                self.renamed(self._children(schemas, i, ""), item) for i, item in enumerate(value)
            ]
        if not isinstance(value, dict):
            return value
        result = {}
        for name, item in value.items():
            keys = [self.key(schema, name, "") for schema in _spread(schemas)]
            key = next((k for k in keys if k is not None), _unlisted(name, schemas))
            result[key] = self.renamed(self._children(schemas, name, ""), item)
        return result


def _spread(schemas: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Schemas with those under their `anyOf` and `allOf`."""
    for schema in schemas:
        if isinstance(schema, dict):
            yield schema
            yield from _spread([*schema.get("anyOf", ()), *schema.get("allOf", ())])


def _shown(name: str) -> str:
    return name[:64].rstrip(": ")


def _owner(key: str, child: Any) -> str:
    """The name in the document of a field of the tool."""
    first = child.get("description", "").partition(":")[0] if isinstance(child, dict) else ""
    return first if first in _ORIGINALS else key


def _unlisted(name: str, schemas: Iterable[Any]) -> str:
    """A name for a field that the document does not list, other than those of the tool."""
    listed = any(name in schema.get("properties", {}) for schema in _spread(schemas))
    return f"{name}{_UNLISTED}" if listed else name


def _leaves(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    for error in errors:
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error
