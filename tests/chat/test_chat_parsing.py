"""What counts as a call, a malformed call, a thought; and that nothing makes the parser fail."""

import json
import random

import numpy as np
import pytest

from trustee_jax.chat import AssistantTurn, ChatFormat, MalformedCall, ToolCall, attempts
from trustee_jax.chat.parsing import CallSyntax, parse_turn

HERMES, LLAMA, JSON = CallSyntax.HERMES, CallSyntax.LLAMA, CallSyntax.JSON
A, B = ToolCall("a", {"x": 1}), ToolCall("b", {})
CALL_A, CALL_B = '{"name": "a", "arguments": {"x": 1}}', '{"name": "b", "arguments": {}}'
TAGGED_A, TAGGED_B = f"<tool_call>\n{CALL_A}\n</tool_call>", f"<tool_call>{CALL_B}</tool_call>"
PARAMETERS_A = CALL_A.replace("arguments", "parameters")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", AssistantTurn()),
        (" Hello. ", AssistantTurn(content="Hello.")),
        (TAGGED_A, AssistantTurn(attempts=(A,))),
        (f"Hm.\n{TAGGED_A}\n{TAGGED_B}", AssistantTurn(content="Hm.", attempts=(A, B))),
        (CALL_A, AssistantTurn(content=CALL_A)),
        (f"<think>\nwhy\n</think>\n\nSo.{TAGGED_B}", AssistantTurn("why", "So.", (B,))),
        (f"<think>why {TAGGED_A}", AssistantTurn(f"why {TAGGED_A}")),
        (f"why {TAGGED_A}</think>So.", AssistantTurn(f"why {TAGGED_A}", "So.")),
        ("<think>a</think>b<think>c</think>d", AssistantTurn("a\nc", "bd")),
        (
            '<tool_call>{"name": "a", "arguments": {"x": "</tool_call><think>"}}</tool_call>.',
            AssistantTurn("", ".", (ToolCall("a", {"x": "</tool_call><think>"}),)),
        ),
        (
            '<tool_call>{"name": "a", "arguments": {"x": "\\ud800!"}}</tool_call>',
            AssistantTurn(attempts=(ToolCall("a", {"x": "?!"}),)),
        ),
    ],
)
def test_hermes(text, expected):
    assert parse_turn(text, HERMES) == expected


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "invalid JSON"),
        ("{name: a}", "invalid JSON"),
        ("[1]", "not a JSON object"),
        ('{"arguments": {}}', 'no "name"'),
        ('{"name": 3, "arguments": {}}', 'no "name"'),
        ('{"name": " ", "arguments": {}}', 'no "name"'),
        ('{"name": "a"}', 'no "arguments"'),
        ('{"name": "a", "arguments": "{}"}', 'no "arguments"'),
        ('{"name": "a", "parameters": {}}', 'no "arguments"'),
        ('{"name": "a", "arguments": {"x": NaN}}', "NaN"),
        ('{"name": "a", "arguments": {"x": 1e999}}', "out of range"),
        ('{"name": "a", "arguments": {"x": ' + "9" * 5000 + "}}", "invalid JSON"),
        ('{"name": "a", "arguments": {"x": ' + "[" * 80 + "]" * 80 + "}}", "nested"),
        ("[" * 100_000, "nested"),
        (CALL_A + " and", "text after"),
    ],
)
def test_hermes_malformed(body, problem):
    turn = parse_turn(f"Go: <tool_call>{body}</tool_call>{TAGGED_B}", HERMES)
    assert (turn.content, turn.calls) == ("Go:", (B,))
    (malformed,) = turn.malformed
    assert malformed.text == body.strip()
    assert problem in malformed.problem


