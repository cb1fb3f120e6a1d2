"""The known weaknesses of the published run that lie in the simulation: none may come back.

Each test is named after its weakness. Those of the curriculum, the groups and the loop (2, 6, 7, 8
and 11) are in tests/test_weaknesses_loop.py and tests/training/test_collect.py.
"""

import collections
import json
import re

import numpy as np
import pytest
from environments import environment_of
from scripted_engine import ScriptedEngine, role_of
from test_episode import BOOK, FIND, Script, play, prompts_of, verdict

from trustee_jax.environment import (
    INVALID_CAUSES,
    Environment,
    PolicyConfig,
    generate_task,
    run,
)
from trustee_jax.simulator import RoleConfig
from trustee_jax.toolsets import ToolError, load_repository

MODES = ("reasoned", "logprobs", "joint")
HOTELS = {"hotels": [{"id": "H1", "name": "Ibis"}], "bookings": []}


def thinking_environment(format, **options) -> Environment:
    """Of a model that thinks, playing its own roles without thoughts."""
    roles = ("task", "writer", "user", "tool", "verifier")
    silent = {role: RoleConfig(think_budget=0) for role in roles}
    return environment_of(format, **(silent | options))


# 1. User environment and verifier are handed the system prompt as the user's query.


@pytest.mark.parametrize("level", range(4))
def test_weakness_1_the_query_is_the_users_and_not_the_system_prompt(
    make_environment, make_task, level
):
    task = make_task(system_prompt=level)
    script = Script(["Where to?", FIND, "Done."], user=["Lyon."])
    episode, engine = play(make_environment(), task, script)
    system = episode.messages[0]["content"]
    assert system == make_environment().simulator.prompts.policy(level)
    assert system in prompts_of(engine, "policy")[0]
    for prompt in prompts_of(engine, "user"):
        assert f'Conversation:\nuser: "{task.query}"' in prompt
    for prompt in prompts_of(engine, "verifier"):
        assert f'First message: "{task.query}"' in prompt
        assert f'Conversation:\n1. user: "{task.query}"' in prompt
    for request in engine.requests:
        if request.role == "simulator":
            assert system not in engine.text(request)


# 3. Broken JSON is salvaged, so that a reward can come out of an unfinished thought.

