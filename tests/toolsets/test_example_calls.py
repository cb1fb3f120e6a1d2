"""Calls that code writes: every one fits its tool, and the request holds its values."""

import json
import random

import pytest

from trustee_jax.toolsets import Tool, check_arguments, load_repository
from trustee_jax.toolsets.example_calls import example_arguments, example_request


def make_tool(required=None, **properties) -> Tool:
    names = list(properties) if required is None else required
    schema = {"type": "object", "properties": properties, "required": names}
    return Tool("find", "Finds it.", schema)


def test_calls_of_real_tools_fit_and_are_asked_for():
    tools = load_repository("starter").tools
    written = 0
    for number, tool in enumerate(tools):
        arguments = example_arguments(tool, random.Random(number))
        if arguments is None:
            continue
        written += 1
        assert check_arguments(tool, arguments) == []
        assert set(arguments) == set(tool.parameters.get("required", ()))
        request = example_request(tool, arguments)
        assert tool.description.strip().rstrip(".") in request
        for value in arguments.values():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            assert shown in request
    assert written >= 0.9 * len(tools)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 4},
        {"type": "integer", "maximum": -5},
        {"type": "number", "exclusiveMinimum": 2},
        {"type": "integer", "multipleOf": 5},
        {"type": ["null", "string"], "format": "date"},
        {"enum": ["a", 3]},
        {"const": {"x": 1}},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
        {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
        True,
    ],
)
def test_values_of_every_kind(schema):
    tool = make_tool(x=schema)
    drawn = [example_arguments(tool, random.Random(seed)) for seed in range(20)]
    assert all(
        arguments is not None and check_arguments(tool, arguments) == [] for arguments in drawn
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[A-Z]{3}[0-9]{4}$"},
        {"type": "string", "minLength": 50},
        {"anyOf": [{"type": "string"}]},
        {"$ref": "#/$defs/x"},
    ],
)
def test_what_is_not_known_gives_no_call(schema):
    assert example_arguments(make_tool(x=schema), random.Random(0)) is None


def test_parameters_that_are_not_required_are_left_out():
    tool = make_tool(required=["x"], x={"type": "string"}, y={"type": "string"})
    arguments = example_arguments(tool, random.Random(0))
    assert set(arguments) == {"x"}
    assert example_request(tool, arguments) == f"I need this: Finds it. Use x {arguments['x']}."
    assert example_request(make_tool(), {}) == "I need this: Finds it."
