import collections
import dataclasses
import json

import pytest
from scripted_engine import ScriptedEngine

from trustee_jax.engine.types import RequestError
from trustee_jax.environment import (
    REJECTIONS,
    RecentTasks,
    Task,
    WorldConfig,
    generate_task,
    run,
)
from trustee_jax.environment.solvability import missing_values, needed_values
from trustee_jax.simulator import EXAMPLE_TASK, Failure, RoleConfig, Usage
from trustee_jax.toolsets import Tool

GOOD = {
    "persona": " Ada, a baker. ",
    "expected_calls": [
        {"name": "find_hotels", "values": {"city": "Lyon"}},
        {"name": "book", "values": {"hotel": "", "nights": "2"}},
    ],
    "intent": "Two nights in Lyon.",
    "query": "I need to book a place to sleep.",
}
WORLD = {"hotels": [{"id": "H1", "name": "Ibis"}, {"id": "H1"}, {"id": "H2"}], "bookings": []}


def generate(environment, tools, aspects, answer, **options):
    """Writes a task with an engine that gives the same answer to every try."""

    def script(role, request, prompt):
        return json.dumps(WORLD) if role == "world" else answer

    engine = ScriptedEngine(environment.policy_format, script)
    usage = Usage()
    coroutine = generate_task(environment, tools, aspects, (3, 1, 0), usage=usage, **options)
    (result,) = run([coroutine], {"policy": engine, "simulator": engine})
    assert usage.requests == len(engine.requests)
    return result, engine


def test_task(make_environment, tools, aspects):
    task, engine = generate(make_environment(), tools, aspects, json.dumps(GOOD))
    assert isinstance(task, Task)
    assert (task.persona, task.query) == ("Ada, a baker.", GOOD["query"])
    assert task.expected_calls == ("find_hotels", "book") and task.tools == tools
    record = json.loads(json.dumps(task.to_json()))
    assert record["aspects"]["calls"] == 2 and record["category"] == "travel"
    assert task.expected_values == ({"city": "Lyon"}, {"hotel": "", "nights": "2"})
    assert task.world == {"hotels": [WORLD["hotels"][0], {"id": "H2"}], "bookings": []}
    assert [request.key[1:4] for request in engine.requests] == [(3, 1, 0)] * 2
    again = Task.from_json(record)
    assert again.to_json() == record and again.tools == tools and again.aspects == aspects


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"query": "Call find_hotels for Lyon"}, False),
        ({"query": "Call FIND_HOTELS, now"}, False),
        ({"query": "please book it"}, True),  # the tool "book" is also a word
        ({"query": "  "}, False),
        ({"expected_calls": GOOD["expected_calls"][:1]}, False),
        ({"expected_calls": ["book", "fly"]}, False),
        ({"intent": "A place in Lyon."}, False),  # lacks the nights
        ({"intent": "Nice, 2 nights."}, False),
        ({"intent": "In LYON, for 2 nights"}, True),
        ({"intent": "x" * 401}, False),
        ({"persona": "x" * 201}, False),
        ({"query": "dep"}, False),
        ({"more": 1}, False),
    ],
)
def test_rules(make_environment, tools, aspects, change, accepted):
    result, _ = generate(make_environment(), tools, aspects, json.dumps(GOOD | change))
    assert isinstance(result, Task) == accepted
    if not accepted:
        assert result.cause in ("task_malformed", "task_rejected") and result.detail


def test_failures_are_typed(make_environment, tools, aspects):
    environment = make_environment(task=RoleConfig(tries=4))
    for answer, problem, tries in (
        (('{"persona": "Ad', "length"), "length", 4),
        ("no json", "malformed", 4),
        (RequestError("schema"), "refused", 0),
    ):
        result, engine = generate(environment, tools, aspects, answer)
        assert isinstance(result, Failure) and result.problem == problem
        assert [r.key[-1] for r in engine.requests] == list(range(tries))


def test_a_prompt_that_cannot_fit(make_environment, tools, aspects):
    environment = make_environment(
        max_length=400,
        writer=RoleConfig(max_tokens=64),
        **{r: RoleConfig(max_tokens=64) for r in ("task", "user", "tool", "verifier")},
    )
    result, engine = generate(environment, tools, aspects, json.dumps(GOOD))
    assert result.cause == "task_too_long" and not engine.requests


