"""An argument in other words is not called wrong; another number, name or code is."""

import dataclasses
import json

import pytest

from trustee_jax.environment import Evidence
from trustee_jax.environment.judges.contradictions import contradicts, unfounded
from trustee_jax.environment.judges.rules import find_violations
from trustee_jax.environment.solvability import plain_words
from trustee_jax.toolsets import Tool


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("4", 4),
        ("4", 4.0),
        ("12.50", 12.5),
        ("-5", -5),
        ("20", "20"),
        # In another unit, or the other half of the day.
        ("2", 120),
        ("1", 7),
        ("2", 14),
        ("15", 0.15),
        ("1.2", 1_200_000),
        ("50", 5000),
        ("7", 19),
        ("7", "19"),
        ("0", 5),
        ("7:30", "19:30"),
        ("2026-06-03T09:00", "2026-06-03T14:00"),
        ("7:30 pm", "19:30"),
        ("730", "19:30"),
        ("50%", "0.5"),
        ("1/2", "0.5"),
        ("1\u00bd", "1.5"),
        ("-20%", -20),
        # Dates and telephone numbers.
        ("tomorrow", "2026-11-25"),
        ("18 April 2026", "2026-04-18"),
        ("2026-04-18", "18/04/26"),
        ("05/12/2026", "12/05/2026"),
        ("12/05/2026", "20260512"),
        ("2026-5-2", "2026-05-02"),
        ("26", 2026),
        ("07911 123456", "+447911123456"),
        ("555-0123", "+1 555 0123"),
        # Names.
        ("Bergen", "Bergen, Norway"),
        ("Munich", "M\u00fcnchen"),
        ("Los Angeles", "LAX"),
        ("Apple", "AAPL"),
        ("euros", "EUR"),
        ("Living Room", "Lounge"),
        ("Room 12", "ROOM  12"),
        ("\u0661\u0662", "\u0661\u0662"),
        ("", "r-31"),
        ("", 4),
        ("Lyon", None),
        ("5", ["6"]),
        ("5", {"a": 6}),
        ("1", True),
        ("4", ""),
        ("5", float("inf")),
        ("5", float("nan")),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_the_same_in_other_words(expected, given):
    assert not contradicts(expected, given, set())


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("4", 5),
        ("4", "7"),
        ("250", 520),
        ("250", 520.0),
        ("20.5", 21.5),
        ("2026-04-18", "2026-04-26"),
        ("2026-04-18", "2027-04-18"),
        ("18 April", "19 april"),
        ("7 pm", "8 pm"),
        ("BK-2041", "bk-2042"),
        ("Room 12", "room 13"),
        ("555-0123", "555-0124"),
        ("58213", "58231"),
        ("1" + "9" * 5000, "2" + "9" * 5000),
    ],
)
def test_another_value(expected, given):
    assert contradicts(expected, given, {"other", "words"})
    # Had it been said before, plans might have changed.
    assert not contradicts(expected, given, set(plain_words(str(given))))


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("Lille", "Lyon"),
        ("Lille", "Museum of Lyon"),
        ("the Louvre", "the Prado"),
        ("Lille", ""),
        ("Lille", "city"),
        ("20", 100),
        ("20", "100"),
        ("1.5", 3),
        ("Lille", "Suffering_weekend_12:10"),
        ("water leak", "Could have been further analyzed to find the cause of a data leak"),
    ],
)
def test_what_has_nothing_of_a_value_is_unfounded(expected, given):
    told = set(plain_words("Which museum has the Lille? I have 20."))
    assert unfounded(expected, given, told)
    assert not contradicts(expected, given, told) or given == 3
    # What the policy was told need not be what the task was written with.
    assert not unfounded(expected, given, {*told, *plain_words(str(given))}) or given == ""


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("Lille", "lille"),
        ("Lille", "Lille, France"),
        ("Lille", "museum"),  # told
        ("buy milk", "Get some milk"),
        ("Munich", "Muenchen"),
        ("Rome", "Roma"),
        ("Apple", "AAPL"),
        ("euros", "EUR"),
        ("German", "de"),
        ("tomorrow", "2026-11-25"),
        ("5 pm", "17:00"),
        ("20", 20.0),
        ("seven", 7),
        ("7", 19),
        ("7", "at 7"),
        ("", "Lyon"),
        ("Lille", True),
        ("Lille", ["Lyon"]),
        ("Lille", None),
    ],
)
def test_what_may_be_the_value_is_not(expected, given):
    assert not unfounded(expected, given, set(plain_words("Which museum has the Lille?")))


def booking(call_id: str, nights: int, answer: str = '{"ok":true}') -> list[dict]:
    arguments = json.dumps({"hotel": "Ibis", "nights": nights})
    call = {"id": call_id, "function": {"name": "book", "arguments": arguments}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "name": "book", "content": answer},
    ]


CITY = {"type": "string"}
ONE, ALL = {"calls_correct"}, {"calls_correct", "intent_met"}


