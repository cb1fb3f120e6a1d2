import dataclasses
import json

import pytest
from scripted_engine import ScriptedEngine

from trustee_jax.engine.types import RequestError
from trustee_jax.simulation import Failure, SimulatorConfig, Task, Usage, generate_task, run
from trustee_jax.tools import Tool

GOOD = {
    "persona": " Ada, a baker. ",
    "intent": "Two nights in Lyon.",
    "expected_calls": ["find_hotels", "book"],
    "query": "I need to book a place to sleep.",
}


def generate(simulator, tools, aspects, script):
    engine = ScriptedEngine(simulator.format, script)
    usage = Usage()
    coroutine = generate_task(simulator, tools, aspects, (3, 1, 0), usage)
    (result,) = run([coroutine], {"policy": engine, "simulator": engine})
    assert usage.requests == len(engine.requests)
    return result, engine


def test_task(make_simulator, tools, aspects):
    task, engine = generate(make_simulator(), tools, aspects, lambda *_: json.dumps(GOOD))
    assert isinstance(task, Task)
    assert (task.persona, task.query) == ("Ada, a baker.", GOOD["query"])
    assert task.expected_calls == ("find_hotels", "book") and task.tools == tools
    record = json.loads(json.dumps(task.to_json()))
    assert record["aspects"]["calls"] == 2 and record["category"] == "travel"
    (request,) = engine.requests
    assert request.key[:3] == (3, 1, 0) and request.role == "simulator"


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"query": "Call find_hotels for Lyon"}, False),
        ({"query": "Call FIND_HOTELS, now"}, False),
        ({"query": "please book it"}, True),  # the tool "book" is also a word
        ({"query": "  "}, False),
        ({"expected_calls": ["book"]}, False),
        ({"expected_calls": ["book", "fly"]}, False),
        ({"intent": "x" * 401}, False),
        ({"persona": "x" * 201}, False),
        ({"query": "dep"}, False),
        ({"more": 1}, False),
    ],
)
def test_rules(make_simulator, tools, aspects, change, accepted):
    result, _ = generate(make_simulator(), tools, aspects, lambda *_: json.dumps(GOOD | change))
    assert isinstance(result, Task) == accepted
    if not accepted:
        assert result.cause == "task_malformed" and result.detail


def test_failures_are_typed(make_simulator, tools, aspects):
    simulator = make_simulator(task=SimulatorConfig(tries=4))
    for answer, problem, tries in (
        (('{"persona": "Ad', "length"), "length", 4),
        ("no json", "malformed", 4),
        (RequestError("schema"), "refused", 0),
    ):
        result, engine = generate(simulator, tools, aspects, lambda *_, a=answer: a)
        assert isinstance(result, Failure) and result.problem == problem
        assert [r.key[-1] for r in engine.requests] == list(range(tries))


def test_a_prompt_that_cannot_fit(make_simulator, tools, aspects):
    simulator = make_simulator(
        max_length=400,
        **{r: SimulatorConfig(max_tokens=64) for r in ("task", "user", "tool", "verifier")},
    )
    result, engine = generate(simulator, tools, aspects, lambda *_: json.dumps(GOOD))
    assert result.cause == "task_too_long" and not engine.requests


def test_prompt_follows_the_aspects(make_simulator, tools, aspects):
    """Each level of each aspect changes the request, and the instructions stay the same."""
    beginnings, requests = set(), {}
    for name, levels in {"persona": 3, "ambiguity": 3, "turns": 3, "calls": 3}.items():
        for level in range(levels):
            value = level + 1 if name == "calls" else level
            changed = dataclasses.replace(aspects, **{name: value})
            _, engine = generate(make_simulator(), tools, changed, lambda *_: RequestError("stop"))
            coroutine = generate_task(make_simulator(), tools, changed, (1, 1, 1))
            text = engine.text(next(coroutine))
            beginnings.add(text.partition("Tools of the category")[0])
            requests[name, level] = text.rpartition("Tools of the category")[2]
    assert len(beginnings) == 1
    for name in ("persona", "ambiguity", "turns", "calls"):
        assert len({requests[name, level] for level in range(3)}) == 3


def test_schema_is_tight(make_simulator, aspects):
    tool = Tool("only_one", "Does it.", {"type": "object", "properties": {}}, "user")
    coroutine = generate_task(
        make_simulator(), [tool], dataclasses.replace(aspects, calls=3), (1, 1, 1)
    )
    calls = next(coroutine).schema["properties"]["expected_calls"]
    assert calls["items"]["enum"] == ["only_one"]
    assert calls["minItems"] == calls["maxItems"] == 3
