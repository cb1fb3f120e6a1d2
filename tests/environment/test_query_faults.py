"""First queries that are not the user's are refused; those that are only ambiguous are not."""

import collections
import dataclasses
import json

import pytest
from test_task import GOOD, generate

from trustee_jax.audit.recorded import GOLD
from trustee_jax.environment import REJECTIONS, Task
from trustee_jax.environment.query_faults import find_query_fault
from trustee_jax.jsonl import read
from trustee_jax.simulator import EXAMPLE_TASK

MUSEUM = "Find a museum in London."
LONDON = [{"name": "find_museums", "values": {"city": "London"}}]


def fault(query: str, intent: str = MUSEUM, calls=LONDON, clear: bool = True) -> str | None:
    found = find_query_fault(query, intent, calls, clear=clear)
    return None if found is None else found[0]


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize(
    "query",
    [
        "What recipe do you want to make?",
        "Hello! Which museum in London would you like to visit?",
        "How can I help you?",
        "Hi there, how can I assist?",
        "Sure, I can help you find a museum in London.",
        "Do you want to find a museum in London?",
        "Would you like to see a museum?",
        "I'm here to help you with museums. Is there anything else?",
        "What kind of museum are you looking for?",
        "Please provide your city.",
        "I am sorry, but you need to specify the city.",
        "What is the city, and which museum?",
        "Well? What is your city?",
    ],
)
def test_the_assistants_voice(query, clear):
    assert fault(query, clear=clear) == "assistant_voice"


@pytest.mark.parametrize("clear", [True, False])
@pytest.mark.parametrize(
    ("query", "intent"),
    [
        ('Text Anna "Do you want to come to the museum?"', 'Text Anna "Do you want to come?"'),
        ("Text Anna: would you like to come?", "Ask Anna to come."),
        ("Text Anna, do you want to come?", "Ask Anna to come."),
        ("How can I help my tomatoes grow?", "Know how to help tomatoes grow."),
        ("What can I do for my tomatoes?", "Know what to do for tomatoes."),
        ("How can I help you find my museum?", "Find my museum."),
        ("Would you like to help me with a museum?", MUSEUM),
        ("Can you help me find a museum?", MUSEUM),
        ("Can I visit a museum?", MUSEUM),
        ("I'm sorry, but I need a museum.", MUSEUM),
        ("What is the city museum of London?", MUSEUM),
        ("Should I take an umbrella to the museum?", MUSEUM),
        ("I can help myself, but which museums are there?", MUSEUM),
        ("What would you recommend: which museum?", MUSEUM),
        ("Please provide the museums of London.", MUSEUM),
    ],
)
def test_a_users_voice(query, intent, clear):
    assert fault(query, intent, [], clear) is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Where is London?", "other_wish"),
        ("How do I bake bread?", "other_wish"),
        ("london", "other_wish"),
        ("Any museums in London?", None),
        ("What is there to see for a lover of museums?", None),
        ("I am in London. Where do I see paintings?", None),
    ],
)
def test_another_wish(query, expected):
    assert fault(query) == expected
    # What an ambiguous query leaves out is no fault.
    assert fault(query, clear=False) is None


def test_a_wish_that_is_but_a_value_is_asked_about():
    calls = [{"name": "define", "values": {"term": "photosynthesis"}}]
    assert fault("What is photosynthesis?", "Know what photosynthesis is.", calls) is None
    assert fault("What is rust?", "Know what photosynthesis is.", calls) == "other_wish"
    assert fault("Where is London?", calls=[]) is None  # without values nobody can tell


@pytest.mark.parametrize("number", range(len(list(read(GOLD)))))
def test_a_gold_query_is_its_users(number):
    task = Task.from_json(list(read(GOLD))[number]["task"])
    calls = [{"name": "f", "values": values} for values in task.expected_values]
    for clear in (True, False):
        assert find_query_fault(task.query, task.intent, calls, clear=clear) is None


def test_the_prompts_example_is_its_users():
    task = EXAMPLE_TASK
    assert fault(task["query"], task["intent"], task["expected_calls"]) is None


@pytest.mark.parametrize(
    ("query", "ambiguity", "reason"),
    [
        ("Which hotel do you want to book?", 2, "assistant_voice"),
        ("Where is Lyon?", 0, "other_wish"),
        ("Where is Lyon?", 1, None),
    ],
)
def test_such_tasks_are_rejected(make_environment, tools, aspects, query, ambiguity, reason):
    aspects = dataclasses.replace(aspects, ambiguity=ambiguity)
    answer = json.dumps(GOOD | {"query": query})
    rejections = collections.Counter()
    result, engine = generate(make_environment(), tools, aspects, answer, rejections=rejections)
    if reason is None:
        assert isinstance(result, Task) and not rejections
        return
    assert result.cause == "task_rejected" and "the query" in result.detail
    assert rejections == {reason: len(engine.requests)} and reason in REJECTIONS
    environment = make_environment(check_queries=False)
    assert isinstance(generate(environment, tools, aspects, answer)[0], Task)


def test_without_values_the_intent_alone_is_compared(make_environment, tools, aspects):
    aspects = dataclasses.replace(aspects, ambiguity=0)
    environment = make_environment(check_tasks=False)
    names = ["find_hotels", "book"]
    for query, accepted in (("Where is Lyon?", True), ("How do I bake bread?", False)):
        answer = json.dumps(GOOD | {"query": query, "expected_calls": names})
        result, _ = generate(environment, tools, aspects, answer)
        assert isinstance(result, Task) == accepted


@pytest.mark.parametrize("text", ["do you " * 9000, "hi " * 20_000, "'" * 50_000, "what " * 9000])
def test_hostile_texts_take_no_time_to_check(text):
    find_query_fault(text, text, LONDON, clear=True)
