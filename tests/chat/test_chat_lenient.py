"""Which texts a benevolent reader takes for calls, and what of them he reads."""

import time

import pytest

from trustee_jax.chat import lenient_calls
from trustee_jax.chat.lenient import parameters
from trustee_jax.chat.parsing import CallSyntax, ToolCall, parse_turn

TOOLS = {"find": ("city", "days"), "hotel_book": ("name", "nights"), "ping": ()}
FIND = '{"name": "find", "arguments": {"city": "Lyon", "days": 3}}'
LYON = ToolCall("find", {"city": "Lyon", "days": 3})
BOOK = ToolCall("hotel_book", {"name": "Ritz", "nights": 2})


def read(text, syntax=CallSyntax.HERMES):
    return list(lenient_calls(parse_turn(text, syntax), TOOLS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The model's own form.
        (f"<tool_call>\n{FIND}\n</tool_call>", [LYON]),
        (f"<tool_call>{FIND}</tool_call> or {FIND}", [LYON]),
        # Tags missing, broken or others.
        (FIND, [LYON]),
        (f"<tool_call>{FIND}", [LYON]),
        (f"{FIND}</tool_call>", [LYON]),
        (f"<tool_call>{FIND}</tool_call><tool_call>{FIND}", [LYON, LYON]),
        (f"<function_call>{FIND}</function_call>", [LYON]),
        (f"I look.\n```json\n{FIND}\n```\nOne moment.", [LYON]),
        (f"[{FIND}, {FIND}]", [LYON, LYON]),
        # Other keys.
        ('{"function": "find", "parameters": {"city": "Lyon", "days": 3}}', [LYON]),
        (f'{{"type": "function", "function": {FIND}}}', [LYON]),
        ('{"name": "find", "arguments": "{\\"city\\": \\"Lyon\\", \\"days\\": 3}"}', [LYON]),
        ('{"find": {"city": "Lyon", "days": 3}}', [LYON]),
        (
            '[{"find": {"city": "Lyon", "days": 3}},'
            ' {"hotel.book": {"name": "Ritz", "nights": 2}}]',
            [LYON, BOOK],
        ),
        ('{"name": "hotel.book", "arguments": {"name": "Ritz", "nights": 2}}', [BOOK]),
        # Brackets missing at the end.
        ('{"name": "find", "arguments": {"city": "Lyon", "days": 3}', [LYON]),
        ('[{"name": "find", "arguments": {"city": "Lyon", "days": 3', [LYON]),
        ('```json\n{"name": "find", "arguments": {"city": "Lyon", "days": 3}\n```', [LYON]),
        # Python's spelling of objects.
        ("{'name': 'find', 'arguments': {'city': 'Lyon', 'days': 3}}", [LYON]),
        (
            "Here:\n```python\n{'name': 'find', 'arguments': {'city': 'Lyon', 'days': 3}}\n```",
            [LYON],
        ),
        # Python's calls.
        ("find(city='Lyon', days=3)", [LYON]),
        ('[find(city="Lyon", days=3), hotel.book(name="Ritz", nights=2)]', [LYON, BOOK]),
        ("I'll call `find('Lyon', 3)` now.", [LYON]),
        ("```python\nprint(find('Lyon', days=3))\n```", [LYON]),
        ("<tool_call>find(city='Lyon', days=3)</tool_call>", [LYON]),
        ("find(\n    city='Lyon',\n    days=3,\n)", [LYON]),
        (
            "find(city=['a', (1, 2.5)], days={'x': true, 'y': None, 'z': -1})",
            [ToolCall("find", {"city": ["a", [1, 2.5]], "days": {"x": True, "y": None, "z": -1}})],
        ),
        ("find(city=Lyon, days=2 + 1)", [ToolCall("find", {"city": "Lyon", "days": "2 + 1"})]),
        (
            "find(city='it\\'s (here', days=3)",
            [ToolCall("find", {"city": "it's (here", "days": 3})],
        ),
        ("ping()", [ToolCall("ping", {})]),
        ("[ping(), find('Lyon', 3)]", [LYON]),
        # Thoughts are not read.
        (f"<think>{FIND}</think>It rains.", []),
        # Answers, whatever they mention.
        ("", []),
        ("It rains in Lyon (3 days).", []),
        ("You could use find() for that.", []),
        ("def find(city, days): return 1", []),
        ("search(city='Lyon')", []),
        ('{"name": "search", "arguments": {"city": "Lyon"}}', []),
        ('{"city": "Lyon", "days": 3}', []),
        ("find(city='Lyon', days=3", []),
        ("find('a', 1, 'too many')", []),
        ("find(**everything)", []),
        ('{"name": "find", "parameters": {"type": "object", "properties": {"city": {}}}}', []),
        ('{"find": {"type": "object", "properties": {"city": {}}}}', []),
    ],
)
def test_lenient_calls(text, expected):
    assert read(text) == expected


def test_llama_s_form_is_read_as_it_is():
    text = '{"name": "find", "parameters": {"city": "Lyon", "days": 3}}'
    assert read(text, CallSyntax.LLAMA) == [LYON]


def test_parameters_of_openai_tools():
    tool = {
        "name": "find",
        "parameters": {"type": "object", "properties": {"city": {}, "days": {}}},
    }
    assert parameters([{"function": tool}, {"function": {"name": "ping"}}]) == {
        "find": ("city", "days"),
        "ping": (),
    }


@pytest.mark.parametrize(
    "unit",
    ['{"', "{'", "find(", "find('", FIND, '{"a":[', "```{", "[" * 50, "find(" + "(" * 50, "\\'\""],
)
def test_hostile_text_ends(unit):
    start = time.perf_counter()
    read(unit * (20_000 // len(unit)))
    assert time.perf_counter() - start < 20


def test_numbers_that_python_does_not_read():
    assert read('{"name": "find", "arguments": {"days": ' + "9" * 5000 + "}}") == []
    assert read('{"name": "find", "arguments": {"days": NaN}}') == [
        ToolCall("find", {"days": "NaN"})
    ]
