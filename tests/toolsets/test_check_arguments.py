"""Arguments of calls: right ones pass, wrong ones get the message of a real API."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from trustee_jax.toolsets import Tool, check_arguments

BOOK = Tool(
    "book_table",
    "Books a table.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 2},
            "seats": {"type": "integer", "minimum": 1, "maximum": 8},
            "area": {"type": "string", "enum": ["inside", "terrace"]},
            "day": {"type": "string", "format": "date"},
            "start": {"type": "string", "format": "date-time"},
            "clock": {"type": "string", "format": "time"},
            "mail": {"type": "string", "format": "email"},
            "link": {"type": "string", "format": "uri"},
            "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
            "tip": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "quiet": {"type": "boolean"},
            "contact": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "phone": {"type": "string"}},
                "required": ["name"],
            },
            "guests": {
                "type": "array",
                "maxItems": 2,
                "uniqueItems": True,
                "items": {
                    "type": "object",
                    "properties": {"age": {"type": "integer"}},
                    "required": ["age"],
                },
            },
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "integer"}]},
            "labels": {"type": "object"},
        },
        "required": ["city", "seats"],
    },
)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"area": "terrace", "day": "2026-02-28", "quiet": False, "tip": None},
        {"start": "2026-02-28T19:30:00Z", "clock": "19:30", "mail": "a@b.org"},
        {"start": "2026-02-28T19:30:00", "link": "https://example.org/x?y=1"},
        {"contact": {"name": "Ada"}, "guests": [{"age": 3}, {"age": 4}], "seats": 4.0},
        {"when": 3, "labels": {"anything": 1}},
    ],
)
def test_right_arguments(more):
    assert check_arguments(BOOK, {"city": "Bari", "seats": 2} | more) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"citty": 1}, "unknown parameter 'citty'"),
        ({"seats": "2"}, "parameter 'seats' must be an integer, got '2'"),
        ({"seats": True}, "parameter 'seats' must be an integer, got true"),
        ({"seats": 0}, "parameter 'seats' must be at least 1, got 0"),
        ({"seats": 9}, "parameter 'seats' must be at most 8, got 9"),
        ({"area": "roof"}, "parameter 'area' must be one of 'inside', 'terrace'; got 'roof'"),
        ({"city": "B"}, "parameter 'city' must have at least 2 character(s), got 'B'"),
        ({"code": "ab"}, "parameter 'code' must match the pattern '^[A-Z]{3}$', got 'ab'"),
        ({"tip": 0}, "parameter 'tip' must be greater than 0, got 0"),
        ({"tip": "x"}, "parameter 'tip' must be a number or null, got 'x'"),
        ({"day": "tomorrow"}, "parameter 'day' must be a date (YYYY-MM-DD), got 'tomorrow'"),
        ({"day": "2026-02-30"}, "parameter 'day' must be a date (YYYY-MM-DD), got '2026-02-30'"),
        (
            {"start": "2026-02-28"},
            "parameter 'start' must be a date and time (YYYY-MM-DDThh:mm:ss), got '2026-02-28'",
        ),
        ({"clock": "7pm"}, "parameter 'clock' must be a time (hh:mm or hh:mm:ss), got '7pm'"),
        ({"mail": "ada"}, "parameter 'mail' must be an email address, got 'ada'"),
        ({"link": "x.org"}, "parameter 'link' must be a URL with its scheme, got 'x.org'"),
        ({"contact": {}}, "missing required parameter 'contact.name'"),
        ({"contact": {"name": "A", "fax": ""}}, "unknown parameter 'contact.fax'"),
        ({"guests": [{"age": 1}, {}]}, "missing required parameter 'guests[1].age'"),
        ({"guests": [{"age": 1, "x": 2}]}, "unknown parameter 'guests[0].x'"),
        ({"guests": [{"age": 1}] * 2}, "parameter 'guests' must not repeat items"),
    ],
)
def test_one_wrong_argument(more, message):
    assert check_arguments(BOOK, {"city": "Bari", "seats": 2} | more) == [message]


def test_every_problem_in_the_order_of_the_schema():
    assert check_arguments(BOOK, {"sets": 2, "Seats": 3, "quiet": 1}) == [
        "parameter 'quiet' must be true or false, got 1",
        "missing required parameter 'city'",
        "missing required parameter 'seats'",
        "unknown parameter 'sets'",
        "unknown parameter 'Seats'",
    ]


def test_alternatives_and_long_values_stay_short():
    (message,) = check_arguments(BOOK, {"city": "Bari", "seats": 2, "when": "x" * 500})
    assert message.startswith("parameter 'when' must be") and len(message) < 200


def test_what_the_schema_leaves_open_stays_open():
    parameters = {"type": "object", "properties": {}, "additionalProperties": {"type": "number"}}
    tool = Tool("add", "Adds.", parameters)
    assert check_arguments(tool, {"a": 1}) == []
    assert check_arguments(tool, {"a": "b"}) == ["parameter 'a' must be a number, got 'b'"]
    combined = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "allOf": [{"properties": {"b": {"type": "string"}}}],
    }
    assert check_arguments(Tool("join", "Joins.", combined), {"a": "x", "b": "y"}) == []


def test_a_tool_without_parameters_refuses_arguments():
    tool = Tool("ping", "Pings.", {"type": "object", "properties": {}})
    assert check_arguments(tool, {}) == []
    assert check_arguments(tool, {"x": 1}) == ["unknown parameter 'x'"]


def test_no_value_breaks_the_check():
    step = {"type": "object", "properties": {"x": {"type": "number", "multipleOf": 0.25}}}
    tool = Tool("set_step", "Sets it.", step)
    for number in (float("inf"), float("nan"), 10**400):
        (message,) = check_arguments(tool, {"x": number})
        assert "number out of range" in message
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    (message,) = check_arguments(tool, {"x": nested})
    assert "nested too deeply" in message
    (message,) = check_arguments(tool, {"\ud800": 1})
    assert message.encode() == rb"unknown parameter '\ud800'"


def test_references_inside_the_tool_are_followed():
    parameters = {
        "type": "object",
        "properties": {"size": {"$ref": "#/$defs/size"}},
        "$defs": {"size": {"enum": ["s", "m"]}},
    }
    tool = Tool("order", "Orders.", parameters)
    assert check_arguments(tool, {"size": "x"}) == [
        "parameter 'size' must be one of 's', 'm'; got 'x'"
    ]


def test_what_one_parameter_needs_of_another():
    card = {
        "type": "object",
        "properties": {"number": {}, "code": {}, "year": {}},
        "dependentRequired": {"number": ["code", "year"]},
    }
    tool = Tool("pay", "Pays.", {"type": "object", "properties": {"card": card}})
    assert check_arguments(tool, {"card": {"code": 1}}) == []
    assert check_arguments(tool, {"card": {"number": 1, "code": 2}}) == [
        "missing required parameter 'card.year', which 'card.number' needs"
    ]


def test_one_of_several_that_are_needed():
    names = {name: {"type": "string"} for name in ("iban", "card", "code")}
    either = {
        "properties": names,
        "anyOf": [{"required": ["iban"]}, {"required": ["card", "code"]}],
    }
    tool = Tool("pay", "Pays.", {"type": "object", **either})
    assert check_arguments(tool, {"card": "1", "code": "2"}) == []
    assert check_arguments(tool, {}) == ["missing required parameter 'iban' or 'card' and 'code'"]
    assert check_arguments(tool, {"card": "1"}) == ["missing required parameter 'iban' or 'code'"]
    inner = Tool("pay", "Pays.", {"type": "object", "properties": {"by": either}})
    assert check_arguments(inner, {"by": {"code": "1", "zip": 2}}) == [
        "missing required parameter 'by.iban' or 'by.card'",
        "unknown parameter 'by.zip'",
    ]


def test_names_by_pattern_are_no_unknown_ones():
    schema = {"type": "object", "additionalProperties": False, "patternProperties": {"^x-": {}}}
    tool = Tool("tag", "Tags.", schema)
    assert check_arguments(tool, {"x-a": 1, "y": 2}) == ["unknown parameter 'y'"]


def test_alternatives_are_told_by_the_one_that_was_meant():
    def by(kind, **fields):
        properties = {"kind": {"const": kind}, **fields}
        return {"type": "object", "properties": properties, "required": ["kind", *fields]}

    place = {"anyOf": [by("point", x={"type": "number"}), by("town", name={"minLength": 2})]}
    tool = Tool("go", "Goes.", {"type": "object", "properties": {"to": place}})
    assert check_arguments(tool, {"to": {"kind": "town", "name": "X", "x": 1}}) == [
        "parameter 'to.name' must have at least 2 character(s), got 'X'"
    ]
    assert check_arguments(tool, {"to": {"kind": "town", "nam": "X"}}) == [
        "missing required parameter 'to.name'",
        "unknown parameter 'to.nam'",
    ]
    (message,) = check_arguments(tool, {"to": {"kind": "river"}})
    assert message.startswith("parameter 'to")


def test_the_tool_is_not_changed():
    check_arguments(BOOK, {})
    assert "additionalProperties" not in BOOK.parameters
    Draft202012Validator.check_schema(BOOK.parameters)


@pytest.mark.parametrize(
    "pattern", [r"^(\w+\s?)*$", r"^(a|a)*$", r"(x+x+)+y", r"^([a-z]{2,5}-?)+$", r"^(?:(?:a?)+)+$"]
)
def test_patterns_that_can_hang_hold_nothing_up(pattern):
    schema = {"type": "object", "properties": {"p": {"type": "string", "pattern": pattern}}}
    tool = Tool("f", "F.", schema)
    for text in ("a" * 40 + "!", "x" * 40 + "!", "ab " * 300 + "!"):
        assert "must match the pattern" in check_arguments(tool, {"p": text})[0]
    tool = Tool("f", "F.", {"type": "object", "properties": {"p": {"pattern": f"(?!#){pattern}"}}})
    for text in ("a" * 40 + "!", "x" * 40, "ab" * 400, "a-" * 3000 + "!"):
        assert check_arguments(tool, {"p": text}) == []


def test_no_name_holds_a_run_up():
    tool = Tool("f", "F.", {"type": "object", "patternProperties": {"^a.*b": {"type": "string"}}})
    assert check_arguments(tool, {"a" * 500 + "b": "x"}) == []
    for arguments in ({"a" * 1001: "x"}, {"ab": "x", "c": [{"a" * 100_000: 1}]}):
        assert check_arguments(tool, arguments) == [
            "arguments hold a name of more than 1,000 characters"
        ]


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^[A-Z]{2}-\d{4,6}$", "AB-1234", "AB-12"),
        (r"^\+?[0-9 ]+$", "+41 44", "zero"),
        (r"^(red|blue)-\d+$", "red-7", "green-7"),
        (r"^\d{4}(-\d{2}){2}$", "2026-11-24", "2026-11"),
    ],
)
def test_usual_patterns_are_enforced(pattern, good, bad):
    schema = {"type": "object", "properties": {"p": {"type": "string", "pattern": pattern}}}
    tool = Tool("f", "F.", schema)
    assert check_arguments(tool, {"p": good}) == []
    (message,) = check_arguments(tool, {"p": bad})
    assert "'p' must match the pattern" in message


def test_many_items_are_compared_in_no_time():
    schema = {"type": "object", "properties": {"l": {"type": "array", "uniqueItems": True}}}
    tool = Tool("f", "F.", schema)
    items = [{"n": i, "m": [i, {"k": str(i)}]} for i in range(20_000)]
    assert check_arguments(tool, {"l": items}) == []
    for one, other in (({"a": 1, "b": 2}, {"b": 2, "a": 1.0}), (1, 1.0), ([1], [1.0])):
        assert check_arguments(tool, {"l": [one, other]}) == ["parameter 'l' must not repeat items"]
    assert check_arguments(tool, {"l": [1, True, "1", [1], None, 0, False]}) == []


def problems_below(frames: int, tool: Tool, arguments: dict[str, Any]) -> list[str]:
    if frames:
        return problems_below(frames - 1, tool, arguments)
    return check_arguments(tool, arguments)


def test_nesting_to_where_the_recursion_ends_is_a_problem_like_others() -> None:
    """At some depths it ends in a comparison of rpds, which panics."""
    node = {"if": {"type": "object"}, "then": {"properties": {"c": {"$ref": "#/$defs/n"}}}}
    parameters = {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/n"}},
        "$defs": {"n": node},
    }
    tool = Tool("nest", "Nests.", parameters)
    seen = set()
    value: Any = None
    for depth in range(240):
        value = {"c": value}
        if depth > 100 and depth % 5 == 0:
            for frames in range(10):
                seen.update(problems_below(frames, tool, {"p": value}) or ["fine"])
    assert seen == {"fine", "arguments hold a number out of range, or are nested too deeply"}
