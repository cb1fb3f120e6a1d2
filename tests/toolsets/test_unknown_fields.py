"""What no schema lists is refused at any depth, however the schemas are put together."""

import random
import time

import pytest
from jsonschema import Draft202012Validator

from trustee_jax.errors import raises_recursion_error
from trustee_jax.toolsets import Tool, check_arguments

GUEST = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
STAY = Tool(
    "book_stay",
    "Book a stay at a guesthouse.",
    {
        "type": "object",
        "$defs": {"Guest": GUEST},
        "properties": {
            "guest": {"$ref": "#/$defs/Guest"},
            "second": {"anyOf": [{"$ref": "#/$defs/Guest"}, {"type": "null"}]},
            "payer": {"type": "object", "properties": {"name": {"type": "string"}}},
            "pet": {"type": ["object", "null"], "properties": {"name": {"type": "string"}}},
            "rooms": {
                "type": "array",
                "items": {"type": "object", "properties": {"beds": {"type": "integer"}}},
            },
            "pair": {"prefixItems": [{"$ref": "#/$defs/Guest"}, {"type": "integer"}]},
            "host": {"allOf": [{"$ref": "#/$defs/Guest"}, {"properties": {"town": {}}}]},
            "free": {"type": "object"},
        },
        "required": ["guest"],
    },
)
ADA = {"name": "Ada", "age": 36}


@pytest.mark.parametrize(
    ("more", "unknown"),
    [
        ({}, None),
        ({"second": None, "pet": None, "free": {"any": {"thing": 1}}}, None),
        ({"second": ADA, "payer": {}, "pair": [ADA, 3], "host": ADA | {"town": "Bern"}}, None),
        ({"guest": ADA | {"zip": 1}}, "guest.zip"),
        ({"second": ADA | {"zip": 1}}, "second.zip"),
        ({"payer": {"zip": 1}}, "payer.zip"),
        ({"pet": {"zip": 1}}, "pet.zip"),
        ({"rooms": [{"beds": 1}, {"zip": 2}]}, "rooms[1].zip"),
        ({"pair": [ADA | {"zip": 1}, 3]}, "pair[0].zip"),
        ({"host": ADA | {"town": "Bern", "zip": 1}}, "host.zip"),
        ({"zip": 1}, "zip"),
    ],
)
def test_at_any_depth(more, unknown):
    expected = [f"unknown parameter '{unknown}'"] if unknown else []
    assert check_arguments(STAY, {"guest": ADA} | more) == expected


def test_a_slip_within_an_alternative_is_told_like_one_outside():
    assert check_arguments(STAY, {"guest": {"nmae": "A"}, "second": {"nmae": "B"}}) == [
        "missing required parameter 'guest.name'",
        "missing required parameter 'second.name'",
        "unknown parameter 'guest.nmae'",
        "unknown parameter 'second.nmae'",
    ]


def by(kind, **fields):
    properties = {"kind": {"const": kind}, **fields}
    return {"type": "object", "properties": properties, "required": ["kind", *fields]}


