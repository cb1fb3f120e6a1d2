"""The operations of `random_documents` as JSON Schema, by other means than the importer's.

Nothing is simplified: `nullable` becomes an alternative, old limits new ones. Everything else,
references too, is left to `jsonschema`.
"""

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

FORMATS = FormatChecker(("date",))
_SCHEMA_MAPS = ("properties", "patternProperties")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "contains", "propertyNames")
# Below these, a schema is one of another value, so that a list of fields is complete there.
_INNER = ("properties", "patternProperties", "prefixItems", "items", "additionalProperties")


class Reference:
    """What an operation's document says of its calls.

    Attributes:
      parameters: (place, name) -> (schema, whether it is required).
      body: its schema; None if there is none.
      body_required: True, False, or None if nothing is said.
    """

    def __init__(self, document: dict[str, Any]):
        self.document = document
        self.modern = str(document.get("openapi", "")).startswith("3.1")
        operation = document["paths"]["/things"]["post"]
        self.parameters: dict[tuple[str, str], tuple[dict[str, Any], bool]] = {}
        self.body: Any = None
        self.body_required: bool | None = None
        for parameter in operation.get("parameters", ()):
            schema = parameter.get("schema")
            if parameter["in"] == "body":
                self.body, self.body_required = schema, parameter.get("required")
                continue
            if schema is None:
                beside = ("name", "in", "required", "description", "deprecated")
                schema = {k: v for k, v in parameter.items() if k not in beside}
            is_required = parameter.get("required", False)
            if not parameter.get("deprecated") or is_required:
                self.parameters[parameter["in"], parameter["name"]] = schema, is_required
        if "requestBody" in operation:
            self.body = operation["requestBody"]["content"]["application/json"]["schema"]
            self.body_required = operation["requestBody"].get("required")
        self._validators: dict[tuple[int, bool], Draft202012Validator] = {}
        self._roots = {closed: self._root(closed) for closed in (False, True)}

    def _root(self, closed: bool) -> dict[str, Any]:
        """The schemas that references lead to; closed ones stand beside the open ones."""
        named = {name: self.translated(schema, closed) for name, schema in self.named().items()}
        if "definitions" in self.document:
            return {"definitions": named}
        return {"components": {"schemas": named}}

    def validator(self, schema: Any, closed: bool) -> Draft202012Validator:
        """Checks a value; `closed`: an object that lists its fields takes no others."""
        key = id(schema), closed
        if key not in self._validators:
            whole = {**self._roots[closed], "allOf": [self.placed(schema, closed)]}
            self._validators[key] = Draft202012Validator(whole, format_checker=FORMATS)
        return self._validators[key]

    def errors(self, call: dict[str, Any], closed: bool) -> list[ValidationError]:
        """What is wrong with a call {"parameters": {(place, name): value}, "body": value}."""
        found = []
        for key, (schema, is_required) in self.parameters.items():
            if key in call["parameters"]:
                found += self._located(schema, closed, call["parameters"][key], key)
            elif is_required:
                found.append(ValidationError("absent", validator="required", path=[key]))
        if "body" in call:
            found += self._located(self.body, closed, call["body"], "body")
        elif self.body is not None and self.body_required:
            found.append(ValidationError("no body", validator="required", path=["body"]))
        return found

    def _located(self, schema: Any, closed: bool, value: Any, key: Any) -> list[ValidationError]:
        errors = list(self.validator(schema, closed).iter_errors(value))
        for error in errors:
            error.path.appendleft(key)
        return errors

    def placed(self, node: Any, closed: bool) -> Any:
        """The schema of a value as a whole."""
        result = self.translated(node, closed)
        if closed and any("properties" in part for part in self.at_place(node)):
            return {"allOf": [result], "unevaluatedProperties": False}
        return result

    def at_place(self, node: Any, seen: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
        """Every schema of the same value: through references, `allOf` and alternatives."""
        if not isinstance(node, dict):
            return
        yield node
        reference = node.get("$ref")
        if reference and reference not in seen:
            yield from self.at_place(self.target(reference), (*seen, reference))
        for word in ("allOf", "anyOf", "oneOf"):
            for part in node.get(word, ()):
                yield from self.at_place(part, seen)

    def is_endless(self) -> bool:
        """Whether a schema is, by references and parts of the same value, one of its own parts."""
        return any(
            part.get("$ref", "").rpartition("/")[2] == name
            for name, schema in self.named().items()
            for part in self.at_place(schema)
        )

    def named(self) -> dict[str, Any]:
        """The schemas that references lead to."""
        return self.document.get("definitions") or self.document["components"]["schemas"]

    def target(self, reference: str) -> Any:
        return self.named()[reference.rpartition("/")[2]]

    def has_trait(self, node: Any, trait: str, seen: tuple[str, ...] = ()) -> bool:
        """Whether a field is readOnly, or deprecated, by itself or by what all of it refers to."""
        if not isinstance(node, dict):
            return False
        parts = list(node.get("allOf", ()))
        reference = node.get("$ref")
        if reference and reference not in seen:
            seen = (*seen, reference)
            parts.append(self.target(reference))
        elif reference:  # what stands for a schema within itself
            return bool(self.target(reference).get(trait))
        for word in ("anyOf", "oneOf"):
            others = [v for v in node.get(word, ()) if not _is_null(v)]
            parts += others if len(others) == 1 else []
        return bool(node.get(trait)) or any(self.has_trait(p, trait, seen) for p in parts)

    def is_constant(self, place: str, name: str) -> bool:
        """Whether a parameter leaves its caller nothing to choose."""
        parts = list(self.at_place(self.parameters[place, name][0]))
        single = any("const" in part or len(part.get("enum", ())) == 1 for part in parts)
        return (
            place != "path"
            and single
            and not any(part.get("nullable") or part.get("x-nullable") for part in parts)
        )

    def given_by_server(self) -> set[str]:
        """The names of all fields that are readOnly or deprecated somewhere in the document."""
        return {
            name
            for node in self.nodes()
            for name, child in node.get("properties", {}).items()
            if self.has_trait(child, "readOnly") or self.has_trait(child, "deprecated")
        }

    def has_open_alternative(self) -> bool:
        """Whether an alternative takes fields that it does not describe."""
        variants = [v for n in self.nodes() for w in ("anyOf", "oneOf") for v in n.get(w, ())]
        return any(
            part.get("additionalProperties", False) is not False or "patternProperties" in part
            for variant in variants
            for part in self.at_place(variant)
        )

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every object of the document."""
        waiting: list[Any] = [self.document]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                yield node
            if isinstance(node, dict | list):
                waiting += node.values() if isinstance(node, dict) else node

    def translated(self, node: Any, closed: bool) -> Any:
        """A schema in the words of Draft 2020-12."""
        if not isinstance(node, dict):
            return node
        result: dict[str, Any] = {}
        for word, value in node.items():
            inner = self.placed if word in _INNER else self.translated
            if word in _SCHEMA_MAPS:
                result[word] = {_python(n): inner(child, closed) for n, child in value.items()}
            elif word in _SCHEMA_LISTS:
                result[word] = [inner(child, closed) for child in value]
            elif word in _SCHEMAS:
                result[word] = inner(value, closed)
            elif word == "pattern":
                result[word] = _python(value)
            elif word not in ("nullable", "x-nullable", "exclusiveMinimum", "exclusiveMaximum"):
                result[word] = value
        for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if node.get(exclusive) is True:
                result[exclusive] = result.pop(limit)
            elif exclusive in node and not isinstance(node[exclusive], bool):
                result[exclusive] = node[exclusive]
        if node.get("nullable") or node.get("x-nullable"):
            return {"anyOf": [result, {"type": "null"}]}
        return result


def with_python_patterns(schema: Any) -> Any:
    """A schema whose patterns `jsonschema` can read."""
    if isinstance(schema, list):
        return [with_python_patterns(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        word: _python(value)
        if word == "pattern" and isinstance(value, str)
        else {_python(name): with_python_patterns(part) for name, part in value.items()}
        if word == "patternProperties"
        else with_python_patterns(value)
        for word, value in schema.items()
    }


def _is_null(node: dict[str, Any]) -> bool:
    values = node.get("enum", [node.get("const", ...)])
    return node.get("type") == "null" or values == [None]


def _python(pattern: str) -> str:
    """A pattern of JavaScript, the only class of it that occurs here, in Python's words."""
    return pattern.replace(r"\p{L}", r"[^\W\d_]")
