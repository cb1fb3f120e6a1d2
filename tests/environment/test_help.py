"""What helps a policy for a while: the policy alone sees it, and nothing is learnt of it."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from flax import nnx
from scripted_engine import ScriptedEngine
from test_episode import BOOK, FIND, Script, play, prompts_of

from trustee_jax.chat import CallSyntax, ChatFormat
from trustee_jax.engine import Engine, EngineConfig
from trustee_jax.environment import Help, draw_demonstrations, run, run_episode
from trustee_jax.environment.calls import find_problem
from trustee_jax.environment.help import outstanding_tools
from trustee_jax.models import Transformer
from trustee_jax.streams import Purpose
from trustee_jax.toolsets import Tool, ToolRepository, check_arguments, load_repository
from trustee_jax.weights import open_checkpoint

PLACE = (5, 2, 1)
TURNS = ["Where to?", FIND + BOOK, "Booked."]


@pytest.fixture(scope="module")
def repository():
    return load_repository("starter")


def helped(environment, task, help, script):
    engine = ScriptedEngine(environment.policy_format, script)
    coroutine = run_episode(environment, task, PLACE, help)
    (episode,) = run([coroutine], {"policy": engine, "simulator": engine})
    return episode, engine


def test_demonstrations_are_right_calls_of_other_tools(repository, make_task):
    task = make_task()
    shown = draw_demonstrations(repository, task, 3, 0, *PLACE)
    assert shown == draw_demonstrations(repository, task, 3, 0, *PLACE)
    assert shown != draw_demonstrations(repository, task, 3, 0, 5, 2, 2)
    assert len({one.tool.name for one in shown}) == 3
    for one in shown:
        user, call, result, answer = one.messages
        (made,) = call["tool_calls"]
        assert made["function"]["name"] == one.tool.name
        arguments = json.loads(made["function"]["arguments"])
        assert check_arguments(one.tool, arguments) == []
        assert result["tool_call_id"] == made["id"] and json.loads(result["content"])
        assert (user["role"], answer["role"]) == ("user", "assistant") and answer["content"]


def test_no_tool_of_the_task_is_demonstrated(make_task, tools):
    task, own = make_task(), {tool.name for tool in tools}
    other = Tool("find_trains", "Finds trains.", {"type": "object", "properties": {}}, "travel")
    shown = draw_demonstrations(ToolRepository([*tools, other]), task, 3, 0, *PLACE)
    assert [one.tool.name for one in shown] == ["find_trains"]
    assert not own & {one.tool.name for one in shown}


def test_only_the_policy_sees_demonstrations_and_nothing_is_learnt_of_them(
    repository, make_environment, make_task
):
    environment, task = make_environment(), make_task()
    shown = draw_demonstrations(repository, task, 2, 0, *PLACE)
    with_help, engine = helped(environment, task, Help(shown), Script(TURNS, user=["Lyon."]))
    without, _ = play(environment, task, Script(TURNS, user=["Lyon."]))
    for prompt in prompts_of(engine, "policy"):
        for one in shown:
            assert one.messages[0]["content"] in prompt and one.tool.description in prompt
    others = "".join(
        text for role in ("user", "tool", "verifier") for text in prompts_of(engine, role)
    )
    for one in shown:
        assert one.tool.name not in others
    assert with_help.messages == without.messages and with_help.reward == without.reward
    (learnt,), (plain,) = with_help.sequences, without.sequences
    np.testing.assert_array_equal(learnt.tokens, plain.tokens)
    np.testing.assert_array_equal(learnt.sampled, plain.sampled)


def test_a_demonstrated_tool_is_none_of_the_task(repository, make_environment, make_task):
    environment, task = make_environment(), make_task()
    (shown,) = draw_demonstrations(repository, task, 1, 0, *PLACE)
    call = f"<tool_call>{json.dumps({'name': shown.tool.name, 'arguments': {}})}</tool_call>"
    episode, _ = helped(environment, task, Help((shown,)), Script([call, "Done."]))
    assert episode.reward == -1 and "unknown tool" in episode.calls[0].problem


def test_turns_are_held_to_the_calls_that_are_still_expected(make_environment, make_task):
    held = [FIND, BOOK]
    turns = [json.dumps(json.loads(text[11:-12]), separators=(",", ":")) for text in held]

    def script(role, request, prompt):
        if request.key[0] != Purpose.POLICY:
            return Script([])(role, request, prompt)
        calls = request.schema["anyOf"] if request.schema else ()
        asked.append([name for call in calls for name in call["properties"]["name"]["enum"]])
        return turns.pop(0) if turns else "Booked."

    asked = []
    episode, engine = helped(make_environment(), make_task(), Help(hold_calls=True), script)
    assert asked == [["find_hotels", "book"], ["book"], []]
    assert [call.name for call in episode.calls] == ["find_hotels", "book"]
    assert all(call.problem is None for call in episode.calls)
    (sequence,) = episode.sequences
    written = engine.format.decode(sequence.tokens[sequence.sampled])
    # In the spacing of the template, whatever that of the grammar is.
    before, after = CallSyntax.HERMES.frame
    calls = [before + json.dumps(json.loads(text[11:-12])) + after for text in held]
    assert written == "".join(calls) + "Booked."


def test_what_is_outstanding(make_environment, make_task):
    task = make_task()

    def names(*turns):
        script = Script([*turns, *["Done."] * 4], user=["Thanks."] * 4)
        episode, _ = helped(make_environment(), task, Help(), script)
        return [tool.name for tool in outstanding_tools(task, episode.calls)]

    assert names() == ["find_hotels", "book"]
    assert names(BOOK) == ["find_hotels"] and names(FIND, BOOK) == []
    # One that does not fit its tool was not made.
    assert names(FIND, BOOK.replace("nights", "days")) == ["book"]
    assert outstanding_tools(dataclasses.replace(task, expected_calls=()), []) == ()


@pytest.mark.parametrize(
    ("source", "template", "syntax"),
    [
        ("random:qwen2", None, CallSyntax.HERMES),
        ("random:qwen2", None, CallSyntax.JSON),
        ("random:llama", "llama3_like", CallSyntax.LLAMA),
    ],
)
def test_a_random_models_held_turn_is_a_valid_call(
    tiny, make_environment, make_task, source, template, syntax
):
    """Whatever the weights prefer, and in each form of calls."""
    checkpoint = open_checkpoint(source)
    tokenizer = checkpoint.tokenizer()
    if template:
        tokenizer.add_tokens(
            ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], special_tokens=True
        )
        folder = pathlib.Path(__file__).parents[1] / "chat" / "templates"
        tokenizer.chat_template = (folder / f"{template}.jinja").read_text()
    format = ChatFormat(tokenizer, syntax)
    config = dataclasses.replace(checkpoint.config, vocab_size=len(tokenizer))
    model = Transformer(config, rngs=nnx.Rngs(0))
    options = EngineConfig(slots=2, max_length=6000, page_size=16, prefill_rows=2)
    engine = Engine(model, tiny.mesh, options, tokenizer)
    environment = dataclasses.replace(make_environment(), policy_format=format, max_length=6000)
    simulator = ScriptedEngine(make_environment().policy_format, Script([]))
    task = make_task(assistant_turns=1)
    coroutine = run_episode(environment, task, PLACE, Help(hold_calls=True))
    (episode,) = run([coroutine], {"policy": engine, "simulator": simulator})
    by_name = {tool.name: tool for tool in task.tools}
    (call,) = episode.calls
    assert find_problem(by_name, call.name, call.arguments) is None
    assert episode.counts.malformed_calls == 0
