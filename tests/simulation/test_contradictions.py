"""An argument in other words is not called wrong; another number, name or code is."""

import dataclasses
import json

import pytest

from trustee_jax.simulation.contradictions import contradicts
from trustee_jax.simulation.solvability import plain_words
from trustee_jax.simulation.vetoes import find_vetoes


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("4", 4),
        ("four", 4),
        ("1,250", 1250.0),
        ("12.50", 12.5),
        ("-5", -5),
        ("2 hours", 120),
        ("half a kilo", 0.5),
        ("20", "20"),
        ("Bergen", "Bergen, Norway"),
        ("New York City", "New York"),
        ("New York", "NYC"),
        ("United States", "US"),
        ("Germany", "DE"),
        ("Munich", "München"),
        ("Zürich", "zurich"),
        ("euros", "EUR"),
        ("Kennedy Airport", "JFK"),
        ("North Atlantic Treaty Organization", "NATO"),
        ("movie", "film"),
        ("a present for mom", "Gift Card"),
        ("Meeting With The Whole Sales Team", "Quarterly Review"),
        ("tomorrow", "2026-11-25"),
        ("18 April 2026", "2026-04-18"),
        ("2026-04-18", "18/04/26"),
        ("2026-04-18", "2026-04-18T00:00:00"),
        ("2026-04-18T10:00", "2026-04-18"),
        ("June 5", "2026-06-05"),
        ("7:30 pm", "19:30"),
        ("7:30", "19:30"),
        ("12:15", "00:15"),
        ("9:05", "09:05"),
        ("555-0123", "+1 555 0123"),
        ("+15550123", "555-0123"),
        ("2026-4-8", "2026-04-08"),
        ("18/04", "2026-04-18"),
        ("2026-04-18", "18/04"),
        ("5 km", "5km"),
        ("3rd floor", "floor 3"),
        ("1990", "90"),
        ("I am running late", "Sorry, delayed!"),
        ("東京", "大阪"),
        ("", "r-31"),
        ("Lyon", None),
        ("Lyon", ["Paris"]),
        ("yes", True),
        ("4", ""),
    ],
)
def test_the_same_in_other_words(expected, given):
    assert not contradicts(expected, given, set())


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("4", 5),
        ("four", 3),
        ("1,250", 1520),
        ("-5", 5),
        ("4", "7"),
        ("Bergen", "Paris"),
        ("Dora Finch", "Sam Lowe"),
        ("New York City", "Florence"),
        ("2026-04-18", "2026-04-26"),
        ("2026-04-18", "2027-04-18"),
        ("18 April", "19 April"),
        ("19:30", "20:30"),
        ("7 pm", "8 pm"),
        ("BK-2041", "BK-2042"),
        ("Room 12", "room 13"),
        ("555-0123", "555-0124"),
        ("58213", "58231"),
        ("9" * 5000, "8" * 5000),
    ],
)
def test_another_value(expected, given):
    assert contradicts(expected, given, set())
    # Had it been said before, plans might have changed.
    assert not contradicts(expected, given, set(plain_words(str(given))))


def booking(call_id: str, nights: int, answer: str = '{"ok":true}') -> list[dict]:
    arguments = json.dumps({"hotel": "Ibis", "nights": nights})
    call = {"id": call_id, "function": {"name": "book", "arguments": arguments}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "name": "book", "content": answer},
    ]


ONE, ALL = {"calls_correct"}, {"calls_correct", "intent_met"}


@pytest.mark.parametrize(
    ("calls", "vetoed"),
    [
        (booking("a", 2), set()),
        (booking("a", 7), ALL),
        (booking("a", 7) + booking("b", 2), set()),  # mended
        (booking("a", 7) + booking("b", 2, '{"error":"full"}'), ALL),
        (booking("a", 9, '{"error":"only 7 nights"}') + booking("b", 7), set()),
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
        vetoes = find_vetoes(task, messages, **options)
        return {veto.criterion for veto in vetoes if veto.check == "wrong_value"}

    assert found() == vetoed
    assert found(expected_calls=False) == set()