def test_prompt_follows_the_aspects(make_environment, tools, aspects):
    """Each level of each aspect changes the request, and the instructions stay the same."""
    beginnings, requests = set(), {}
    for name, levels in {"persona": 3, "ambiguity": 3, "turns": 3, "calls": 3}.items():
        for level in range(levels):
            value = level + 1 if name == "calls" else level
            changed = dataclasses.replace(aspects, **{name: value})
            _, engine = generate(make_environment(), tools, changed, RequestError("stop"))
            coroutine = generate_task(make_environment(), tools, changed, (1, 1, 1))
            text = engine.text(next(coroutine))
            beginnings.add(text.partition("Tools of the category")[0])
            requests[name, level] = text.rpartition("Tools of the category")[2]
    assert len(beginnings) == 1
    for name in ("persona", "ambiguity", "turns", "calls"):
        assert len({requests[name, level] for level in range(3)}) == 3


def test_schema_is_tight(make_environment, aspects):
    tool = Tool("only_one", "Does it.", {"type": "object", "properties": {}}, "user")
    coroutine = generate_task(
        make_environment(), [tool], dataclasses.replace(aspects, calls=3), (1, 1, 1)
    )
    calls = next(coroutine).schema["properties"]["expected_calls"]
    (only,) = calls["items"]["anyOf"]
    assert only["properties"]["name"]["enum"] == ["only_one"]
    assert calls["minItems"] == calls["maxItems"] == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"persona": " " * 9}, "blank"),
        ({"query": "Is there a room on road A1010101010101?"}, "loop"),
        ({"intent": "Two nights. Two nights. Two nights. Two nights. Two nights. Two"}, "loop"),
        ({"query": "Call find_hotels for Lyon"}, "names_tool"),
        ({"intent": "Lyon for 1,000,000,000,000 nights!!!!!"}, "missing_value"),
        ({"intent": "A place in Lyon."}, "missing_value"),
        ({"intent": "Two nights in Lyon, please."}, "near_copy"),
        ({k: EXAMPLE_TASK[k] for k in ("intent", "query")}, "missing_value"),
    ],
)
def test_rejected_tasks_are_counted_by_reason(make_environment, tools, aspects, change, reason):
    recent, rejections = RecentTasks(4, 0.6), collections.Counter()
    recent.add(f"{GOOD['intent']}\n{GOOD['query']}")
    other = {"query": "Somewhere quiet for a weekend?"} if reason != "near_copy" else {}
    answer = json.dumps(GOOD | other | change)
    result, engine = generate(
        make_environment(), tools, aspects, answer, recent=recent, rejections=rejections
    )
    assert isinstance(result, Failure) and result.cause == "task_rejected"
    assert rejections == {reason: len(engine.requests)} and reason in REJECTIONS
    assert len(engine.requests) == 2  # no world is written for a refused task


CARD = Tool(
    "freeze_card",
    "Freezes a card.",
    {
        "type": "object",
        "properties": {
            "last4": {"type": "string", "pattern": "^[0-9]{4}$"},
            "days": {"type": "integer", "minimum": 1, "maximum": 30},
            "since": {"type": "string", "format": "date"},
        },
        "required": ["last4", "days", "since"],
    },
    "banking",
)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"last4": "4411", "days": "7", "since": "Monday"}, None),
        ({"last4": "44112233", "days": "7", "since": "Monday"}, "'last4' must match the pattern"),
        ({"last4": "4411", "days": "90", "since": "Monday"}, "'days' must be at most 30"),
    ],
)
def test_what_no_call_can_carry_is_no_task(make_environment, aspects, values, problem):
    text = f"Freeze my card {values['last4']} for {values['days']} days from Monday."
    plan = {"persona": "Ann, a baker.", "intent": text, "query": text}
    answer = json.dumps({**plan, "expected_calls": [{"name": "freeze_card", "values": values}]})
    one_call, rejections = dataclasses.replace(aspects, calls=1), collections.Counter()
    environment = make_environment(world=WorldConfig(enabled=False))
    result, _ = generate(environment, [CARD], one_call, answer, rejections=rejections)
    if problem is None:
        assert result.expected_values == (values,)
    else:
        assert problem in result.detail and rejections == {"unfit_value": 2}


