"""Which texts are calls without the form of one, and that no text makes the search slow."""

import time

import pytest

from trustee_jax.chat import unmarked_calls

TOOLS = {"find", "book"}
FIND, BOOK = '{"name": "find", "arguments": {"city": "Lyon"}}', '{"name":"book","parameters":{}}'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (FIND, ["find"]),
        (f"  {BOOK}\n", ["book"]),
        (f"```json\n{FIND}\n```", ["find"]),
        (f"I will look.\n```tool_call\n{FIND}\n```\nOne moment.", ["find"]),
        (f"<function_call>{FIND}</function_call>", ["find"]),
        (f"[{FIND}, {BOOK}]", ["find", "book"]),
        (f"{FIND}\n{BOOK}\n{FIND}", ["find", "book", "find"]),
        (f"{FIND}; {BOOK}}}", ["find", "book"]),
        (f'{{"type": "function", "function": {FIND}}}', ["find"]),
        (f'{{"tool_calls": [{FIND}, {{"function": {BOOK}}}]}}', ["find", "book"]),
        ('{"type": "function", "name": "book", "parameters": {}}', ["book"]),
        ('{"function": "find", "parameters": {"city": "Lyon"}}', ["find"]),
        ('{"arguments": {"x": NaN}, "name": " find "}', ["find"]),
        ('{"name": "find", "arguments": "{\\"city\\": \\"Lyon\\"}"}', ["find"]),
        ('{"name": "find", "arguments": {"n": ' + "9" * 5000 + ', "text": "a\nb"}}', ["find"]),
        (f'He said "{{" and {{"x": {FIND}', ["find"]),
        (f'Say {{x}}, {{}} or {{ "a" }}: {FIND}', ["find"]),
        # Answers, whatever they mention.
        ("", []),
        ("find(city='Lyon')", []),
        ('{"name": "Ruth", "age": 41}', []),
        ('{"name": "find", "age": 41}', []),
        ('{"name": "Ruth", "arguments": {}}', []),
        ('{"name": ["find"], "arguments": {}}', []),
        ('{"name": "find", "arguments": null}', []),
        ('{"name": "find", "arguments": ["Lyon"]}', []),
        ('{"name": "find", "arguments": "of the other side"}', []),
        ('{"names": ["find", "book"], "arguments": {}}', []),
        ('{"name": "find", "arguments": {"city": "Lyon"}', []),
        ("{'name': 'find', 'arguments': {}}", []),
        (
            '{"name": "find", "description": "Finds.", "parameters": {"type": "object", '
            '"properties": {"city": {"type": "string"}}}}',
            [],
        ),
    ],
)
def test_unmarked_calls(content, expected):
    assert list(unmarked_calls(content, TOOLS)) == expected
    assert unmarked_calls(content, ()) == ()


@pytest.mark.parametrize(
    "unit",
    ['{"', '{"name":', '{"name": "find", "arguments": {', FIND, '{"a":[', '{"x":"', "{   ", '{"\\'],
)
def test_hostile_text_takes_linear_time(unit):
    """A hundred times faster than reading on from every brace would be."""
    text = unit * (400_000 // len(unit))
    start = time.perf_counter()
    unmarked_calls(text, TOOLS)
    assert time.perf_counter() - start < 5