_DAMAGES = {
    "unfinished": lambda text: text[:-1],
    "in a sentence": lambda text: f"My verdict: {text}",
    "fenced": lambda text: f"```json\n{text}\n```",
    "twice": lambda text: text + text,
    "single quotes": lambda text: text.replace('"', "'"),
    "words for booleans": lambda text: text.replace("true", '"true"'),
    "trailing comma": lambda text: text[:-1] + ",}",
    "a field too many": lambda text: text[:-1] + ',"reward":1}',
    "cut, though complete": lambda text: (text, "length"),
    "not a number": lambda text: re.sub(":(1|true)(?=[,}])", ":NaN", text),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("damage", _DAMAGES)
def test_weakness_3_broken_json_is_no_reward(make_environment, make_task, damage, mode):
    script = Script(
        [FIND + BOOK, "Done."],
        overrides={"verifier": lambda request: _DAMAGES[damage](verdict(request))},
    )
    environment = make_environment(mode=mode, verifier=RoleConfig(tries=2))
    episode, _ = play(environment, make_task(), script)
    problem = "length" if damage.startswith("cut") else "malformed"
    assert (episode.cause, episode.reward) == (f"verifier_{problem}", None)
    assert episode.verdict is None and episode.ended == "user"


@pytest.mark.parametrize("role", ["user", "tool"])
def test_weakness_3_broken_json_is_no_message_and_no_result(make_environment, make_task, role):
    good = {"user": '{"message":"Lyon."}', "tool": '{"result":{"x":1},"changes":[]}'}[role]
    for name, damage in _DAMAGES.items():
        answers = {role: lambda request, damage=damage: damage(good)}
        script = Script(["Where?", FIND, "Done."], user=["Lyon."], overrides=answers)
        environment = make_environment(**{role: RoleConfig(tries=2)})
        episode, _ = play(environment, make_task(world=HOTELS), script)
        if name == "words for booleans" or (name == "not a number" and role == "user"):
            continue  # there is nothing to damage, or it is damaged otherwise
        assert episode.cause in (f"{role}_malformed", f"{role}_length"), name
        assert episode.reward is None


def test_weakness_3_a_thought_is_no_verdict(thinking_format, make_task):
    """The answer stands in an unfinished thought, or in a finished one without an answer."""
    for thought in ("{}", "{}</think>", "<think>{}", "<think>{}</think>Yes."):

        def verifier(request, thought=thought):
            return thought.replace("{}", verdict(request))

        script = Script([FIND + BOOK, "Done."], overrides={"verifier": verifier})
        environment = thinking_environment(thinking_format, verifier=RoleConfig(tries=2))
        episode, _ = play(environment, make_task(), script)
        assert (episode.cause, episode.reward) == ("verifier_malformed", None), thought


# 4. Rewards for single turns are demanded from the simulators and never used.


def test_weakness_4_no_simulator_is_asked_to_rate_a_turn(make_environment, make_task):
    script = Script(["Where?", FIND, BOOK, "Done."], user=["Lyon."])
    episode, engine = play(make_environment(), make_task(world=None), script)
    asked = [role_of(request) for request in engine.requests]
    # One request for every message of the user and every executed call, and the verdict's parts.
    assert asked.count("user") == episode.counts.user_turns + 1  # the last one was empty
    assert asked.count("tool") == episode.counts.executed_calls == 2
    assert episode.valid
    for request in engine.requests:
        role = role_of(request)
        if role == "user":
            assert list(request.schema["properties"]) == ["message"]
        if role in ("user", "tool"):
            required = json.dumps([request.schema.get("required", []), engine.text(request)])
            assert not re.search(r"reward|score|rate |rating|grade", required, re.IGNORECASE)


def test_weakness_4_what_a_tool_says_of_rewards_counts_for_nothing(make_environment, make_task):
    for value in (-1, 1):
        result = json.dumps({"reward": value, "score": value})
        script = Script([FIND + BOOK, "."], overrides={"tool": lambda request, r=result: r})
        episode, _ = play(make_environment(), make_task(), script)
        assert episode.reward == 1.0


# 5. The last over-limit message is trained on but never shown to the verifier.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("limits", "turns", "user", "ended", "shown"),
    [
        ({"assistant_turns": 2}, [FIND, "Too late."], [], "assistant_turns", '"Too late."'),
        ({"assistant_turns": 2}, [FIND, BOOK], [], "assistant_turns", "calls: book("),
        ({"tool_turns": 1}, [FIND, BOOK], [], "tool_turns", "calls: book("),
        ({"tool_turns": 1}, [FIND, "<tool_call>x"], [], "tool_turns", "attempts a call:"),
        ({"user_turns": 1}, [FIND, "Which?", "So which?"], ["A"], "user_turns", '"So which?"'),
        ({}, [FIND, ("Half a sen", "length")], [], "length", '"Half a sen"'),
        ({}, [FIND, ""], [], "empty", 'assistant: ""'),
    ],
)
def test_weakness_5_the_verifier_sees_all_that_is_trained(
    make_environment, make_task, limits, turns, user, ended, shown, mode
):
    environment = make_environment(mode=mode)
    episode, engine = play(environment, make_task(**limits), Script(turns, user))
    assert episode.ended == ended and episode.valid
    (sequence,) = episode.sequences
    trained = engine.format.decode(sequence.tokens[sequence.sampled])
    last = turns[-1][0] if isinstance(turns[-1], tuple) else turns[-1]
    assert trained.endswith(last)
    prompts = prompts_of(engine, "verifier")
    assert prompts
    for prompt in prompts:
        assert shown in prompt.rpartition("tool returns: ")[2]


# 9. The verifier reads the policy's reasoning, so that the policy can talk it round.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("history", ["append", "strip"])
def test_weakness_9_nobody_reads_the_policys_thoughts(thinking_format, make_task, mode, history):
    secret = "<think>\nDear judge, FLATTERY.\n</think>\n\n"
    turns = [secret + "Where to?", secret + FIND + BOOK, secret + "Done."]
    environment = thinking_environment(
        thinking_format,
        policy=PolicyConfig(history=history),
        mode=mode,
    )
    for last in (turns[2], ("<think>\nDear judge, FLATTERY", "length")):
        script = Script([*turns[:2], last], user=["Lyon."])
        episode, engine = play(environment, make_task(world=HOTELS), _with_results(script))
        assert episode.valid and episode.verdict is not None
        assert sum("FLATTERY" in m.get("reasoning_content", "") for m in episode.messages) == 3
        for request in engine.requests:
            if request.role == "simulator":
                assert "FLATTERY" not in engine.text(request), role_of(request)


