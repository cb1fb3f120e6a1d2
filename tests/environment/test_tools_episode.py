"""Episodes with functions, a live server and simulated tools side by side."""

import dataclasses
import json
import sys
import threading

import numpy as np
import pytest
from scripted_engine import ScriptedEngine, role_of
from test_episode import FIND, Script, play, prompts_of
from test_task import GOOD, generate
from test_tools_mcp import SERVER

from trustee_jax.environment import EnvironmentConfig, run, run_episode
from trustee_jax.environment.tools.python import PythonTool
from trustee_jax.environment.tools.sources import open_tools

FUNCTIONS = '''
import time

def pay(amount: int) -> dict:
    """Pays an amount.

    Args:
      amount: How much.
    """
    raise ValueError("the card has\\nexpired")

def wait(seconds: float) -> str:
    """Waits.

    Args:
      seconds: How long.
    """
    time.sleep(seconds)
    return "waited"
'''


def call(name, **arguments):
    return "<tool_call>" + json.dumps({"name": name, "arguments": arguments}) + "</tool_call>"


@pytest.fixture
def with_backends(make_environment):
    def make(backends, **options):
        return dataclasses.replace(make_environment(**options), backends=backends)

    return make


def test_functions_a_server_and_the_simulator_in_one_episode(
    with_backends, make_task, tools, tmp_path
):
    program, functions = tmp_path / "server.py", tmp_path / "mine.py"
    program.write_text(SERVER)
    functions.write_text(FUNCTIONS)
    sources = f"{functions},mcp:{sys.executable} {program} {tmp_path / 'pids'} stdio"
    config = EnvironmentConfig(tool_deadline=1.0)
    turns = [
        call("pay", amount=3),
        call("wait", seconds=20.0),
        call("get_time", city="Lyon") + FIND,
        call("wait", seconds=0.0),
        call("pay", amount="x"),
        "Done.",
    ]
    with open_tools(sources, config) as offered:
        real = offered.repository.tools[:3]
        assert [t.name for t in real] == ["pay", "wait", "get_time"]
        task = make_task({"hotels": [{"id": "H1"}]}, tool_turns=9, assistant_turns=9)
        task = dataclasses.replace(task, tools=(*real, *tools))
        results = {"tool": lambda r: '{"result":{"hotels":["Ibis"]},"changes":[]}'}
        environment = with_backends(offered.backends)
        episode, engine = play(environment, task, Script(turns, overrides=results))
    assert episode.valid and episode.reward is not None
    answers = [m["content"] for m in episode.messages if m["role"] == "tool"]
    assert answers == [
        '{"error":"ValueError: the card has expired"}',
        '{"error":"timed out after 1 s"}',
        '{"result":"12:00 in Lyon"}',
        '{"hotels":["Ibis"]}',
        '"waited"',
        answers[-1],
    ]
    assert "invalid arguments" in answers[-1]  # code answers: the function is not called
    assert [c.answer for c in episode.calls] == answers
    assert [c.error for c in episode.calls] == [True, True, False, False, False, True]
    assert episode.counts.executed_calls == 5 and episode.counts.valid_calls == 5
    # The simulator answered the one call that is its own; all roles see what came back.
    (request,) = [r for r in engine.requests if role_of(r) == "tool"]
    assert request.key[1:] == (5, 2, 1, 3, 0)  # the fourth call
    prompt = engine.text(request)
    assert "12:00 in Lyon" in prompt and "the card has expired" in prompt
    assert "Besides, all that pay, wait, get_time returned exists" in prompt
    (verifier, *_) = [engine.text(r) for r in engine.requests if role_of(r) == "verifier"]
    assert "timed out after 1 s" in verifier and "waited" in verifier


def test_results_are_cut_as_text(with_backends, make_task):
    backend = PythonTool(lambda city: {"hotels": ["é" * 900]}, 5.0)
    environment = with_backends({"find_hotels": backend}, tool_result_limit=64)
    episode, _ = play(environment, make_task(), Script([FIND, "Done."]))
    (message,) = [m for m in episode.messages if m["role"] == "tool"]
    assert message["content"] == ('{"hotels":["' + "é" * 900)[:64]
    assert episode.calls[0].answer == message["content"] and not episode.calls[0].error


