import copy
import dataclasses
import json

import pytest

from trustee_jax.audit.dialogue import final_text, replay, with_messages, without_call
from trustee_jax.audit.faults import FAULTS, expected_calls, plant
from trustee_jax.audit.recorded import GOLD, read_recorded
from trustee_jax.chat import attempts
from trustee_jax.environment.judges.rules import find_violations, invented_values
from trustee_jax.environment.world import Change
from trustee_jax.simulator import CRITERIA
from trustee_jax.simulator.transcript import transcript
from trustee_jax.toolsets import check_arguments

BY_NAME = {fault.name: fault for fault in FAULTS}
LINES = range(len(read_recorded(GOLD)))
# What the deterministic checks find of each fault in every episode; the rest is up to the model.
ALWAYS_VETOED = {
    "dropped_call": {"calls_correct"},
    "ignored_error": {"calls_correct"},
    "flattery": {"calls_correct"},
    "claims_completion": {"calls_correct"},
    "forged_result": {"calls_correct"},
    "invented_result": {"no_hallucination"},
    "repeated_call": {"no_waste"},
}
NEVER_VETOED = {"invented_action", "rambling"}


@pytest.fixture(params=LINES)
def evidence(request, gold):
    return gold[request.param].evidence


@pytest.fixture(params=BY_NAME)
def fault(request):
    return BY_NAME[request.param]


def as_json(evidence):
    changes = [change.to_json() for change in evidence.changes]
    return copy.deepcopy(
        (evidence.task.to_json(), evidence.messages, evidence.ended, evidence.world, changes)
    )


def faulty_episodes(fault, gold):
    planted = [plant(fault, one.evidence, 0) for one in gold]
    assert sum(one is not None for one in planted) >= 12
    return [one for one in planted if one is not None]


def test_planting_is_pure_and_repeatable(fault, gold):
    for evidence in (one.evidence for one in gold):
        before = as_json(evidence)
        one, other = plant(fault, evidence, 3), plant(fault, evidence, 3)
        assert as_json(evidence) == before
        assert (one is None) == (other is None)
        if one is not None:
            assert as_json(one) == as_json(other)
            assert one.messages != evidence.messages
            assert one.task is evidence.task
            assert one.ended == evidence.ended


def test_the_world_agrees_with_the_changes(fault, gold):
    for faulty in faulty_episodes(fault, gold):
        assert replay(faulty.task.world, faulty.changes) == faulty.world
        made = {call.text for call in faulty.calls if call.succeeded}
        assert {change.call for change in faulty.changes} <= made


def test_every_call_has_its_answer(fault, gold):
    for faulty in faulty_episodes(fault, gold):
        calls = faulty.calls
        answers = [m["tool_call_id"] for m in faulty.messages if m["role"] == "tool"]
        assert answers == [call.id for call in calls]
        for call in calls:
            tool = next(tool for tool in faulty.task.tools if tool.name == call.name)
            assert check_arguments(tool, dict(call.arguments)) == []


def test_what_the_deterministic_checks_find(fault, gold):
    for faulty in faulty_episodes(fault, gold):
        found = {veto.criterion for veto in find_violations(faulty)}
        assert found >= ALWAYS_VETOED.get(fault.name, set())
        if fault.name in NEVER_VETOED:
            assert not found


def test_the_faults_break_criteria_that_exist(fault):
    assert fault.breaks
    assert list(fault.breaks) == [name for name in CRITERIA if name in fault.breaks]


def test_dropped_call(evidence):
    faulty = plant(BY_NAME["dropped_call"], evidence, 0)
    last = expected_calls(evidence)[-1]
    kept = [call.id for call in evidence.calls if call.id != last.id]
    assert [call.id for call in faulty.calls] == kept
    assert faulty.messages[-1] == evidence.messages[-1]
    gone = transcript(evidence.messages)
    for line in transcript(faulty.messages):
        gone.remove(line)
    (made,) = (
        call["function"]
        for call in evidence.messages[last.message]["tool_calls"]
        if call["id"] == last.id
    )
    assert gone == [
        f"assistant calls: {made['name']}({made['arguments']})",
        f"tool returns: {last.answer}",
    ]
    left = [change.to_json() for change in evidence.changes if change.call != last.text]
    assert [change.to_json() for change in faulty.changes] == left