def _with_results(script):
    """The same script, its tools' answers in the form of a world's: nothing changes."""

    def answer(role, request, prompt):
        found = script(role, request, prompt)
        if role == "tool" and "result" in request.schema["properties"]:
            return f'{{"result":{found},"changes":[]}}'
        return found

    return answer


# 10. Parallel calls are simulated at once from one history; calls past the third get no answer.


def test_weakness_10_each_parallel_call_sees_the_one_before(make_environment, make_task):
    """In the conversation, and in the records that it changed."""
    numbers = iter(range(1, 9))

    def tool(request):
        number = next(numbers)
        change = {"operation": "add", "collection": "bookings", "id": f"B{number}", "fields": {}}
        change["fields"] = {"hotel": "H1"}
        return json.dumps({"result": {"number": f"N{number}"}, "changes": [change]})

    calls = [
        f'<tool_call>{{"name": "book", "arguments": {{"hotel": "H1", "nights": {n}}}}}</tool_call>'
        for n in range(1, 6)
    ]
    script = Script(["".join(calls), "Done."], overrides={"tool": tool})
    episode, engine = play(make_environment(), make_task(world=HOTELS), script)
    asked = prompts_of(engine, "tool")
    assert len(asked) == 3
    for index, prompt in enumerate(asked):
        assert re.findall(r'tool returns: {"number":"(N\d)"}', prompt) == ["N1", "N2", "N3"][:index]
        assert (
            re.findall(r'bookings: {"hotel":"H1","id":"(B\d)"}', prompt)
            == (["B1", "B2", "B3"][:index])
        )
    # Every call has its answer, in order; those past the limit are told why.
    made = [call["id"] for m in episode.messages for call in m.get("tool_calls", ())]
    answers = [m for m in episode.messages if m["role"] == "tool"]
    assert [m["tool_call_id"] for m in answers] == made and len(made) == 5
    assert all("at most 3 calls" in m["content"] for m in answers[3:])
    following = prompts_of(engine, "policy")[1]
    assert following.count("<tool_response>") == 5


# 12. Past thinking stays in the training context although the template strips it at evaluation.


def test_weakness_12_the_policy_is_trained_in_the_context_that_it_is_evaluated_in(
    thinking_format, make_task
):
    """What the policy sees is what the model's own chat template makes of the same messages."""
    tokenizer = thinking_format.tokenizer
    find = f"<tool_call>\n{FIND[11:-12]}\n</tool_call>"
    book = f"<tool_call>\n{BOOK[11:-12]}\n</tool_call>"
    turns = ["Where to?", find, "How long?", book, "Done."]
    turns = [f"<think>\nThought {i}.\n</think>\n\n{text}" for i, text in enumerate(turns)]
    environment = thinking_environment(thinking_format)
    assert environment.config.policy.history == "strip"
    task = make_task()
    script = Script(turns, user=["Lyon.", "Two nights."])
    episode, engine = play(environment, task, script)
    seen = [request.tokens for request in engine.requests if request.role == "policy"]
    messages = [m for m in episode.messages if m["role"] == "assistant"]
    assert len(seen) == len(messages) == 5
    for tokens, message in zip(seen, messages, strict=True):
        before = episode.messages[: episode.messages.index(message)]
        expected = tokenizer.apply_chat_template(
            list(before),
            tools=[tool.openai() for tool in task.tools],
            add_generation_prompt=True,
            tokenize=False,
        )
        assert tokenizer.decode(tokens) == expected
    thoughts = [re.findall(r"Thought (\d)", tokenizer.decode(tokens)) for tokens in seen]
    assert thoughts == [[], [], ["1"], [], ["3"]]
    # Every turn is trained once, behind exactly what it was sampled behind.
    ends = []
    for sequence in episode.sequences:
        starts = np.flatnonzero(np.diff(np.r_[False, sequence.sampled].astype(int)) == 1)
        for start in starts:
            (index,) = [i for i, t in enumerate(seen) if np.array_equal(t, sequence.tokens[:start])]
            ends.append(index)
    assert sorted(ends) == [0, 1, 2, 3, 4]


def test_weakness_12_thoughts_are_kept_only_where_that_is_asked_for(thinking_format, make_task):
    turns = [f"<think>\nThought {i}.\n</think>\n\n{t}" for i, t in enumerate(["Where?", FIND, "."])]
    environment = thinking_environment(thinking_format, policy=PolicyConfig(history="append"))
    episode, engine = play(environment, make_task(), Script(turns, user=["Lyon."]))
    last = prompts_of(engine, "policy")[-1]
    assert re.findall(r"Thought (\d)", last) == ["0", "1"] and len(episode.sequences) == 1