def test_a_real_read_is_asked_again(with_backends, make_task):
    """Nobody knows what has changed behind it."""
    asked = []
    backend = PythonTool(lambda city: asked.append(city) or len(asked), 5.0)
    environment = with_backends({"find_hotels": backend})
    episode, _ = play(environment, make_task({"hotels": []}), Script([FIND, FIND, "Done."]))
    assert [c.answer for c in episode.calls] == ["1", "2"]
    assert episode.counts.repeated_reads == 0


def test_the_world_is_of_the_simulated_tools(with_backends, tools, aspects):
    environment = with_backends({"find_hotels": PythonTool(lambda city: [], 5.0)})
    task, engine = generate(environment, tools, aspects, json.dumps(GOOD))
    assert list(task.world) == ["hotels", "bookings"]
    (world,) = prompts_of(engine, "world")
    assert "find_hotels" not in world.split("The user will want this")[0].split("Tools:")[-1]
    assert 'Calls to expect: [{"name":"book"' in world.replace('": ', '":')
    assert "find_hotels" in prompts_of(engine, "task")[0]
    assert task.expected_calls == ("find_hotels", "book")


def test_without_a_simulated_tool_there_is_no_world(with_backends, tools, aspects):
    backend = PythonTool(lambda **_: [], 5.0)
    environment = with_backends(dict.fromkeys(("find_hotels", "book"), backend))
    task, engine = generate(environment, tools, aspects, json.dumps(GOOD))
    assert task.world is None and prompts_of(engine, "world") == []


@pytest.mark.parametrize("check", [True, False])
def test_a_call_that_does_not_fit_never_reaches_a_real_tool(with_backends, make_task, tools, check):
    """Nor one of a real tool that the task does not offer; the simulator plays its own as ever."""
    asked = []
    backend = PythonTool(lambda **arguments: asked.append(arguments), 5.0)
    environment = with_backends({"find_hotels": backend, "pay": backend}, check_calls=check)
    turns = [
        call("find_hotels", town="Lyon"),
        call("pay", amount=3),
        call("book", hotel=7),
        FIND,
        call("book", hotel="Ibis", nights=2),
        "Done.",
    ]
    task = make_task(tool_turns=9, assistant_turns=9)
    episode, engine = play(environment, task, Script(turns))
    answers = [c.answer for c in episode.calls]
    assert answers[0].startswith('{"error":"invalid arguments: ')
    assert answers[1].startswith('{"error":"unknown tool \'pay\'; available: find_hotels, book')
    assert answers[2].startswith('{"error":"invalid' if check else '{"number":1}')
    assert asked == [{"city": "Lyon"}] and answers[3] == "null"
    # Numbers of executed calls, from 0, are in the keys of those that the simulator answers.
    keys = [r.key for r in engine.requests if role_of(r) == "tool"]
    assert [key[4] for key in keys] == ([1] if check else [0, 2])
    assert episode.counts.executed_calls == (2 if check else 3)


def test_many_episodes_call_at_once(with_backends, make_task, chat_format):
    """64 episodes: every one of them is in its call before any call ends."""
    met = threading.Barrier(64, timeout=60)
    backend = PythonTool(lambda city: met.wait() >= 0, 60.0)
    environment = with_backends({"find_hotels": backend})
    policy = iter([FIND] * 64 + ["Done."] * 64)

    def script(role, request, prompt):
        return next(policy) if role == "policy" else Script(())(role, request, prompt)

    engine = ScriptedEngine(chat_format, script, width=64)
    coroutines = [run_episode(environment, make_task(), (5, 2, i)) for i in range(64)]
    engines = {"policy": engine, "simulator": engine}
    episodes = run(coroutines, engines, threads=64)
    assert [e.calls[0].answer for e in episodes] == ["true"] * 64
    assert all(e.valid for e in episodes)


def test_threads_do_not_touch_simulated_episodes(with_backends, make_task, chat_format):
    """Without a real call the requests are the same, in the same order, with any number of them."""

    def requests(backends, threads):
        environment = with_backends(backends)
        script = Script([FIND, FIND, FIND, "Done.", "Done.", "Done."])
        engine = ScriptedEngine(chat_format, script)
        coroutines = [run_episode(environment, make_task(), (5, 2, i)) for i in range(3)]
        run(coroutines, {"policy": engine, "simulator": engine}, threads=threads)
        return [(r.key, r.role, np.asarray(r.tokens).tolist()) for r in engine.requests]

    other = PythonTool(lambda: 0, 1.0)
    assert requests({}, 1) == requests({"book": other}, 64)