def test_hermes_unbalanced_tags():
    unclosed = MalformedCall(CALL_A, "no closing </tool_call>")
    assert parse_turn(f"<tool_call>{CALL_A}", HERMES).malformed == (unclosed,)
    turn = parse_turn(f"<tool_call>{CALL_A}{TAGGED_B}</tool_call>", HERMES)
    assert turn.attempts[:2] == (unclosed, B)
    assert "without <tool_call>" in turn.attempts[2].problem
    assert (turn.calls, turn.malformed) == ((B,), (unclosed, turn.attempts[2]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PARAMETERS_A, AssistantTurn(attempts=(A,))),
        (f"{PARAMETERS_A}; {CALL_B}", AssistantTurn(attempts=(A, B))),
        (f"<|python_tag|>{PARAMETERS_A}", AssistantTurn(attempts=(A,))),
        (f"Wait.<|python_tag|>{PARAMETERS_A};{CALL_B}", AssistantTurn("", "Wait.", (A, B))),
        ("It is {3}.", AssistantTurn(content="It is {3}.")),
        ('{"answer": 3}', AssistantTurn(content='{"answer": 3}')),
        ("{3}", AssistantTurn(content="{3}")),
        *(
            (answer, AssistantTurn(content=answer))
            for answer in (
                '{"name": "Ruth", "age": 41}',
                '{"name": "Ruth", "age": 41',
                '{"name": "a"}',
                '{"parameters": {"x": 1}}',
            )
        ),
        (TAGGED_A, AssistantTurn(content=TAGGED_A)),
    ],
)
def test_llama(text, expected):
    assert parse_turn(text, LLAMA) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "a", "parameters": {"x"', "invalid JSON: Expecting ':' delimiter at character"),
        ('{"name": "a", "parameters": {"x', "Unterminated string starting at character 29"),
        ('{"name": "a\nb", "parameters": {}}', "Invalid control character at character 11"),
        ('{"name": 3, "parameters": {}}', 'no "name"'),
        ('{"name": "a", "parameters": 3}', 'no "parameters"'),
        ("<|python_tag|>print(3)", "invalid JSON"),
        ("<|python_tag|>", "nothing after"),
        ('<|python_tag|>{"answer": 3}', 'no "name"'),
    ],
)
def test_llama_malformed(text, problem):
    turn = parse_turn(text, LLAMA)
    assert (turn.content, turn.calls) == ("", ())
    assert problem in turn.malformed[0].problem


FENCED_A = f"```json\n{CALL_A}\n```"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CALL_A, AssistantTurn(attempts=(A,))),
        (PARAMETERS_A, AssistantTurn(attempts=(A,))),
        (f"{CALL_A}\n{CALL_B}", AssistantTurn(attempts=(A, B))),
        (f"{CALL_A}, {CALL_B};", AssistantTurn(attempts=(A, B))),
        (f"[{CALL_A}, {CALL_B}]", AssistantTurn(attempts=(A, B))),
        (f"<think>why</think>\n\n{CALL_A}", AssistantTurn("why", "", (A,))),
        (FENCED_A, AssistantTurn(attempts=(A,))),
        (f"```\n[{CALL_A}]\n``` ", AssistantTurn(attempts=(A,))),
        (f"```json\n{CALL_A}", AssistantTurn(attempts=(A,))),
        (
            f"First.\n{FENCED_A}\nThen:\n{FENCED_A}\nOK?",
            AssistantTurn("", "First.\nThen:\nOK?", (A, A)),
        ),
        (f"```json\n{CALL_A}\n{CALL_B}\n```", AssistantTurn(attempts=(A, B))),
        *(
            (answer, AssistantTurn(content=answer))
            for answer in (
                f"I call it: {CALL_A}",
                f"{CALL_A}\nThat finds it.",
                f'{CALL_A} {{"x": 1}}',
                f'[{CALL_A}, {{"x": 1}}]',
                '{"name": "Ruth", "age": 41}',
                '{"name": "a", "parameters": {"type": "object", "properties": {}}}',
                "[]",
                "42",
                '"a"',
                "{x}",
                "```python\nprint(1)\n```",
                '```json\n{"x": 1}\n```',
                TAGGED_A,
            )
        ),
    ],
)
def test_json(text, expected):
    assert parse_turn(text, JSON) == expected


@pytest.mark.parametrize(
    ("text", "calls", "problem"),
    [
        ('{"name": "a", "arguments": {"x": 1}', (), "invalid JSON"),
        ('{"name": "a", "arguments": {\'x\': 1}}', (), "invalid JSON"),
        ('{"name": "a", "arguments": "{}"}', (), 'no "arguments"'),
        ('{"name": 3, "arguments": {}}', (), 'no "name"'),
        (CALL_B + '\n{"name": "a", "arguments": {"x', (B,), "Unterminated"),
        (f'[{CALL_B}, {{"name": "a", "arguments": []}}]', (B,), 'no "arguments"'),
        (f"[{CALL_B}", (), "invalid JSON"),
    ],
)
def test_json_malformed(text, calls, problem):
    for turn in (parse_turn(text, JSON), parse_turn(f"```json\n{text}\n```", JSON)):
        assert (turn.content, turn.calls) == ("", calls)
        (malformed,) = turn.malformed
        assert problem in malformed.problem


