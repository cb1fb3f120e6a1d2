"""What a user reads who made mistakes in a tool file."""

import json
from pathlib import Path

import pytest

from trustee_jax.toolsets import ToolError, load_repository
from trustee_jax.toolsets.schema import function_problems

FIVE = Path(__file__).parent / "files" / "five_mistakes.json"


def test_five_mistakes_make_five_messages():
    with pytest.raises(ToolError) as caught:
        load_repository(str(FIVE))
    assert str(caught.value).splitlines() == [
        f"{FIVE}: 5 problem(s) with its tools",
        "  library[0] 'Search books!': name: must be 1-64 letters, digits, '_' or '-'; "
        "use 'Search_books'",
        "  library[1] 'reserve_book': parameters.required: 'memberid' is not among the properties; "
        "write 'member_id', or define it",
        "  library[2] 'renew_loan': parameters.properties.weeks.type: 'int' is no JSON Schema "
        'type; write "integer"',
        "  library[3] 'list_loans': inputSchema: unknown field; rename it to \"parameters\" "
        "(known: name, description, parameters, strict, and category)",
        "  library[4] 'cancel_reservation': description: missing or empty; say what the tool does "
        "and returns",
    ]


def parameters(**changes):
    return {"parameters": {"type": "object", "properties": {}} | changes}


def one(**schema):
    return parameters(properties={"a": schema})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (one(type="Integer"), "properties.a.type: 'Integer' is no JSON Schema type; write \"integ"),
        (one(type=["string", "none"]), "properties.a.type.1: 'none' is no JSON Schema type; write"),
        (one(type="colour"), "write one of string, integer"),
        (one(type=3), "properties.a.type: 3 is no JSON Schema type"),
        (
            one(type="string", required=True),
            'properties.a.required: true is no list of names; drop it here, and beside "properties"'
            ' write "required": ["a"]',
        ),
        (parameters(required="a"), 'required: "a" is no list of names; write ["a"]'),
        (one(enum="x, y"), 'properties.a.enum: "x, y" is no list of values; write ["x", "y"]'),
        (
            parameters(properties={"a": "str"}),
            'properties.a: "str" is no schema; write {"type": "string"}',
        ),
        (
            one(type="array", items=[{"type": "string"}]),
            "properties.a.items: a list is no schema; give one schema for all items",
        ),
        (one(maxLength="30"), 'properties.a.maxLength: "30" is text; write 30 without quotes'),
        (one(description=["x"]), 'properties.a.description: ["x"] is not of type string'),
        (one(pattern="["), 'properties.a.pattern: "[" is no regular expression'),
        (one(minLength=-1), "properties.a.minLength: -1 is less than the minimum"),
        (
            {"parameters": {"city": {"type": "string"}}},
            'wrap it so: {"type": "object", "properties',
        ),
        ({"parameters": {"type": "dict"}}, 'not "dict"; write "type": "object"'),
        ({"parameters": {"properties": {}}}, 'add "type": "object"'),
        (
            {"parameters": {"$schema": "http://json-schema.org/draft-07/schema#"}},
            'parameters: must be a JSON schema with "type": "object" at the top; '
            'add "type": "object" (`trustee tools import` mends it)',
        ),
        ({"parameters": {"anyOf": [{"type": "object"}]}}, 'add "type": "object" (`trustee tools'),
        ({"parameters": {"anyOf": {"type": "string"}, "x": {}}}, "wrap it so"),
        (
            one(type="integer", minimum=1, exclusiveMinimum=True),
            "properties.a.exclusiveMinimum: true is of an older draft; write the limit itself, and "
            'drop "minimum" (`trustee tools import` mends it)',
        ),
        (one(exclusiveMaximum=False), "false is of an older draft; drop it"),
        (
            one(dependencies={"b": ["c"]}),
            "properties.a.dependencies: of an older draft; write dependentRequired or",
        ),
        (one(pattern="(?y)a"), 'properties.a.pattern: "(?y)a" is no regular expression'),
        (
            one(patternProperties={r"^\p{L}$": {}}),
            "properties.a.patternProperties: '^\\\\p{L}$' is no pattern that names can be",
        ),
        (one(patternProperties={"^(a+)+$": {}}), "is no pattern that names can be checked by"),
        (one(**{"$id": "x"}), "properties.a.$id: is not supported; remove it"),
        (one(**{"$dynamicRef": "#x"}), "properties.a.$dynamicRef: is not supported"),
        # Where no keyword has a schema, but a reference leads to.
        (
            parameters(properties={"a": {"$ref": "#/shapes/b"}}, shapes={"b": {"type": "text"}}),
            "parameters.shapes.b.type: 'text' is no JSON Schema type",
        ),
        (
            parameters(properties={"a": {"$ref": "#/x"}}, x={"items": {"$ref": "#/gone"}}),
            "parameters.x.items.$ref: '#/gone' leads nowhere",
        ),
        ({"parameters": []}, "not a list; write"),
        ({"args": {}}, 'args: unknown field; rename it to "parameters"'),
        ({"descriptions": ""}, 'descriptions: unknown field; rename it to "description"'),
        ({"required": ["a"]}, "required: stands beside parameters; move it into parameters"),
        ({"version": 2}, "version: unknown field; remove it"),
    ],
)
def test_each_mistake_has_one_message_with_its_remedy(change, problem):
    found = function_problems({"name": "f", "description": "Does."} | change)
    assert len(found) == 1
    assert problem in found[0]