A = {"properties": {"a": {"type": "integer"}}}
B = {"properties": {"b": {"type": "integer"}}}
LISTED = {"a": 1}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        # The parts of a whole, each alone without the others' names.
        ({"allOf": [A, B]}, {"a": 1, "b": 2}, {"a": 1, "c": 2}),
        ({**A, "allOf": [{"type": "object"}]}, LISTED, {"c": 1}),
        ({**A, "$ref": "#/$defs/B"}, {"a": 1, "b": 2}, {"c": 1}),
        # Alternatives: what lists none of the properties that are listed beside it opens nothing.
        ({**A, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, LISTED, {"a": 1, "c": 1}),
        ({"anyOf": [A, B]}, {"a": 1, "b": 2}, {"a": 1, "c": 1}),
        ({"anyOf": [A, {"required": ["z"]}]}, {"z": 1, "c": 1}, {"a": 1, "c": 1}),
        (
            {"oneOf": [by("x", p={}), by("y", q={})]},
            {"kind": "y", "q": 1},
            {"kind": "y", "q": 1, "p": 1},
        ),
        (
            {"anyOf": [by("x", p=A), {"type": "null"}]},
            {"kind": "x", "p": {"a": 1}},
            {"kind": "x", "p": {"b": 1}},
        ),
        # Conditions: a test lists nothing, though what it looks at is known.
        (
            {"properties": {"t": {}}, "if": {"properties": {"t": {"const": 1}}}, "then": B},
            {"t": 1, "b": 1},
            {"t": 2, "b": 1},
        ),
        ({**A, "if": {"required": ["b"]}, "then": B, "else": {}}, {"b": 1}, {"c": 1}),
        (
            {"if": {"properties": {"t": {"properties": {"k": {"const": 1}}}}}},
            {"t": {"k": 1, "c": 1}},
            None,
        ),
        ({"if": {"properties": {"t": {"const": 1}}}}, {"t": 1, "c": 1}, None),
        ({**A, "dependentSchemas": {"a": B}}, {"a": 1, "b": 1}, {"b": 1}),
        ({**A, "not": {**B, "required": ["b"]}}, LISTED, {"a": 1, "b": "x"}),
        # Openness is said, at the object or in a part of it.
        ({**A, "additionalProperties": True}, {"c": 1}, None),
        ({**A, "additionalProperties": {}}, {"c": 1}, None),
        ({"allOf": [A, {"additionalProperties": True}]}, {"c": 1}, None),
        ({**A, "unevaluatedProperties": True}, {"c": 1}, None),
        ({**A, "unevaluatedProperties": A}, {"c": {"a": 1}}, {"c": {"d": 1}}),
        ({**A, "additionalProperties": B}, {"c": {"b": 1}}, {"c": {"d": 1}}),
        ({**A, "additionalProperties": False}, LISTED, {"c": 1}),
        ({"unevaluatedProperties": False, "allOf": [A]}, LISTED, {"c": 1}),
        ({"additionalProperties": False}, {}, {"c": 1}),
        ({**A, "patternProperties": {"^x-": B}}, {"x-y": {"b": 1}}, {"x-y": {"d": 1}}),
        ({**A, "patternProperties": {"^x-": {}}}, {"x-y": 1}, {"y": 1}),
        ({"patternProperties": {"^x-": {}}}, {"y": 1}, None),
        # Lists.
        ({"properties": {"l": {"items": A}}}, {"l": [LISTED, 1]}, {"l": [{"c": 1}]}),
        (
            {"properties": {"l": {"prefixItems": [A], "items": B}}},
            {"l": [LISTED, {"b": 1}]},
            {"l": [LISTED, {"a": 1}]},
        ),
        (
            {"properties": {"l": {"prefixItems": [A], "unevaluatedItems": B}}},
            {"l": [LISTED]},
            {"l": [LISTED, {"a": 1}]},
        ),
        (
            {"properties": {"l": {"contains": {**A, "required": ["a"]}}}},
            {"l": [{"a": 1, "c": 1}]},
            None,
        ),
        # References to themselves.
        (
            {"properties": {"next": {"$ref": "#/properties/x"}}},
            {"next": {"next": {"v": 1}}},
            {"next": {"next": {"w": 1}}},
        ),
        ({"allOf": [{"$ref": "#/properties/x"}]}, {"v": 1}, {"c": 1}),
    ],
)
def test_put_together(schema, good, bad):
    loop = {
        "properties": {"v": {}, "next": {"$ref": "#/properties/x"}},
        "anyOf": [{"$ref": "#/properties/x"}],
    }
    tool = Tool(
        "f", "F.", {"type": "object", "$defs": {"B": B}, "properties": {"o": schema, "x": loop}}
    )
    Draft202012Validator.check_schema(tool.parameters)
    assert check_arguments(tool, {"o": good}) == []
    if bad is not None:
        (message,) = check_arguments(tool, {"o": bad})
        assert message.startswith("unknown parameter 'o.")


def schema_of(rng, depth):
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(({"type": "integer"}, {"type": "string"}, {"type": "null"}))
    kind = rng.random()
    if kind < 0.4:
        names = rng.sample("abcd", rng.randrange(1, 4))
        properties = {name: schema_of(rng, depth - 1) for name in names}
        return {"type": "object", "properties": properties, "required": names[: rng.randrange(2)]}
    if kind < 0.5:
        return {"type": "array", "items": schema_of(rng, depth - 1)}
    if kind < 0.6:
        return {"$ref": f"#/$defs/{rng.choice('AB')}"}
    if kind < 0.8:
        parts = [schema_of(rng, depth - 1) for _ in range(2)]
        return {rng.choice(("anyOf", "oneOf")): [*parts, {"type": "null"}]}
    return {"allOf": [schema_of(rng, depth - 1) for _ in range(2)]}