def test_a_thought_that_the_prompt_opened():
    assert parse_turn("why", HERMES, in_thought=True) == AssistantTurn("why")
    assert parse_turn("why</think> So.", HERMES, in_thought=True) == AssistantTurn("why", "So.")


def test_closing_tags_without_an_opening_one():
    text = "a</think>b<think>c</think>d</think>e<think>f"
    turn = parse_turn(text, CallSyntax.HERMES)
    assert (turn.reasoning, turn.content) == ("abcd\nf", "e")
    many = parse_turn("</think>x" * 50_000, CallSyntax.HERMES)  # in linear time
    assert (many.reasoning, many.content) == ("x" * 49_999, "x")


def test_message():
    turn = AssistantTurn("why", "So.", (ToolCall("a", {"x": "é"}), B))
    assert turn.message(["1", "2"]) == {
        "role": "assistant",
        "content": "So.",
        "reasoning_content": "why",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "a", "arguments": '{"x": "é"}'}},
            {"id": "2", "type": "function", "function": {"name": "b", "arguments": "{}"}},
        ],
    }
    bad, worse = MalformedCall("{", "p"), MalformedCall("[", "q")
    mixed = AssistantTurn(attempts=(bad, B, worse, B)).message(["1", "2", "3", "4"])
    assert [call["id"] for call in mixed["tool_calls"]] == ["2", "4"]
    assert mixed["malformed_calls"][1] == {"id": "3", "place": 2, "text": "[", "problem": "q"}
    assert [made["id"] for made in attempts(mixed)] == ["1", "2", "3", "4"]
    older = {**mixed, "malformed_calls": [{"text": "{", "problem": "p"}]}
    assert [made.get("id") for made in attempts(older)] == ["2", "4", None]
    assert AssistantTurn(content="So.").message() == {"role": "assistant", "content": "So."}
    with pytest.raises(ValueError, match="1 ids for 2 calls"):
        turn.message(["1"])


FRAGMENTS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|python_tag|>", CALL_A, CALL_B]
FRAGMENTS += [
    PARAMETERS_A,
    TAGGED_A,
    '{"name": "',
    "{",
    "}",
    "[",
    '"',
    "\\",
    ";",
    "\n",
    "a",
    "\ufffd",
]
FRAGMENTS += ["```json\n", "```", '"name": "a", "arguments": {}']
FRAGMENTS += ["\\ud800", "<|im_end|>", "\x00", "1e999", "NaN", ', "arguments": ']


@pytest.mark.parametrize(
    ("name", "syntax"), [("qwen3_like", None), ("llama3_like", None), ("qwen3_like", JSON)]
)
def test_any_ids_parse_and_can_be_rendered_again(make_tokenizer, name, syntax):
    format = ChatFormat(make_tokenizer(name), syntax)
    size = len(format.tokenizer)
    rng = random.Random(0)
    found = 0
    for _ in range(1500):
        if rng.random() < 0.5:
            ids = [rng.randint(-3, size + 50) for _ in range(rng.randint(0, 40))]
        else:
            ids = format.encode("".join(rng.choices(FRAGMENTS, k=rng.randint(1, 10)))).tolist()
            for _ in range(rng.randint(0, 2)):
                ids.insert(rng.randint(0, len(ids)), rng.randrange(size))
        turn = format.parse(np.array(ids), in_thought=rng.random() < 0.2)
        found += len(turn.calls) + len(turn.malformed)
        for call in turn.calls:
            json.dumps(call.arguments, allow_nan=False).encode()
        message = turn.message([str(i) for i in range(len(turn.attempts))])
        if len(turn.calls) <= 1:  # the Llama template takes one
            format.prompt([{"role": "user", "content": "Hi"}, message])
    # Half of the fragments are Hermes' own.
    assert found > (50 if syntax is JSON else 250)