@pytest.mark.parametrize(
    ("ambiguity", "turns", "refused"), [(0, 4, True), (1, 4, False), (1, 3, False), (1, 2, True)]
)
def test_a_query_says_the_values_that_nobody_can_ask_for(
    make_environment, tools, aspects, ambiguity, turns, refused
):
    answer = json.dumps(GOOD | {"query": "Can you book two nights for me?"})
    limits = {"assistant_turns": turns, "user_turns": 1, "tool_turns": 3}
    level = dataclasses.replace(aspects, ambiguity=ambiguity, **limits)
    rejections = collections.Counter()
    result, _ = generate(make_environment(), tools, level, answer, rejections=rejections)
    assert isinstance(result, Failure) is refused
    assert rejections == ({"unsaid_value": 2} if refused else {})


def test_the_prompts_example_is_a_near_copy(make_environment, tools, aspects):
    """Small models answer with the example they are shown."""
    copied = GOOD | {k: EXAMPLE_TASK[k] for k in ("intent", "query")}
    answer = json.dumps(copied | {"expected_calls": ["find_hotels", "book"]})
    rejections = collections.Counter()
    environment = make_environment(check_tasks=False)
    generate(environment, tools, aspects, answer, recent=RecentTasks(4, 0.6), rejections=rejections)
    assert rejections["near_copy"] == 2


def test_switches_leave_the_published_behaviour(make_environment, tools, aspects):
    environment = make_environment(check_tasks=False, world=WorldConfig(enabled=False))
    answer = json.dumps(GOOD | {"expected_calls": ["find_hotels", "book"], "intent": "A place."})
    task, engine = generate(environment, tools, aspects, answer)
    assert task.expected_calls == ("find_hotels", "book") and task.expected_values == ()
    assert task.world is None and len(engine.requests) == 1


def test_recent_tasks_forget_and_continue():
    recent = RecentTasks(2, 0.6)
    for text in ("Book a room in Lyon.", "Play some jazz.", "What is the weather in Oslo?"):
        recent.add(text)
    assert recent.nearest("Book a room in Lyon.") < 0.5
    assert recent.nearest("play some JAZZ!") == 1.0
    again = RecentTasks(2, 0.6)
    again.restore(json.loads(json.dumps(recent.state())))
    for text in ("Play jazz", "weather in Oslo", "x", ""):
        assert again.nearest(text) == recent.nearest(text)
    for texts in ([1], "text", None):
        with pytest.raises(ValueError, match="no list of texts"):
            again.restore({"texts": texts})


def test_only_what_the_user_alone_knows_is_needed():
    properties = {
        "city": {"type": "string"},
        "people": {"type": "integer"},
        "unit": {"type": "string", "enum": ["c", "f"]},
        "page": {"type": "integer", "default": 1},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
        "odd": {"type": ["string", "null"]},
        "any": True,
    }
    required = [name for name in properties if name != "note"]
    schema = {"type": "object", "properties": properties, "required": required}
    assert needed_values(Tool("f", "F.", schema)) == {"city": "string", "people": "integer"}


@pytest.mark.parametrize(
    ("value", "intent", "said"),
    [
        ("Luigi's", "a table at LUIGI'S tonight", True),
        ("4", "for four people", True),
        ("four", "4 people", True),
        ("São Paulo", "fly to Sao Paulo", True),
        ("Luigi's", "a table at Luigi\u2019s", True),
        ("12 May", "on the 12th of May", True),
        ("21st", "21 nights", True),
        ("1250000", "up to 1,250,000 euros", True),
        ("1,250", "1250 euros", True),
        ("1250", "1,25,0 euros", False),
        ("test", "the 3rd te", False),
        ("12 May 2026", "on May 12, 2026", True),
        ("19:30", "at 19.30", True),
        ("Lyon", "Lyons", False),
        ("40", "for 4 people", False),
        ("", "anything", False),
        ("?!", "anything", False),
    ],
)
def test_values_are_found_in_other_spellings(value, intent, said):
    call = {"name": "f", "values": {"p": value}}
    assert (missing_values([call], intent) == []) == said


def test_a_later_call_may_take_its_value_from_an_earlier_result():
    first = {"name": "find", "values": {"city": "Lyon"}}
    later = {"name": "book", "values": {"hotel": ""}}
    assert missing_values([first, later], "Lyon") == []
    assert missing_values([later, first], "Lyon") == ["book.hotel ('')"]
