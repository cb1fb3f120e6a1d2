import json

import llguidance.hf
import numpy as np
import pytest
from scripted_engine import grammar, walk

from trustee_jax.simulator.schemas import (
    matches,
    planned_task_schema,
    result_schema,
    task_schema,
    user_schema,
    verdict_schema,
)

SCHEMAS = {
    "task": task_schema(("find_hotels", "book"), 3, 100),
    "user": user_schema(100),
    "tool": result_schema(256),
    "verdict": verdict_schema(5, 100),
}


@pytest.fixture(scope="module")
def walker(chat_format):
    return llguidance.hf.from_tokenizer(chat_format.tokenizer)


@pytest.mark.parametrize("name", SCHEMAS)
def test_whatever_the_constraint_allows_is_valid_and_bounded(walker, name):
    rng = np.random.default_rng(0)
    for _ in range(15):
        text = walk(walker, SCHEMAS[name], rng, most=4000)
        assert matches(json.loads(text), SCHEMAS[name]), text


@pytest.mark.parametrize("name", SCHEMAS)
def test_foreign_answers_do_not_match(name):
    for value in ({}, {"other": None}, {"message": "m", "more": None}, {"reasoning": {}}, []):
        assert not matches(value, SCHEMAS[name])


def test_results_may_be_structured(walker):
    schema = result_schema(512)
    good = {
        "total": 2,
        "price": 10.29,
        "open": True,
        "hotels": [{"name": "Ibis", "stars": 3}, {"name": "Ritz", "stars": 5.5}],
        "tags": ["a", "b"],
    }
    assert matches(good, schema)
    matcher = llguidance.LLMatcher(walker, grammar(json.dumps(schema)))
    text = json.dumps(good, separators=(",", ":")).encode()
    assert matcher.consume_tokens(walker.tokenize_bytes(text)) and matcher.is_accepting()
    assert not matches(good | {"sixth": 1}, schema)
    assert not matches({"Key": 1}, schema)


@pytest.mark.parametrize("value", ["Munich", "São Paulo", "Łódź", "Москва", "東京", "부산", ""])
def test_values_of_a_task_may_be_of_any_alphabet(walker, value):
    schema = planned_task_schema({"find": {"town": "string"}}, 1, 100)
    calls = [{"name": "find", "values": {"town": value}}]
    task = {"persona": "an expert", "expected_calls": calls, "intent": "a wish", "query": "a query"}
    matcher = llguidance.LLMatcher(walker, grammar(json.dumps(schema)))
    text = json.dumps(task, separators=(",", ":"), ensure_ascii=False).encode()
    assert matcher.consume_tokens(walker.tokenize_bytes(text)) and matcher.is_accepting()
    assert matches(task, schema)


def test_verdict_lists_the_first_criteria():
    assert verdict_schema(2, 100)["required"] == ["reasoning", "intent_met", "calls_correct"]
