"""What a user reads who made mistakes in a tool file."""

import json
from pathlib import Path

import pytest

from trustee_jax.tools import ToolError, load_repository
from trustee_jax.tools.schema import function_problems

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


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('[{"name": "f",}]', "drop the comma before the '}'"),
        ("[{'name': 1}]", "single ones"),
        ("[ // tools\n]", "JSON has none"),
        ('[{"name": "f"}', "complete it"),
        ("", "write the tools"),
        ('[{"name" "f"}]', "correct it"),
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