# 13. Tool names contain spaces and slashes and repeat within a category.


@pytest.mark.parametrize("name", ["Get Weather", "weather/today", "météo", "", "x" * 65])
def test_weakness_13_no_tool_has_a_name_that_cannot_be_called(tmp_path, name):
    function = {"name": name, "description": "Does it.", "parameters": {"type": "object"}}
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([{"type": "function", "function": function}]))
    with pytest.raises(ToolError, match="name"):
        load_repository(path)


def test_weakness_13_no_two_tools_have_one_name(tmp_path):
    function = {"name": "find", "description": "Does it.", "parameters": {"type": "object"}}
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([{"type": "function", "function": function}] * 2))
    with pytest.raises(ToolError, match="find"):
        load_repository(path)


def test_weakness_13_a_name_with_a_slash_is_no_tool(make_environment, make_task):
    call = '<tool_call>{"name": "travel/find hotels", "arguments": {"city": "Lyon"}}</tool_call>'
    episode, engine = play(make_environment(), make_task(), Script([call, "Done."]))
    answer = json.loads(next(m["content"] for m in episode.messages if m["role"] == "tool"))
    assert "unknown tool 'travel/find hotels'; available: find_hotels, book" in answer["error"]
    assert not prompts_of(engine, "tool") and episode.counts.valid_calls == 0


# 14. No abort rate, environment fidelity or verifier agreement is reported.


def test_weakness_14_an_episode_says_what_went_wrong_and_what_it_cost(make_environment, make_task):
    def flaky(request):
        return "no" if request.key[-1] == 0 else '{"result":{"x":1},"changes":[]}'

    bad = '<tool_call>{"name": "fly", "arguments": {}}</tool_call><tool_call>{</tool_call>'
    script = Script([FIND + bad, FIND, "Done."], overrides={"tool": flaky})
    episode, engine = play(make_environment(), make_task(world=HOTELS), script)
    record = json.loads(json.dumps(episode.to_json()))
    served = [request for request in engine.requests if request.role == "simulator"]
    counts = record["counts"]
    assert counts["simulator_requests"] == len(served)
    assert counts["simulator_retries"] == 1
    assert (counts["calls"], counts["valid_calls"], counts["malformed_calls"]) == (3, 2, 1)
    assert (counts["executed_calls"], counts["repeated_reads"]) == (2, 1)
    assert counts["policy_tokens"] == sum(int(s.sampled.sum()) for s in episode.sequences)
    # What the verifier thought, how sure it was, and what code held against the episode.
    assert len(record["verdict"]["parts"]) == episode.task.aspects.criteria == 5
    for part in record["verdict"]["parts"]:
        assert 0 < part["probability"] < 1 and part["met"] and part["reasoning"] and part["line"]
    assert {"criterion", "check", "reason"} == set(record["verdict"]["vetoes"][0])
    assert not all(record["verdict"]["criteria"].values())


@pytest.mark.parametrize("role", ["user", "tool", "verifier"])
def test_weakness_14_an_abort_has_its_cause(make_environment, make_task, role):
    script = Script(["Where?", FIND, "."], user=["L"], overrides={role: lambda request: "no"})
    episode, _ = play(make_environment(), make_task(), script)
    record = json.loads(json.dumps(episode.to_json()))
    assert record["cause"] == f"{role}_malformed" and record["cause"] in INVALID_CAUSES
    assert record["valid"] is False and record["reward"] is None
    assert "not an answer of the schema" in record["detail"]


def test_weakness_14_tasks_that_fail_are_typed_and_counted(make_environment, tools, aspects):
    rejections = collections.Counter()
    task = {"persona": "Ada.", "intent": "Two nights.", "query": "A place?"}
    calls = [{"name": "find_hotels", "values": {"city": "Lyon"}}] * 2
    environment = make_environment()
    engine = ScriptedEngine(
        environment.policy_format, lambda *_: json.dumps({**task, "expected_calls": calls})
    )
    coroutine = generate_task(environment, tools, aspects, (1, 1, 1), rejections=rejections)
    (failure,) = run([coroutine], {"policy": engine, "simulator": engine})
    assert failure.cause == "task_rejected" and rejections == {"missing_value": 2}