@pytest.mark.parametrize(
    ("calls", "vetoed"),
    [
        (booking("a", 2), set()),
        (booking("a", 7), ALL),
        (booking("a", 7) + booking("b", 2), set()),  # mended
        (booking("a", 7) + booking("b", 2, '{"error":"full"}'), ALL),
        (booking("a", 9, '{"error":"only 7 nights"}') + booking("b", 7), set()),
        # What a tool repeats of a call was not said by anybody.
        (booking("a", 7, '{"nights":7}') + booking("b", 7, '{"nights":7}'), ALL),
        (booking("a", 7, '{"error":false,"nights":7}'), ALL),
    ],
)
@pytest.mark.parametrize("searched", [False, True])
def test_a_call_with_another_value_is_vetoed(make_task, calls, vetoed, searched):
    """Of one call all that was wanted is wrong; beside a right one, only that call."""
    expected, values = ("book",), ({"hotel": "", "nights": "2"},)
    messages = [{"role": "user", "content": "A room in Lyon, please."}]
    if searched:
        expected, values = ("find_hotels", *expected), ({"city": "Lyon"}, *values)
        call = {"id": "s", "function": {"name": "find_hotels", "arguments": '{"city":"Lyon"}'}}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "s", "name": "find_hotels", "content": '{"ok":true}'},
        ]
        vetoed = vetoed & ONE
    task = dataclasses.replace(make_task(), expected_calls=expected, expected_values=values)
    messages += calls

    def found(**options) -> set[str]:
        vetoes = find_violations(Evidence.read(task, messages), **options)
        return {veto.criterion for veto in vetoes if veto.check == "wrong_value"}

    assert found() == vetoed
    assert found(expected_calls=False) == set()


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"start": "Lyon", "end": "Oslo", "days": [3, 5.0]}, ""),
        ({"start": "Oslo", "end": "Lyon"}, "start"),  # the right values, in each other's place
        ({"start": "Lyon", "end": "Lyon"}, "end"),
        ({"start": "Lyon", "end": "3"}, ""),  # told, and of no other parameter
        ({"start": "from Lyon", "end": "Oslo, Norway"}, ""),
        ({"start": "Lyon", "end": ""}, "end"),
        ({"start": "Lyon", "end": "Oslo", "days": [3, 4]}, "days"),
    ],
)
def test_what_was_said_for_another_parameter_is_unfounded(make_task, arguments, wrong):
    names = ("start", "end")
    parameters = {
        "type": "object",
        "properties": dict.fromkeys(names, CITY) | {"days": {"type": "array"}},
        "required": list(names),
    }
    task = dataclasses.replace(
        make_task(),
        tools=(Tool("find_train", "Finds trains.", parameters, "travel"),),
        expected_calls=("find_train",),
        expected_values=({"start": "Lyon", "end": "Oslo"},),
    )
    call = {"id": "a", "function": {"name": "find_train", "arguments": json.dumps(arguments)}}
    messages = [
        {"role": "user", "content": "A train from Lyon to Oslo in 3 or five days, please."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "name": "find_train", "content": '{"ok":true}'},
        {"role": "assistant", "content": "Done."},
    ]
    evidence = Evidence.read(task, messages)
    found = find_violations(evidence, require_values=True)
    assert {veto.reason.split(" with ")[-1].split()[0] for veto in found} == (
        {wrong, "no"} if wrong else set()
    )
    assert find_violations(evidence) == []


@pytest.mark.parametrize(
    ("schema", "given", "vetoed"),
    [
        (CITY, "Oslo", True),
        (CITY, "Lyon", False),
        (CITY, "Oslo, " * 50_000, True),  # in no time
        # Other spellings are to be expected here.
        (CITY | {"format": "uri"}, "Oslo", False),
        (CITY | {"pattern": "^O"}, "Oslo", False),
        (CITY | {"enum": ["Oslo", "Rome"]}, "Oslo", False),
        ({"type": "array", "items": CITY}, ["Oslo"], False),
    ],
)
def test_unfounded_values_are_vetoed_on_request(make_task, schema, given, vetoed):
    task = make_task()
    find, *others = task.tools
    properties = find.parameters["properties"] | {"city": schema}
    parameters = find.parameters | {"properties": properties, "required": ["city"]}
    tools = (dataclasses.replace(find, parameters=parameters), *others)
    task = dataclasses.replace(
        task, tools=tools, expected_calls=(find.name,), expected_values=({"city": "Lyon"},)
    )
    call = {"id": "a", "function": {"name": find.name, "arguments": json.dumps({"city": given})}}
    messages = [
        {"role": "user", "content": "A room in Lyon, please."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "name": find.name, "content": '{"ok":true}'},
        {"role": "assistant", "content": "Done."},
    ]
    evidence = Evidence.read(task, messages)
    found = {veto.check for veto in find_violations(evidence, require_values=True)}
    assert ("wrong_value" in found) == vetoed
    assert "wrong_value" not in {veto.check for veto in find_violations(evidence)}
