import copy
import dataclasses
import json

import pytest

from trustee_jax.audit.dialogue import final_text, replay, with_messages
from trustee_jax.audit.recorded import (
    GOLD,
    AuditError,
    clean_episodes,
    find_flaw,
    read_recorded,
)
from trustee_jax.environment.judges.rules import find_violations
from trustee_jax.environment.solvability import missing_values, needed_values
from trustee_jax.jsonl import read
from trustee_jax.toolsets import check_arguments, load_repository

LINES = list(read(GOLD))


@pytest.fixture(scope="module")
def starter():
    return {tool.name: tool for tool in load_repository("starter").tools}


def test_there_are_enough_of_many_kinds(gold):
    assert len(gold) >= 12
    assert len({one.evidence.task.tools[0].category for one in gold}) >= 12
    lengths = {len(one.evidence.task.expected_calls) for one in gold}
    assert lengths == {1, 2, 3}
    operations = {change.operation for one in gold for change in one.evidence.changes}
    assert operations == {"add", "update", "remove"}


@pytest.mark.parametrize("line", range(len(LINES)))
def test_a_gold_episode_is_one_that_a_run_could_record(line, gold, starter):
    evidence = gold[line].evidence
    task, messages = evidence.task, evidence.messages
    assert all(starter[tool.name] == tool for tool in task.tools)
    calls, results = evidence.calls, {m.get("tool_call_id"): m for m in messages}
    for call in calls:
        assert check_arguments(starter[call.name], dict(call.arguments)) == []
        assert results[call.id]["name"] == call.name
        content = results[call.id]["content"]
        assert call.succeeded and call.answer == content
        assert len(content) <= 512
        assert isinstance(json.loads(content), dict)
    assert [m["role"] for m in messages[:2]] == ["system", "user"]
    assert messages[1]["content"] == task.query
    assert final_text(messages)
    turns = [message for message in messages if message["role"] == "assistant"]
    assert len(turns) <= task.aspects.assistant_turns
    assert sum(bool(turn.get("tool_calls")) for turn in turns) <= task.aspects.tool_turns
    assert sum(m["role"] == "user" for m in messages) - 1 <= task.aspects.user_turns
    assert task.aspects.criteria == 5
    assert LINES[line]["valid"] and LINES[line]["reward"] == 1.0


@pytest.mark.parametrize("line", range(len(LINES)))
def test_a_gold_episode_is_clean(line, gold):
    evidence = gold[line].evidence
    assert find_flaw(evidence) is None
    assert find_violations(evidence) == []


@pytest.mark.parametrize("line", range(len(LINES)))
def test_the_task_of_a_gold_episode_can_be_solved(line, gold):
    task = gold[line].evidence.task
    tools = {tool.name: tool for tool in task.tools}
    planned = [
        {"name": name, "values": values}
        for name, values in zip(task.expected_calls, task.expected_values, strict=True)
    ]
    assert missing_values(planned, task.intent) == []
    for call in planned:
        assert call["values"].keys() == needed_values(tools[call["name"]]).keys()


@pytest.mark.parametrize("line", range(len(LINES)))
def test_the_world_of_a_gold_episode_follows_from_its_changes(line, gold):
    evidence = gold[line].evidence
    assert replay(evidence.task.world, evidence.changes) == evidence.world
    made = {call.text for call in evidence.calls}
    assert {change.call for change in evidence.changes} <= made


def test_what_code_cannot_vouch_for_is_not_clean(gold):
    evidence = gold[1].evidence
    messages = evidence.messages

    def flaw(**changes):
        changed = dataclasses.replace(evidence, **changes)
        return find_flaw(with_messages(changed, changed.messages))

    def with_task(**changes):
        return flaw(task=dataclasses.replace(evidence.task, **changes))

    def with_arguments(arguments):
        changed = copy.deepcopy(messages)
        changed[2]["tool_calls"][0]["function"]["arguments"] = json.dumps(arguments)
        return flaw(messages=changed)

    answer = messages[-1]
    failed = [*messages[:3], {**messages[3], "content": '{"error":"no"}'}, answer]
    assert flaw(ended="user_turns") == "the user did not end it"
    assert flaw(messages=messages[:-1]) == "it has no final answer"
    assert flaw(messages=[*messages[:-1], {**answer, "content": " "}]) == "it has no final answer"
    assert flaw(messages=failed) == "a call failed"
    assert with_task(expected_calls=("get_exchange_rate",)) == "the calls are not the expected ones"
    assert with_task(expected_calls=()) == "the calls are not the expected ones"
    yen = {"from_currency": "EUR", "to_currencies": ["JPY"]}
    assert with_arguments({"amount": 520, **yen}) == "an expected value is not among the arguments"
    assert with_arguments({"amount": 250, **yen}) is None
    stated = {**answer, "content": "You get 77,123 yen."}
    assert flaw(messages=[*messages[:-1], stated]) == "a deterministic check objects"
    long = {**answer, "content": "Well. " * 100}
    assert flaw(messages=[*messages[:-1], long]) == "a message is long"


def test_flaws_of_a_file_without_clean_episodes_are_counted(tmp_path):
    path = tmp_path / "episodes.jsonl"
    lines = [copy.deepcopy(LINES[i]) for i in range(4)]
    lines[0]["ended"] = None  # Broken off: not even looked at.
    lines[1]["valid"] = False
    lines[2]["ended"] = lines[3]["ended"] = "length"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    recorded = read_recorded(path)
    assert [one.name for one in recorded] == [f"episodes.jsonl:{n}" for n in (2, 3, 4)]
    with pytest.raises(AuditError) as raised:
        clean_episodes(recorded, str(path))
    message = str(raised.value)
    assert "none of its 3 episodes" in message
    assert "2 x the user did not end it; 1 x it is not valid" in message
    assert "--gold" in message


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda e: e.pop("task"), "line 2: this episode lacks the field 'task'"),
        (lambda e: e["task"].pop("query"), "line 2: this episode lacks the field 'query'"),
        (lambda e: e["task"]["aspects"].update(colour=1), "line 2: this episode is none"),
        (lambda e: e.update(messages=[]), "line 2: this episode is none"),
        (lambda e: e.update(changes=[{"call": "f()"}]), "line 2: this episode lacks the field"),
    ],
)
def test_a_line_that_is_no_episode_is_named(tmp_path, change, what):
    path = tmp_path / "episodes.jsonl"
    broken = copy.deepcopy(LINES[1])
    change(broken)
    path.write_text("".join(json.dumps(line) + "\n" for line in (LINES[0], broken)))
    with pytest.raises(AuditError, match=what):
        read_recorded(path)


def test_old_files_without_world_can_be_read(tmp_path):
    old = copy.deepcopy(LINES[0])
    for part, names in ((old, ("world", "changes", "segments")), (old["task"], ("world",))):
        for name in names:
            del part[name]
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(old) + "\n")
    (one,) = read_recorded(path)
    assert one.evidence.world is None
    assert one.evidence.changes == ()
    assert one.flaw is None
