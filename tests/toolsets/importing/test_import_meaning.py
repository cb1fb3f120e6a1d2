"""What the schemas of a document mean: all parts hold, and what is left out is reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trustee_jax.toolsets import Tool, check_arguments
from trustee_jax.toolsets.importing import ImportReport, Limits, normalise, read
from trustee_jax.toolsets.importing.schemas import SchemaReader


def imported(
    tmp_path: Path,
    schema: Any,
    version: str = "3.0.3",
    required: bool | None = True,
    **schemas: Any,
) -> tuple[Tool, dict[str, int]]:
    """The tool of an operation with a body of this schema, and what was changed for it."""
    body: dict[str, Any] = {"content": {"application/json": {"schema": schema}}}
    if required is not None:
        body["required"] = required
    post = {"operationId": "make", "summary": "Makes it", "requestBody": body}
    document = {
        "openapi": version,
        "paths": {"/things": {"post": post}},
        "components": {"schemas": schemas},
    }
    file = tmp_path / "api.json"
    file.write_text(json.dumps(document))
    report = ImportReport()
    (tool,) = normalise(read("openapi", str(file)), report)
    return tool, dict(report.changed)


def field(schema: Any, **schemas: Any) -> tuple[Any, dict[str, None]]:
    """One schema as it comes out, and what was changed for it."""
    reader = SchemaReader({"components": {"schemas": schemas}}, Limits())
    return reader.schema(schema), reader.changes


def test_all_parts_of_all_of_hold(tmp_path: Path) -> None:
    part = {"minimum": 1, "maximum": 50, "default": 10, "description": "At most 50 here"}
    schema = {
        "allOf": [{"$ref": "#/components/schemas/Paged"}, {"properties": {"limit": part}}],
        "required": ["limit"],
    }
    paged = {"type": "object", "properties": {"limit": {"type": "integer"}}}
    tool, changes = imported(tmp_path, schema, Paged=paged)
    assert tool.parameters == {
        "type": "object",
        "properties": {"limit": {"type": "integer", **part}},
        "required": ["limit"],
    }
    assert not changes
    assert check_arguments(tool, {"limit": 51})


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (
            [{"type": "number", "minimum": 1, "maximum": 9}, {"minimum": 3, "maximum": 20}],
            {"type": "number", "minimum": 3, "maximum": 9},
        ),
        ([{"type": "number"}, {"type": "integer"}], {"type": "integer"}),
        (
            [{"type": ["string", "null"]}, {"maxLength": 3}],
            {"type": ["string", "null"], "maxLength": 3},
        ),
        (
            [{"type": "string", "enum": ["a", "b", "c"]}, {"enum": ["c", "b", "d"]}],
            {"type": "string", "enum": ["b", "c"]},
        ),
        (
            [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}, {"allOf": [{"pattern": "c"}]}],
            {"type": "string", "pattern": "^a", "allOf": [{"pattern": "b$"}, {"pattern": "c"}]},
        ),
        (
            [{"type": "string", "description": "A code."}, {"description": "Of two letters"}],
            {"type": "string", "description": "A code. Of two letters"},
        ),
        (
            [{"type": "integer", "multipleOf": 4}, {"multipleOf": 6}],
            {"type": "integer", "multipleOf": 12},
        ),
        (
            [
                {"type": "array", "items": {"type": "string"}},
                {"items": {"maxLength": 2}, "minItems": 1},
            ],
            {"type": "array", "items": {"type": "string", "maxLength": 2}, "minItems": 1},
        ),
        (
            [
                {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                {"anyOf": [{"const": 1}, {"const": "x"}]},
            ],
            {
                "anyOf": [{"type": "string"}, {"type": "integer"}],
                "allOf": [{"anyOf": [{"enum": [1]}, {"type": "string", "enum": ["x"]}]}],
            },
        ),
    ],
)
def test_demands_of_several_parts_are_joined(parts: list[Any], expected: Any) -> None:
    assert field({"allOf": parts}) == (expected, {})


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"a": [v]}])
def test_true_is_not_one_and_one_is_a_float(wrap: Callable[[Any], Any]) -> None:
    one, whole, true = wrap(1), wrap(1.0), wrap(True)
    for word in ("anyOf", "oneOf"):
        variants = [{"const": one}, {"const": true}, {"const": whole}]
        schema, changes = field({word: variants})
        assert json.dumps(schema) == json.dumps({"enum": [one, true]})
        assert list(changes) == ["oneOf taken as anyOf"] * (word == "oneOf")
    assert field({"oneOf": [{"const": one}, {"const": true}]})[1] == {}
    clash = {"demands that exclude each other: the first one kept": None}
    for parts in ([{"enum": [one]}, {"enum": [true]}], [{"const": one}, {"const": true}]):
        schema, changes = field({"allOf": parts})
        assert json.dumps(schema) == json.dumps({"enum": [one]})
        assert changes == clash
        fields = [{"type": "object", "properties": {"x": part}} for part in parts]
        schema, changes = field({"allOf": fields})
        assert json.dumps(schema["properties"]["x"]) == json.dumps({"enum": [one]})
        assert changes == clash
        schema, _ = field({"anyOf": fields})
        assert json.dumps(schema["properties"]["x"]) == json.dumps({"enum": [one, true]})
    assert field({"const": one, "enum": [true]})[1] == clash
    assert field({"const": one, "enum": [whole]})[1] == {}
    defaults = [{"default": one}, {"default": true}]
    assert field({"allOf": defaults})[1] == {"one of several defaults taken": None}
    assert field({"allOf": [{"enum": [one]}, {"enum": [whole]}]})[1] == {}


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_what_stands_beside_a_reference_holds(tmp_path: Path, version: str) -> None:
    schema = {
        "properties": {
            "a": {
                "$ref": "#/components/schemas/A",
                "maxLength": 3,
                "default": "x",
                "description": "Mine",
                "enum": ["x", "yyyy", "z"],
            }
        }
    }
    of_a = {"type": "string", "description": "Its own", "minLength": 1, "default": "z"}
    tool, changes = imported(tmp_path, {"type": "object", **schema}, version, A=of_a)
    assert tool.parameters["properties"]["a"] == {
        "type": "string",
        "description": "Mine",
        "enum": ["x", "yyyy", "z"],
        "default": "x",
        "minLength": 1,
        "maxLength": 3,
    }
    assert changes == {"one of several defaults taken": 1}


def test_what_a_server_sets_is_left_out_wherever_it_is_said(tmp_path: Path) -> None:
    person = {"type": "object", "properties": {"mail": {"type": "string"}}}
    reference = {"$ref": "#/components/schemas/Person"}
    fields = {
        "id": {"type": "string", "readOnly": True},
        "beside": {**reference, "readOnly": True},
        "within": {"allOf": [reference, {"readOnly": True}]},
        "deeper": {"allOf": [{"allOf": [{"$ref": "#/components/schemas/Server"}]}]},
        "single": {"oneOf": [{**reference, "readOnly": True}]},
        "old": {**reference, "deprecated": True},
        "older": {"allOf": [reference, {"deprecated": True}]},
        "pin": {"type": "string", "writeOnly": True},
        "pins": {"allOf": [{"type": "string"}, {"writeOnly": True}]},
        "owner": reference,
    }
    schema = {"type": "object", "properties": fields, "required": [*list(fields)[:5], "pin"]}
    server = {"type": "string", "readOnly": True}
    tool, changes = imported(tmp_path, schema, "3.1.0", Person=person, Server=server)
    assert list(tool.parameters["properties"]) == ["pin", "pins", "owner"]
    assert tool.parameters["required"] == ["pin"]
    assert changes == {"read-only fields left out": 1, "deprecated fields left out": 1}


CARD = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"oneOf": [{"$ref": "#/components/schemas/Card"}]}, {"text": "a"}, {}),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "a", True),
        ({"allOf": [{"$ref": "#/components/schemas/Card"}]}, {"text": "a"}, {"text": 1}),
        ({"$ref": "#/components/schemas/Card"}, {"text": "a"}, "a"),
        ({"type": "string", "enum": ["a"]}, "a", "b"),
        ({"enum": ["a", 1]}, 1, 2),
        (
            {"type": "object", "oneOf": [{"$ref": "#/components/schemas/Card"}, CARD]},
            {"text": "a"},
            1,
        ),
        ({**CARD, "not": {"required": ["other"]}}, {"text": "a"}, 1),
        ({**CARD, "oneOf": [{"required": ["text"]}, {"required": ["text"]}]}, None, 1),
        ({"properties": CARD["properties"]}, {"text": "a"}, {"text": 1}),
    ],
)
@pytest.mark.parametrize("word", ["nullable", "x-nullable"])
def test_null_is_allowed_beside_everything(
    tmp_path: Path, schema: Any, right: Any, wrong: Any, word: str
) -> None:
    whole = {"type": "object", "properties": {"a": {word: True, **schema}}}
    tool, _ = imported(tmp_path, whole, Card=CARD)
    assert check_arguments(tool, {"a": None}) == []
    assert check_arguments(tool, {"a": right}) == []
    assert check_arguments(tool, {"a": wrong})
    plain, _ = imported(tmp_path, {"type": "object", "properties": {"a": schema}}, Card=CARD)
    assert check_arguments(plain, {"a": None})


def test_null_as_an_alternative_becomes_a_type() -> None:
    schema = {"anyOf": [{"$ref": "#/components/schemas/Card"}, {"type": "null"}]}
    assert field(schema, Card=CARD)[0] == {**CARD, "type": ["object", "null"]}
    assert field({"type": "string", **schema}, Card={"maxLength": 1})[0] == {
        "type": "string",
        "maxLength": 1,
    }


@pytest.mark.parametrize(
    ("condition", "right", "wrong"),
    [
        ({"anyOf": [{"required": ["p"]}, {"required": ["e"]}]}, ["p", "e", "pe"], [""]),
        ({"oneOf": [{"required": ["p"]}, {"required": ["e"]}]}, ["p", "e"], ["", "pe"]),
        ({"not": {"required": ["p", "e"]}}, ["", "p", "e"], ["pe"]),
        ({"dependentRequired": {"p": ["e"]}}, ["", "e", "pe"], ["p"]),
        ({"dependencies": {"p": ["e"]}}, ["", "e", "pe"], ["p"]),
        ({"allOf": [{"anyOf": [{"required": ["p"]}, {"required": ["e"]}]}]}, ["p"], [""]),
        ({"minProperties": 2}, ["p", "pe"], [""]),
        ({"maxProperties": 2}, ["", "p"], ["pe"]),
    ],
)
def test_conditions_on_which_fields_are_there(
    tmp_path: Path, condition: Any, right: list[str], wrong: list[str]
) -> None:
    fields = {"n": {}, "p": {"type": "string"}, "e": {"type": "string"}}
    schema = {"type": "object", "required": ["n"], "properties": fields, **condition}
    nested = {"type": "object", "properties": {"a": schema}}
    for whole, wrap in ((schema, lambda v: v), (nested, lambda v: {"a": v})):
        tool, changes = imported(tmp_path, whole)
        assert not changes
        for names, is_right in [(n, True) for n in right] + [(n, False) for n in wrong]:
            arguments = {"n": 1, **dict.fromkeys(names, "x")}
            assert (check_arguments(tool, wrap(arguments)) == []) is is_right, arguments
        assert check_arguments(tool, wrap({"n": 1, right[-1][:1] or "n": "x", "other": 1}))


def test_alternatives_of_an_object_need_one_of_what_each_needs(tmp_path: Path) -> None:
    variants = [
        {
            "properties": {"iban": {"type": "string"}, "id": {"readOnly": True}},
            "required": ["iban", "id"],
        },
        {"properties": {"card": {"type": "string"}}, "required": ["card"]},
    ]
    tool, changes = imported(tmp_path, {"type": "object", "oneOf": variants})
    assert check_arguments(tool, {"iban": "x"}) == check_arguments(tool, {"card": "x"}) == []
    assert check_arguments(tool, {}) and check_arguments(tool, {"iban": 1})
    assert "alternatives merged into one object" in changes


def test_an_optional_body_and_one_of_which_nothing_is_said(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}]}
    tool, changes = imported(tmp_path, schema, required=False)
    assert check_arguments(tool, {}) == []
    assert changes == {"fields of an optional body made optional": 1}
    tool, changes = imported(tmp_path, schema, required=None)
    assert check_arguments(tool, {})
    assert changes == {"body taken for required where nothing is said": 1}


@pytest.mark.parametrize(
    ("schema", "expected", "reason"),
    [
        ({"not": {"const": "a"}, "type": "string"}, {"type": "string"}, "not left out"),
        ({"type": "object", "if": {}, "then": {}}, {"type": "object"}, "if left out"),
        ({"type": "array", "contains": {}}, {"type": "array"}, "contains left out"),
        ({"type": "object", "propertyNames": {}}, {"type": "object"}, "propertyNames left out"),
        ({"type": "string", "examples": ["a"]}, {"type": "string"}, "examples left out"),
        ({"type": "object", "discriminator": {}}, {"type": "object"}, "discriminator left out"),
        (
            {"type": "number", "multipleOf": 0.01},
            {"type": "number"},
            "multipleOf of a fraction left out",
        ),
        (
            {"type": "integer", "maximum": 2**63},
            {"type": "integer"},
            "limits that are no usable numbers left out",
        ),
        (
            {"type": "integer", "minimum": 3, "maximum": 2},
            {"type": "integer"},
            "limits that no value meets left out",
        ),
        (
            {"type": "string", "pattern": "("},
            {"type": "string"},
            "pattern that cannot be compiled left out",
        ),
        (
            {"type": "string", "pattern": "^(?!x)(a+)+$"},
            {"type": "string"},
            "pattern that can take too long left out",
        ),
        (
            {"type": "string", "pattern": "a" * 201},
            {"type": "string"},
            "pattern of more than 200 characters left out",
        ),
        (
            {"type": "string", "pattern": "/^a/i"},
            {"type": "string"},
            "pattern that cannot be compiled left out",
        ),
        (
            {"type": "string", "pattern": "/^a/"},
            {"type": "string", "pattern": "^a"},
            "pattern taken out of its slashes",
        ),
        (
            {"allOf": [{"type": "string"}, {"type": "object"}]},
            {"type": "string"},
            "demands that exclude each other: the first one kept",
        ),
        (
            {"type": "object", "properties": {"a": {}}, "required": ["b"]},
            {"type": "object", "properties": {"a": {}}},
            "required field that is not described left out",
        ),
        (
            {"oneOf": [{"type": "integer"}, {"type": "number"}]},
            {"anyOf": [{"type": "integer"}, {"type": "number"}]},
            "oneOf taken as anyOf",
        ),
        (
            {"maxLength": 3},
            {"type": "string", "maxLength": 3},
            "missing type inferred from what is said of it",
        ),
        ({"type": "string", "default": "a" * 300}, {"type": "string"}, "long default left out"),
        (
            {"type": "string", "enum": ["a"], "default": "b"},
            {"type": "string", "enum": ["a"]},
            "default that is none of the choices left out",
        ),
        (
            {"type": "string", "enum": [1]},
            {"type": "string", "enum": ["1"]},
            "values brought to the type of their parameter",
        ),
        (
            {"type": "integer", "enum": [1, "x"]},
            {"type": "integer", "enum": [1]},
            "values of another type than their parameter left out",
        ),
    ],
)
def test_what_is_left_out_has_a_reason_of_its_own(schema: Any, expected: Any, reason: str) -> None:
    assert field(schema) == (expected, {reason: None})


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["a", 1, None, [1], {"a": 1}]},
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 5},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        {"type": "array", "prefixItems": [{"type": "string"}, {}], "items": {"type": "integer"}},
        {"type": "object", "additionalProperties": False},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        {
            "type": "object",
            "properties": {"a": {}},
            "required": ["a"],
            "additionalProperties": True,
        },
        {"type": "object", "patternProperties": {"^x-": {"type": "string"}}, "minProperties": 1},
        {"type": ["string", "null"], "default": None},
        {"type": "string", "default": ""},
    ],
)
def test_what_can_stay_stays(schema: Any) -> None:
    assert field(schema) == (schema, {})


def test_the_spellings_of_older_drafts() -> None:
    assert field({"type": "integer", "minimum": 1, "exclusiveMinimum": True})[0] == {
        "type": "integer",
        "exclusiveMinimum": 1,
    }
    assert field({"const": 1}) == ({"enum": [1]}, {})
    items = [{"type": "string"}, {"type": "integer"}]
    assert field({"type": "array", "items": items, "additionalItems": False})[0] == {
        "type": "array",
        "prefixItems": items,
        "maxItems": 2,
    }


def test_references_by_name_and_with_escapes(tmp_path: Path) -> None:
    schemas = {
        "A/b~c d": {"type": "integer"},
        "Named": {"$anchor": "named", "type": "boolean"},
        "Far": {
            "$id": "https://example.com/far",
            "properties": {"near": {"$ref": "#/$defs/Near"}, "nearer": {"$ref": "near"}},
            "$defs": {"Near": {"$id": "near", "type": "null"}},
            "type": "object",
        },
    }
    fields = {
        "escaped": {"$ref": "#/components/schemas/A~1b~0c%20d"},
        "anchor": {"$ref": "#named"},
        "far": {"$ref": "https://example.com/far"},
    }
    tool, changes = imported(tmp_path, {"type": "object", "properties": fields}, "3.1.0", **schemas)
    null = {"type": "null"}
    assert tool.parameters["properties"] == {
        "escaped": {"type": "integer"},
        "anchor": {"type": "boolean"},
        "far": {"type": "object", "properties": {"near": null, "nearer": null}},
    }
    assert not changes


def test_a_reference_is_cut_off_only_within_itself(tmp_path: Path) -> None:
    person = {"type": "object", "properties": {"name": {"type": "string"}}}
    reference = {"$ref": "#/components/schemas/Person"}
    schema = {"allOf": [reference, {"properties": {"boss": reference}}]}
    tool, changes = imported(tmp_path, schema, Person=person)
    assert tool.parameters["properties"]["boss"] == person
    assert not changes


@pytest.mark.parametrize("word", ["contentEncoding", "contentMediaType", "contentSchema"])
def test_what_a_text_holds_is_reported(word: str) -> None:
    assert field({"type": "string", word: {}}) == ({"type": "string"}, {f"{word} left out": None})
