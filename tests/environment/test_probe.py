"""What a policy's first turns say of it."""

import json

import pytest
from scripted_engine import ScriptedEngine

from trustee_jax.environment import Probe, run
from trustee_jax.environment.probe import answer, draw_questions
from trustee_jax.toolsets import load_repository

COUNT = 12


@pytest.fixture
def questions():
    return list(draw_questions(load_repository("starter"), COUNT, seed=0))


def ask(environment, questions, script) -> Probe:
    engine = ScriptedEngine(environment.policy_format, script)
    asked = [answer(environment, question, i) for i, question in enumerate(questions)]
    kinds = run(asked, {"policy": engine, "simulator": engine})
    assert {request.role for request in engine.requests} <= {"policy"}
    return Probe.of(kinds)


def test_questions_are_drawn_alike_and_differ(questions):
    assert list(draw_questions(load_repository("starter"), COUNT, seed=0)) == questions
    assert list(draw_questions(load_repository("starter"), COUNT, seed=1)) != questions
    assert len({question.text for question in questions}) == COUNT
    # Their order says nothing of which tool is meant.
    assert len({question.tools.index(question.wanted) for question in questions}) == 3


def test_kinds_are_told_apart(make_environment, questions):
    environment = make_environment()

    def call(name, arguments):
        return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"

    def script(role, request, prompt):
        question = questions[request.key[1]]
        right = call(question.wanted.name, question.arguments)
        return [
            right,
            right + call("no_such_tool", {}),
            "<tool_call>{</tool_call>",
            right.replace("tool_call", "call"),
            "What do you mean?",
            right + right,
        ][request.key[1] % 6]

    probe = ask(environment, questions, script)
    assert dict(probe.kinds) == {
        "valid_call": 4,
        "unfit_call": 2,
        "malformed_call": 2,
        "unmarked_call": 2,
        "text": 2,
    }
    assert str(probe) == (
        "asked for a call in 12 turns: 4 x valid call, 2 x unfit call, "
        "2 x malformed call, 2 x unmarked call, 2 x text"
    )
    assert probe.scalars()["probe/valid_call"] == pytest.approx(1 / 3)
    assert probe.scalars()["probe/refused"] == 0


def test_a_prompt_that_does_not_fit(make_environment, questions):
    probe = ask(make_environment(context=8), questions, lambda *_: "Hm.")
    assert dict(probe.kinds) == {"refused": COUNT}
