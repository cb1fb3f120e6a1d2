"""Functions of a user's file as tools: their schemas, their answers, and what cannot be one."""

import datetime
import json
import math

import pytest

from trustee_jax.environment import run
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.tools.backend import CallContext, json_line
from trustee_jax.environment.tools.python import PythonTool, read_functions
from trustee_jax.errors import ConfigError
from trustee_jax.toolsets import check_arguments

GOOD = '''
import asyncio
from typing import Literal

RATES = {"EUR": 1.0, "USD": 1.25}

def convert(amount: float, to: Literal["EUR", "USD"], digits: int | None = 2) -> dict:
    """Converts euros
    into another currency.

    Args:
      amount: In euros.
      to: The currency,
        by its code.
      digits: Of the result.

    Returns:
      The amount.
    """
    return {"amount": round(amount * RATES[to], digits)}

def _hidden(x):
    return x

async def later(names: list[str]) -> str:
    """Waits.

    Args:
      names: Whom for.
    """
    await asyncio.sleep(0)
    names.append("changed")
    return ", ".join(names)
'''


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "mine.py"
        file.write_text(text)
        return str(file)

    return write


def answer(function, arguments, deadline=10.0):
    call = CallRecord(0, "call_0", "f", arguments)
    context = CallContext(None, (1, 2, 3), ())
    (found,) = run([PythonTool(function, deadline).answer(call, context)], {})
    return found


def test_types_and_docstring_make_the_schema(write):
    (convert, _), (later, _) = read_functions(write(GOOD), "money")
    assert (convert.name, convert.category) == ("convert", "money")
    assert convert.description == "Converts euros\ninto another currency."
    assert convert.parameters == {
        "type": "object",
        "properties": {
            "amount": {"type": "number", "description": "In euros."},
            "to": {
                "type": "string",
                "enum": ["EUR", "USD"],
                "description": "The currency, by its code.",
            },
            "digits": {"type": ["integer", "null"], "description": "Of the result."},
        },
        "required": ["amount", "to"],
    }
    assert check_arguments(convert, {"amount": 3, "to": "EUR", "digits": None}) == []
    assert check_arguments(convert, {"amount": "3", "to": "EUR"})
    assert later.parameters["properties"]["names"]["items"] == {"type": "string"}


def test_answers(write):
    (_, convert), (_, later) = read_functions(write(GOOD), "money")
    assert answer(convert, {"amount": 2, "to": "USD"}) == '{"amount":2.5}'
    assert answer(convert, {"amount": 2, "to": "GBP"}) == {"error": "KeyError: 'GBP'"}
    wrong = answer(convert, {"sum": 2})
    assert wrong["error"].startswith("TypeError: ")
    given = {"names": ["Ada"]}
    assert answer(later, given) == '"Ada, changed"'
    assert given == {"names": ["Ada"]}  # what the dialogue shows


def test_only_what_all_names(write):
    tools = read_functions(write(GOOD + "\n__all__ = ['later']"), "money")
    assert [tool.name for tool, _ in tools] == ["later"]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"a": [1, "é"]}, '{"a":[1,"é"]}'),
        (None, "null"),
        ("two\nlines", '"two\\nlines"'),
        ('{"a":\n 1}', '{"a":1}'),
        ("[1,\n2]", "[1,2]"),
        ("12", '"12"'),
        ('{"a"', '"{\\"a\\""'),
        (datetime.date(2026, 11, 26), '"2026-11-26"'),
        ({"day": datetime.date(2026, 11, 26)}, '{"day":"2026-11-26"}'),
        ({(1, 2): 3}, '"{(1, 2): 3}"'),
        (math.nan, '"nan"'),
        ({"x": math.inf}, "\"{'x': inf}\""),
        ("\ud800", '"?"'),
        ((1, 2), "[1,2]"),
    ],
)
def test_any_value_is_one_line_of_json(value, line):
    assert json_line(value) == line
    json.loads(line)
    line.encode()


def test_a_circle_is_told_as_text():
    circle = []
    circle.append(circle)
    assert json_line(circle) == '"[[...]]"'


DOCUMENTED = '"""Does it.\n\n    Args:\n      x: What.\n    """'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("import nothing_of_the_kind", ["line 1", "ModuleNotFoundError", "mend the file"]),
        ("def f(:", ["line 1", "mend the file"]),
        ("X = 1", ["no public function", "define one"]),
        ("def f(x: int): return x", ["function f", "no docstring", "say what it does"]),
        (f"def f(x):\n    {DOCUMENTED}", ["function f", "'x' has no type", "x: str"]),
        (
            'def f(x: int):\n    """Does it."""',
            ["function f", "'x' is not described", "under Args:"],
        ),
        (f"def f(*x: int):\n    {DOCUMENTED}", ["function f", "*x: int", "one by one"]),
        (f"def f(x: int, /):\n    {DOCUMENTED}", ["function f", "x: int", "one by one"]),
        (
            f"class C: pass\ndef f(x: C):\n    {DOCUMENTED}",
            ["function f", "types make no schema", "use plain ones"],
        ),
        (f"def f(x: 'Nope'):\n    {DOCUMENTED}", ["function f", "Nope", "use plain ones"]),
        ('def f():\n    """Args:\n    """', ["function f", "description", "say what"]),
        (f"def größe(x: int):\n    {DOCUMENTED}", ["function größe", "name", "use 'gr_e'"]),
        ("__all__ = ['f']", ["__all__ names 'f'", "no function"]),
        ("__all__ = [1]", ["__all__ names '1'", "no function"]),
        ("from builtins import min\n__all__ = ['min']", ["function min", "no signature"]),
        (f"def f(x: int):\n    {DOCUMENTED}\n    yield x", ["function f", "it yields"]),
        (
            f"def f(x: int):\n    {DOCUMENTED}\ndef f(x: str):\n    {DOCUMENTED}",
            ["function f is defined twice", "rename"],
        ),
    ],
)
def test_what_cannot_be_a_tool_is_one_line_with_a_remedy(write, text, parts):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        list(read_functions(path, "user"))
    message = str(caught.value)
    assert message.startswith(f"tools = {path!r}: ") and "\n" not in message
    assert all(part in message for part in parts), message