def value_of(rng, depth):
    if depth and rng.random() < 0.7:
        return {name: value_of(rng, depth - 1) for name in rng.sample("abcde", rng.randrange(4))}
    if depth and rng.random() < 0.3:
        return [value_of(rng, depth - 1) for _ in range(rng.randrange(3))]
    return rng.choice((1, "x", None))


def closed(schema):
    """A copy that says `unevaluatedProperties: false` wherever a value may be an object."""
    inner = {}
    for key, value in schema.items():
        if key == "properties":
            inner[key] = {name: whole(child) for name, child in value.items()}
        elif key == "items":
            inner[key] = whole(value)
        elif key in ("anyOf", "oneOf", "allOf"):
            inner[key] = [closed(part) for part in value]
        else:
            inner[key] = value
    return inner


def whole(schema):
    return {**closed(schema), "unevaluatedProperties": False}


def test_it_is_what_json_schema_calls_unevaluated():
    """Where every object lists its properties, nothing differs from the keyword."""
    rng = random.Random(5)
    counts = {True: 0, False: 0}
    while min(counts.values()) < 400:
        definitions = {name: schema_of(rng, 2) for name in "AB"}
        written = {"type": "object", "properties": {"p": schema_of(rng, 3)}, "$defs": definitions}
        tool = Tool("f", "F.", written)
        closed_definitions = {name: closed(child) for name, child in definitions.items()}
        reference = Draft202012Validator({**whole(written), "$defs": closed_definitions})
        for _ in range(20):
            value = {"p": value_of(rng, 3)}
            try:
                with raises_recursion_error():
                    right = reference.is_valid(value)
            except RecursionError:  # a reference to itself, without anything between
                break
            problems = check_arguments(tool, value)
            # Alternatives are told apart by what they demand, not by what they do not list.
            if right:
                assert not problems, (written, value)
            elif Draft202012Validator(written).is_valid(value):
                assert problems and all("unknown parameter" in p for p in problems)
                counts[False] += 1
            counts[True] += right


def branches(*kinds):
    sides = {side: {"$ref": "#/$defs/E"} for side in ("l", "r")}
    nodes = [{**by(k, **sides), "required": ["l"]} for k in kinds]
    return {"anyOf": [*nodes, {"type": "number"}]}


def chain(leaf, depth):
    for _ in range(depth):
        leaf = {"kind": "+", "l": leaf, "r": 1}
    return {"e": leaf}


@pytest.mark.parametrize("leaf", [1, "x", {"kind": "+", "l": 1, "zip": 1}, {"kind": "%", "l": 1}])
def test_alternatives_that_lead_to_themselves_do_not_multiply(leaf):
    """Four alternatives at every level: each value is looked at once for each, not 4^40 times."""
    definitions = {"E": branches(*"+-*/")}
    schema = {"type": "object", "properties": {"e": {"$ref": "#/$defs/E"}}, "$defs": definitions}
    start = time.process_time()
    problems = check_arguments(Tool("f", "F.", schema), chain(leaf, 40))
    assert time.process_time() - start < 5
    assert len(problems) == (leaf != 1) and all(len(p) < 400 for p in problems)


def test_definitions_that_double_do_not_multiply():
    definitions = {
        f"D{i}": {"anyOf": [{"$ref": f"#/$defs/D{i + 1}"}] * 2, "minProperties": 1}
        for i in range(40)
    }
    definitions["D40"] = A
    schema = {"type": "object", "properties": {"o": {"$ref": "#/$defs/D0"}}, "$defs": definitions}
    tool = Tool("f", "F.", schema)
    start = time.process_time()
    assert check_arguments(tool, {"o": LISTED}) == []
    assert check_arguments(tool, {"o": {"c": 1}}) == ["unknown parameter 'o.c'"]
    (message,) = check_arguments(tool, {"o": {"a": "x"}})
    assert "parameter 'o' is not valid" in message
    assert time.process_time() - start < 5