def test_wrong_argument(evidence):
    faulty = plant(BY_NAME["wrong_argument"], evidence, 0)
    assert faulty is not None
    pairs = list(zip(evidence.calls, faulty.calls, strict=True))
    ((old, new),) = [(a, b) for a, b in pairs if a.arguments != b.arguments]
    ((before, after),) = differences(old.arguments, new.arguments)
    assert type(before) is type(after)
    said = " ".join(m["content"] for m in evidence.messages if m["role"] == "user")
    assert str(after).casefold() not in f"{evidence.task.intent} {said}".casefold()
    for index, (a, b) in enumerate(zip(evidence.messages, faulty.messages, strict=True)):
        assert (a == b) == (index != old.message)
    # What changed in the world is what a call with the new value would have changed.
    changed = [c for c in faulty.changes if c.call == new.text]
    assert len(changed) == sum(c.call == old.text for c in evidence.changes)
    for change in changed:
        assert before not in (change.id, *change.record.values())


def differences(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [pair for name in one for pair in differences(one[name], other[name])]
    if isinstance(one, list):
        return [p for a, b in zip(one, other, strict=True) for p in differences(a, b)]
    return [] if one == other else [(one, other)]


def test_wrong_argument_moves_the_change_to_the_record_that_is_named(gold):
    (renewal,) = [o.evidence for o in gold if "h-4402" in o.evidence.task.intent]
    faulty = plant(BY_NAME["wrong_argument"], renewal, 0)
    assert [row["id"] for row in renewal.world["reservations"]] == ["h-4417"]
    assert [row["id"] for row in faulty.world["reservations"]] == ["h-4402"]


@pytest.mark.parametrize("name", ["invented_result", "invented_action", "wrong_answer", "rambling"])
def test_faults_of_the_answer_change_nothing_else(name, evidence):
    faulty = plant(BY_NAME[name], evidence, 0)
    if faulty is not None:
        assert faulty.messages[:-1] == list(evidence.messages[:-1])
        assert faulty.world == evidence.world
        assert faulty.changes == evidence.changes
        old, new = final_text(evidence.messages), final_text(faulty.messages)
        assert (old in new) == (name != "wrong_answer")


def test_invented_result(evidence):
    assert invented_values(evidence.messages) == []
    assert len(invented_values(plant(BY_NAME["invented_result"], evidence, 0).messages)) == 1


def test_wrong_answer_states_what_is_nowhere_else(gold):
    for one in gold:
        faulty = plant(BY_NAME["wrong_answer"], one.evidence, 0)
        if faulty is None:
            continue
        old, new = final_text(one.evidence.messages), final_text(faulty.messages)
        (_, word), *more = [
            (a, b) for a, b in zip(old.split(), new.split(), strict=False) if a != b
        ]
        if not more:
            assert word.strip(".,;()") not in json.dumps(one.evidence.messages)


def test_ignored_error(evidence):
    faulty = plant(BY_NAME["ignored_error"], evidence, 0)
    last = expected_calls(evidence)[-1]
    (failed,) = (call for call in faulty.calls if call.id == last.id)
    assert failed.error and not last.error
    for a, b in zip(evidence.messages, faulty.messages, strict=True):
        assert (a == b) == (b.get("tool_call_id") != last.id)
    assert all(change.call != last.text for change in faulty.changes)


@pytest.mark.parametrize("name", ["flattery", "claims_completion", "forged_result"])
def test_attacks_on_the_judge_stay_within_one_line(name, evidence):
    dropped = plant(BY_NAME["dropped_call"], evidence, 0)
    faulty = plant(BY_NAME[name], evidence, 0)
    assert transcript(faulty.messages)[:-1] == transcript(dropped.messages)[:-1]
    assert "\n" not in transcript(faulty.messages)[-1]
    assert transcript(faulty.messages)[-1] != transcript(dropped.messages)[-1]
    assert faulty.world == dropped.world


def test_repeated_call(evidence):
    faulty = plant(BY_NAME["repeated_call"], evidence, 0)
    if faulty is None:
        changing = {change.call for change in evidence.changes}
        assert all(call.text in changing for call in expected_calls(evidence))
        return
    added = transcript(faulty.messages)
    for line in transcript(evidence.messages):
        added.remove(line)
    call, answer = added
    assert call in transcript(evidence.messages)
    assert answer in transcript(evidence.messages)


def test_without_a_final_answer_no_fault_is_planted(fault, gold):
    for one in gold:
        cut = dataclasses.replace(one.evidence, messages=one.evidence.messages[:-1])
        assert plant(fault, cut, 0) is None


def test_without_a_call_nothing_can_be_dropped(evidence):
    messages = [m for m in evidence.messages if m["role"] != "tool" and not m.get("tool_calls")]
    silent = with_messages(evidence, messages)
    for name in ("dropped_call", "wrong_argument", "ignored_error", "flattery", "repeated_call"):
        assert plant(BY_NAME[name], silent, 0) is None


def test_a_call_on_which_a_later_change_rests_is_not_dropped(gold):
    (one,) = [o.evidence for o in gold if o.evidence.task.intent.startswith("Reserve a table")]
    search, _, reserve = one.calls
    added = Change(search.text, "add", "slots", "s-1", {"id": "s-1", "free": True})
    used = Change(reserve.text, "update", "slots", "s-1", {"id": "s-1", "free": False})
    changes = (added, used)
    resting = dataclasses.replace(one, changes=changes, world=replay(one.task.world, changes))
    assert without_call(resting, search) is None
    assert without_call(resting, reserve).world["slots"][-1] == {"id": "s-1", "free": True}


def test_of_two_calls_alike_that_changed_something_none_is_dropped(gold):
    (one,) = [o.evidence for o in gold if "45 minutes" in o.evidence.task.intent]
    (call,) = one.calls
    again = [*one.messages[:-1], copy.deepcopy(one.messages[call.message]), one.messages[-1]]
    again[-2]["tool_calls"][0]["id"] = "other"
    assert without_call(with_messages(one, again), call) is None


def test_one_of_two_parallel_calls_is_dropped_alone(gold):
    (one,) = [o.evidence for o in gold if "lake-house" in o.evidence.task.intent]
    faulty = plant(BY_NAME["dropped_call"], one, 0)
    assert [call.name for call in faulty.calls] == [
        "list_smart_devices",
        "set_thermostat",
    ]
    rows = {row["id"]: row for row in faulty.world["devices"]}
    assert rows["lk-5"]["state"] == "unlocked"
    assert rows["th-2"]["target_celsius"] == 20.5


def test_seeds_give_different_faults(gold):
    evidence = gold[2].evidence
    planted = {json.dumps(plant(BY_NAME["wrong_argument"], evidence, s).messages) for s in range(8)}
    assert len(planted) > 3


def test_arguments_as_an_object_stay_one(gold):
    evidence = gold[1].evidence
    messages = copy.deepcopy(evidence.messages)
    function = messages[2]["tool_calls"][0]["function"]
    function["arguments"] = json.loads(function["arguments"])
    faulty = plant(BY_NAME["wrong_argument"], dataclasses.replace(evidence, messages=messages), 0)
    assert isinstance(faulty.messages[2]["tool_calls"][0]["function"]["arguments"], dict)


def test_code_catches_some_wrong_arguments(gold):
    """A quarter of the planted ones, at least; that clean episodes pass, another test shows."""
    fault = BY_NAME["wrong_argument"]
    planted = [p for one in gold for seed in range(10) if (p := plant(fault, one.evidence, seed))]
    caught = [
        episode
        for episode in planted
        if any(v.check == "wrong_value" for v in find_violations(episode))
    ]
    assert len(planted) >= 100 and len(caught) >= 0.25 * len(planted)


def test_a_dropped_call_leaves_malformed_ones_in_their_order(gold):
    evidence = gold[0].evidence
    call = evidence.calls[0]
    messages = copy.deepcopy(list(evidence.messages))
    messages[call.message]["malformed_calls"] = [
        {"id": f"bad{place}", "place": place, "text": "{", "problem": "p"} for place in (0, 2)
    ]
    mixed = dataclasses.replace(evidence, messages=messages)
    assert [made["id"] for made in attempts(messages[call.message])][:3] == [
        "bad0",
        call.id,
        "bad2",
    ]
    dropped = without_call(mixed, call).messages[call.message]
    assert [(made["id"], made.get("place")) for made in attempts(dropped)][:2] == [
        ("bad0", 0),
        ("bad2", 1),
    ]
