"""Schemas of older drafts in the spelling of the newest, each change with its reason."""

import json
from typing import Any

import pytest

from trustee_jax.toolsets.importing import drafts
from trustee_jax.toolsets.importing.drafts import modern
from trustee_jax.toolsets.importing.names import NOT_RENAMED, RENAMED
from trustee_jax.toolsets.schema import function_problems

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}


def properties(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def field(**schema: Any) -> dict[str, Any]:
    return properties(a=schema)


@pytest.mark.parametrize(
    ("written", "read", "reason"),
    [
        (field(items=[TEXT, NUMBER]), field(prefixItems=[TEXT, NUMBER]), drafts.TUPLE),
        (
            field(items=[TEXT], additionalItems=False),
            field(prefixItems=[TEXT], items=False),
            drafts.TUPLE,
        ),
        (field(items=[], additionalItems=NUMBER), field(items=NUMBER), drafts.TUPLE),
        (
            field(dependencies={"x": ["y"], "z": {"required": ["y"]}, "w": "y", "v": False}),
            field(
                dependentRequired={"x": ["y"], "w": ["y"]},
                dependentSchemas={"z": {"required": ["y"]}, "v": False},
            ),
            drafts.DEPENDENCIES,
        ),
        (field(minimum=3, exclusiveMinimum=True), field(exclusiveMinimum=3), drafts.EXCLUSIVE),
        (field(maximum=3, exclusiveMaximum=False), field(maximum=3), drafts.EXCLUSIVE),
        (field(exclusiveMaximum=True), field(), drafts.EXCLUSIVE),
        (
            properties(a={**TEXT, "required": True}, b={**TEXT, "required": False}),
            {**properties(a=TEXT, b=TEXT), "required": ["a"]},
            drafts.REQUIRED,
        ),
        (field(type="STRING"), field(type="string"), drafts.LETTERS),
        (field(type=["Array", "null"]), field(type=["array", "null"]), drafts.LETTERS),
        (field(pattern="(?y)a"), field(), drafts.PATTERN),
        (field(pattern="^(?!x)(a+)+$"), field(), drafts.PATTERN),
        (
            field(patternProperties={r"^\p{L}$": {}, "^x": {}}, additionalProperties=False),
            field(patternProperties={"^x": {}}, additionalProperties=True),
            drafts.KEYS,
        ),
        (
            field(patternProperties={"^(?<x>a)": TEXT}),
            field(patternProperties={"^(?P<x>a)": TEXT}),
            drafts.SPELLED,
        ),
        # The whole of the parameters.
        ({}, {"type": "object"}, drafts.TYPE),
        (DRAFT_7, {"type": "object"}, drafts.TYPE),
        ({"properties": {}}, properties(), drafts.TYPE),
        (
            {"anyOf": [field(), field()]},
            {"type": "object", "anyOf": [field(), field()]},
            drafts.TYPE,
        ),
        # References.
        (
            properties(a={"items": [TEXT]}, b={"$ref": "#/properties/a/items/0"}),
            properties(a={"prefixItems": [TEXT]}, b={"$ref": "#/properties/a/prefixItems/0"}),
            drafts.TUPLE,
        ),
        (
            {
                **properties(a={"$ref": "#t"}, b={"$ref": "u.json"}),
                "definitions": {"t": {**TEXT, "$id": "#t"}, "u": {**NUMBER, "$id": "u.json"}},
            },
            {
                **properties(a={"$ref": "#/definitions/t"}, b={"$ref": "#/definitions/u"}),
                "definitions": {"t": TEXT, "u": NUMBER},
            },
            drafts.NAMED,
        ),
        (
            {
                **DRAFT_4,
                **properties(a={"$ref": "#t"}),
                "id": "x",
                "definitions": {"t": {**TEXT, "id": "#t"}},
            },
            {**properties(a={"$ref": "#/definitions/t"}), "definitions": {"t": TEXT}},
            drafts.NAMED,
        ),
        (
            {
                **properties(a={"$ref": "https://a.b/c.json#/$defs/t"}),
                "$id": "https://a.b/c.json",
                "$defs": {"t": TEXT},
            },
            {**properties(a={"$ref": "#/$defs/t"}), "$defs": {"t": TEXT}},
            drafts.NAMED,
        ),
        (
            {**properties(kids={"items": {"$recursiveRef": "#"}}), "$recursiveAnchor": True},
            properties(kids={"items": {"$ref": "#"}}),
            drafts.NAMED,
        ),
        (
            {**properties(kids={"$dynamicRef": "#n"}), "$dynamicAnchor": "n"},
            properties(kids={"$ref": "#"}),
            drafts.NAMED,
        ),
        (
            {
                **DRAFT_7,
                **properties(
                    a={"$ref": "#/properties/b", "minLength": 3, "description": "A"}, b=TEXT
                ),
            },
            properties(a={"$ref": "#/properties/b", "description": "A"}, b=TEXT),
            drafts.BESIDE,
        ),
        # Names.
        (
            {
                **properties(
                    **{
                        "ids[]": TEXT,
                        "ids": {"description": "One"},
                        "номер": {"description": "Its number."},
                    }
                ),
                "required": ["ids[]"],
                "dependentRequired": {"ids": ["номер"]},
            },
            {
                **properties(
                    ids_2={**TEXT, "description": "ids[]"},
                    ids={"description": "One"},
                    nomer={"description": "номер: Its number."},
                ),
                "required": ["ids_2"],
                "dependentRequired": {"ids": ["nomer"]},
            },
            RENAMED,
        ),
        (
            {
                **properties(
                    **{
                        "a b": {
                            **field(**{"$ref": "#/properties/a%20b/x"}),
                            "default": {"a b": [{"a b": 1}]},
                        }
                    }
                )
            },
            {
                **properties(
                    a_b={
                        **field(**{"$ref": "#/properties/a%20b/x"}),
                        "default": {"a_b": [{"a_b": 1}]},
                        "description": "a b",
                    }
                )
            },
            RENAMED,
        ),
        (
            properties(**{"a/b": TEXT, "c": {"$ref": "#/properties/a~1b"}}),
            properties(a_b={**TEXT, "description": "a/b"}, c={"$ref": "#/properties/a_b"}),
            RENAMED,
        ),
        (
            {"allOf": [properties(**{"a b": TEXT}), {"required": ["a b"]}], "type": "object"},
            {
                "allOf": [properties(a_b={**TEXT, "description": "a b"}), {"required": ["a_b"]}],
                "type": "object",
            },
            RENAMED,
        ),
        (
            {**properties(**{"$id": {}, "$ref": {}, "$schema": {}}), "required": ["$ref"]},
            {
                **properties(
                    id={"description": "$id"},
                    ref={"description": "$ref"},
                    schema={"description": "$schema"},
                ),
                "required": ["ref"],
            },
            RENAMED,
        ),
        (
            field(type="STRING", nullable=True, enum=["x"], description="d"),
            field(type=["string", "null"], enum=["x", None], description="d"),
            [drafts.LETTERS, drafts.NULLABLE],
        ),
        (field(type="integer", nullable=True), field(type=["integer", "null"]), drafts.NULLABLE),
        (field(type=["integer"], nullable=True), field(type=["integer", "null"]), drafts.NULLABLE),
        (field(enum=[1], nullable=True), field(enum=[1, None]), drafts.NULLABLE),
        (field(nullable=True), field(), drafts.NULLABLE),
        (
            field(anyOf=[TEXT, NUMBER], nullable=True),
            field(anyOf=[TEXT, NUMBER, {"type": "null"}]),
            drafts.NULLABLE,
        ),
        (
            field(oneOf=[TEXT, NUMBER], nullable=True, title="t"),
            field(anyOf=[{"oneOf": [TEXT, NUMBER]}, {"type": "null"}], title="t"),
            drafts.NULLABLE,
        ),
        (
            properties(a={"$ref": "#/properties/b/items/0", "nullable": True}, b={"items": [TEXT]}),
            properties(
                a={"anyOf": [{"$ref": "#/properties/b/prefixItems/0"}, {"type": "null"}]},
                b={"prefixItems": [TEXT]},
            ),
            [drafts.NULLABLE, drafts.TUPLE],
        ),
        (field(pattern="/^[a-z]+$/"), field(pattern="^[a-z]+$"), drafts.SLASHES),
        (field(pattern="/^[a-z]+$/i"), field(), drafts.PATTERN),
        (
            field(patternProperties={"/^x-/": TEXT}),
            field(patternProperties={"^x-": TEXT}),
            drafts.SPELLED,
        ),
        (
            {**properties(**{"a b": TEXT}), "patternProperties": {"^a ": TEXT}},
            {**properties(**{"a b": TEXT}), "patternProperties": {"^a ": TEXT}},
            NOT_RENAMED,
        ),
    ],
)
def test_each_spelling(written: Any, read: Any, reason: Any) -> None:
    before = json.dumps(written)
    assert modern(written) == (read, reason if isinstance(reason, list) else [reason])
    assert json.dumps(written) == before
    assert modern(read) == (read, [] if reason != NOT_RENAMED else [reason])


def test_what_refers_to_the_whole_means_it_as_it_was() -> None:
    """A node that may be null, at every depth but the first."""
    node = {"type": ["object", "null"], "properties": {"next": {"$ref": "#"}}}
    written = {**node, "definitions": {"x": {"$ref": "#/properties/next"}}}
    whole = {"type": ["object", "null"], "properties": {"next": {"$ref": "#/$defs/Arguments"}}}
    assert modern(written)[0] == {
        "type": "object",
        "$ref": "#/$defs/Arguments",
        "$defs": {"Arguments": whole},
        "definitions": {"x": {"$ref": "#/$defs/Arguments/properties/next"}},
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (properties(id=TEXT, items=TEXT, type=TEXT, required=TEXT), None),
        (field(const={"items": [1]}, default={"dependencies": {}, "type": "STRING"}), None),
        (field(type="integer", exclusiveMinimum=3), None),
        (field(pattern=r"^[\p{L}\p{N} ]{1,40}$"), None),
        (field(**{"$ref": "#/gone"}), None),
        (field(**{"$ref": "https://a.b/c.json"}), None),
        (field(additionalItems=TEXT), None),
        (field(id="x"), None),
        (properties(nullable={"type": "boolean"}), None),
        (field(type="integer", nullable=False), None),
        (field(pattern="/v1/x/"), None),
        (properties(a={"$ref": "#/properties/b", "minLength": 3}, b=TEXT), None),
        ({"type": ["object", "null"], "properties": {}}, properties()),
        ({**DRAFT_7, **field(**DRAFT_7)}, field()),
        # Not for an object, or not known for one.
        ({"type": "array", "items": TEXT}, None),
        ({"city": TEXT}, None),
        ({"enum": [1]}, None),
        ([], None),
        (None, None),
    ],
)
def test_what_needs_no_change(written: Any, read: Any) -> None:
    assert modern(written) == (written if read is None else read, [])


@pytest.mark.parametrize(
    "odd",
    [
        {"required": [[]], "properties": {"a b": {}}},
        {"required": "a", "dependentRequired": {"a b": 3, "c": "d", "e": [{}]}},
        {"properties": {"a b": {"description": 3}}, "dependentSchemas": []},
        {"dependencies": {"a": 3}},
        {"dependencies": {"a": ["b"]}, "dependentRequired": []},
        {"items": [3, "x"], "prefixItems": 4, "$ref": 5, "$id": 6, "$anchor": []},
        {"$id": "http://[", "$ref": "#/%zz", "$dynamicRef": ["x"]},
        {"patternProperties": {"(": 3}, "pattern": 3, "type": {"type": "STRING"}},
        {"allOf": {}, "anyOf": 3, "properties": [], "definitions": "x"},
        {"minimum": "3", "exclusiveMinimum": True, "enum": []},
    ],
)
def test_what_is_no_schema_is_left_to_the_checks(odd: dict[str, Any]) -> None:
    for schema in (odd, {"type": "object", "properties": {"a": odd}}):
        read, _ = modern(schema)
        function_problems({"name": "f", "description": "F.", "parameters": read})
