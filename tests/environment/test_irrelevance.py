"""Tasks whose tools do not serve the user: none is to be called."""

import dataclasses
import json

import numpy as np
import pytest
from scripted_engine import ScriptedEngine
from test_episode import FIND, Script, play, prompts_of
from test_task import GOOD, generate

from trustee_jax.curriculum import Curriculum, CurriculumConfig
from trustee_jax.environment import (
    Help,
    Task,
    check_tools,
    draw_demonstrations,
    draw_tools,
    run,
    run_episode,
    succeeded,
)
from trustee_jax.errors import ConfigError
from trustee_jax.toolsets import Tool
from trustee_jax.toolsets.repository import ToolRepository

SORRY = "None of my tools can book a hotel."
MALFORMED = "<tool_call>{nonsense</tool_call>"
UNMARKED = '{"name": "find_hotels", "arguments": {"city": "Lyon"}}'


def repository(*categories: str) -> ToolRepository:
    return ToolRepository(
        Tool(f"{category}_{number}", "d", {"type": "object"}, category)
        for category in categories
        for number in range(4)
    )


def irrelevant(aspects):
    return dataclasses.replace(aspects, irrelevant=True)


@pytest.mark.parametrize(
    ("turns", "reward"),
    [
        ([SORRY, SORRY], 1),
        ([FIND, SORRY], -1),
        (["One moment. " + FIND, SORRY], -1),
        ([SORRY, FIND], -1),
        ([MALFORMED, SORRY], -1),
        ([UNMARKED, SORRY], -1),
        ([""], -1),
        (["<tool_response>{}</tool_response>"] * 2, -1),
    ],
)
def test_only_words_are_a_success(make_environment, make_task, turns, reward):
    """Code knows, and asks no model."""
    task = make_task(criteria=1, assistant_turns=2)
    task = dataclasses.replace(
        task, aspects=irrelevant(task.aspects), expected_calls=(), expected_values=()
    )
    episode, engine = play(make_environment(), task, Script(turns, user=["Why?"]))
    assert episode.valid and episode.reward == reward
    assert succeeded(episode) == (reward == 1)
    assert not prompts_of(engine, "verifier")


def test_words_alone_fail_where_a_tool_serves(make_environment, make_task):
    episode, _ = play(make_environment(), make_task(assistant_turns=1), Script([SORRY]))
    assert episode.reward == -1 and not succeeded(episode)


def test_the_tools_on_offer_are_of_another_category():
    tools = repository("travel", "kitchen", "music")
    aspects = Curriculum(CurriculumConfig(initial=40.0)).aspects(np.random.default_rng(0))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wanted, offered = draw_tools(tools, rng, irrelevant(aspects))
        assert len(offered) == aspects.tools and wanted[0].category != offered[0].category
        assert len({tool.category for tool in offered}) == 1
        wanted_alone, same = draw_tools(tools, np.random.default_rng(seed), aspects)
        assert wanted_alone == wanted == same


def test_one_category_is_not_enough():
    wanting = CurriculumConfig(irrelevance=0.25)
    check_tools(repository("travel"), CurriculumConfig())
    check_tools(repository("travel", "music"), wanting)
    with pytest.raises(ConfigError, match=r"curriculum\.irrelevance"):
        check_tools(repository("travel"), wanting)


@pytest.mark.parametrize("rule", ["scalar", "frontier"])
def test_it_is_drawn_beside_the_aspects(rule):
    """And draws nothing where it is off: the other aspects of a task stay as they were."""
    shares = []
    for share in (0.0, 0.25):
        curriculum = Curriculum(CurriculumConfig(rule, irrelevance=share))
        drawn = [curriculum.aspects(np.random.default_rng(seed)) for seed in range(4000)]
        shares.append(np.mean([one.irrelevant for one in drawn]))
        assert drawn[7] == dataclasses.replace(
            Curriculum(CurriculumConfig(rule)).aspects(np.random.default_rng(7)),
            irrelevant=drawn[7].irrelevant,
        )
    assert shares[0] == 0 and abs(shares[1] - 0.25) < 0.03


def test_a_task_expects_nothing_of_tools_that_do_not_serve_it(make_environment, tools, aspects):
    others = (Tool("play", "Plays a song.", {"type": "object"}, "music"),)
    task, engine = generate(
        make_environment(), tools, irrelevant(aspects), json.dumps(GOOD), offered=others
    )
    assert isinstance(task, Task)
    assert task.tools == others and task.intent == GOOD["intent"]
    assert task.expected_calls == task.expected_values == () and task.world is None
    assert "find_hotels" in engine_text(engine, engine.requests[0])  # what it was written about
    assert Task.from_json(json.loads(json.dumps(task.to_json()))).to_json() == task.to_json()


def test_demonstrations_of_such_a_task_decline(make_environment, make_task):
    task = make_task()
    task = dataclasses.replace(task, aspects=irrelevant(task.aspects), expected_calls=())
    others = repository("kitchen", "music")
    shown = draw_demonstrations(others, task, 2, 0, 1, 2, 3)
    assert [[m["role"] for m in one.messages] for one in shown] == [["user", "assistant"]] * 2
    help = Help(shown, hold_calls=True)
    assert help.tools(task.tools) == [tool.openai() for tool in task.tools]
    engine = ScriptedEngine(make_environment().policy_format, Script([SORRY] * 4, user=["Why?"]))
    coroutine = run_episode(make_environment(), task, (1, 2, 3), help)
    (episode,) = run([coroutine], {"policy": engine, "simulator": engine})
    assert episode.reward == 1  # and no turn was held to a call


def engine_text(engine, request) -> str:
    return engine.format.decode(request.tokens)