def test_a_parameter_may_be_called_like_a_keyword():
    names = ("type", "required", "enum", "properties", "items", "pattern")
    properties = {name: {"type": "string"} for name in names}
    function = {"name": "f", "description": "Does.", **parameters(properties=properties)}
    assert function_problems(function) == []
    function = {"name": "f", "description": "Does.", **parameters(properties={"type": "int"})}
    assert function_problems(function) == [
        'parameters.properties.type: "int" is no schema; write {"type": "integer"}'
    ]


def test_what_can_be_checked_is_no_mistake():
    fields = {
        "word": {"type": "string", "pattern": r"^[\p{L}\p{N} ]{1,40}$"},
        "ids[]": {"type": "array", "items": {"type": "string"}},
        "enum": {"default": {"enum": [], "$id": "x", "$ref": "#/gone"}},
    }
    function = {"name": "f", "description": "Does.", **parameters(properties=fields)}
    function["parameters"] |= {"$id": "x", "$schema": "http://json-schema.org/draft-07/schema#"}
    assert function_problems(function) == []


def test_schemas_too_deep_to_check_are_named():
    schema = {"type": "string"}
    for _ in range(900):
        schema = {"items": schema}
    function = {"name": "f", "description": "Does.", **parameters(properties={"a": schema})}
    assert function_problems(function) == ["parameters: nested too deeply; simplify them"]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('[{"name": "f",}]', "drop the comma before the '}'"),
        ("[{'name': 1}]", "single ones"),
        ("[ // tools\n]", "JSON has none"),
        ('[{"name": "f"}', "complete it"),
        ("", "write the tools"),
        ('[{"name" "f"}]', "correct it"),
        ('{"name": "f"} {"name": "g"}', "or name a file of JSON lines .jsonl"),
    ],
)
def test_broken_json_is_placed_with_its_remedy(tmp_path, text, remedy):
    file = tmp_path / "tools.json"
    file.write_text(text)
    with pytest.raises(ToolError) as caught:
        load_repository(str(file))
    (problem,) = caught.value.problems
    assert problem.endswith(remedy) and "line 1 column" in problem


def test_a_broken_line_hides_no_other(tmp_path):
    file = tmp_path / "tools.jsonl"
    good = {"name": "f", "description": "Does."}
    file.write_text("\n".join([json.dumps(good), '{"name": "g",', json.dumps(good | {"name": ""})]))
    with pytest.raises(ToolError) as caught:
        load_repository(str(file))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["line 2", "line 3 ''"]


def test_a_reference_that_is_no_text_is_one_more_mistake():
    field = {"type": "array", "additionalItems": {"$ref": False}}
    parameters = {"type": "object", "properties": {"a": field}}
    (problem,) = function_problems({"name": "x", "description": "d", "parameters": parameters})
    assert problem.startswith("parameters.properties.a.additionalItems.$ref: False leads nowhere")


def test_a_document_that_is_no_json_is_sent_to_the_import(tmp_path):
    (tmp_path / "api.json").write_text("openapi: 3.0.3\npaths: {}\n")
    with pytest.raises(ToolError, match="`trustee tools import` reads YAML"):
        load_repository(str(tmp_path / "api.json"))
