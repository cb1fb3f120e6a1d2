"""An assistant that gets results and tells the user nothing has not met the intent."""

import json

import pytest
from test_episode import BOOK, FIND, Script, play
from test_verifier import BOOKED, FOUND, dialogue

from trustee_jax.environment import Evidence, PolicyConfig
from trustee_jax.environment.judges.rules import find_violations
from trustee_jax.simulator import CRITERIA

BAD = "<tool_call>{nonsense</tool_call>"
# What the least difficulty allows.
LEAST = {"assistant_turns": 2, "tool_turns": 1, "user_turns": 1, "criteria": 1}


def silent(episode) -> bool:
    vetoes = () if episode.verdict is None else episode.verdict.vetoes
    return "no_answer" in {veto.check for veto in vetoes}


@pytest.mark.parametrize(
    ("limits", "turns", "ended", "expected"),
    [
        (LEAST, [FIND + BOOK, "Booked."], "assistant_turns", False),
        # The right calls twice, and no word.
        (LEAST, [FIND + BOOK, FIND + BOOK], "assistant_turns", True),
        (LEAST, [FIND + BOOK, BAD], "assistant_turns", True),
        (LEAST, [FIND + BOOK, ""], "empty", True),
        (LEAST, [FIND + BOOK, ("<think>Half a th", "length")], "length", True),
        (LEAST, [FIND + BOOK, ("Half a sen", "length")], "length", False),
        (LEAST, [FIND + BOOK, ("<tool_call>{half", "length")], "length", True),
        # A word beside a call that was one too many is a word.
        (LEAST, [FIND + BOOK, "Booked. " + FIND], "assistant_turns", False),
        # A word before the results is none after them.
        (LEAST, ["One moment. " + FIND + BOOK, FIND], "assistant_turns", True),
        # Asked first, so that the only call is never answered: there is no result to tell.
        (LEAST, ["For how long?", FIND + BOOK], "assistant_turns", False),
        (LEAST | {"assistant_turns": 1}, [FIND + BOOK], "assistant_turns", False),
        ({"tool_turns": 1}, [FIND + BOOK, BOOK], "tool_turns", True),
        ({"tool_turns": 1}, ["How long?", FIND + BOOK, "Booked.", BOOK], "tool_turns", False),
        ({"user_turns": 1}, [FIND + BOOK, "Which?", "And which?"], "user_turns", False),
        # The last results count, not the first.
        ({"tool_turns": 2}, [FIND, "Which one?", BOOK, BOOK], "tool_turns", True),
    ],
)
def test_silence_is_a_veto_where_there_was_a_turn_to_speak(
    make_environment, make_task, limits, turns, ended, expected
):
    script = Script(turns, user=["Two nights.", "Thanks."])
    episode, _ = play(make_environment(), make_task(**limits), script)
    assert episode.ended == ended
    assert silent(episode) == expected
    assert episode.verdict.criteria["intent_met"] == (not expected) or not episode.calls[0].answer
    if expected and episode.task.aspects.criteria == 1:
        assert episode.reward == -1


def test_a_context_that_results_have_filled_leaves_no_turn(make_environment, make_task):
    environment = make_environment(policy=PolicyConfig(max_tokens=64))
    _, engine = play(environment, make_task(), Script([FIND + BOOK, "Booked."]))
    second = [request for request in engine.requests if request.role == "policy"][1]
    ends = set()
    for room in (-9, 0, 1, 63, 64, 99):
        script = Script([FIND + BOOK, ("<tool_call>", "length")])
        most = len(second.tokens) + room
        episode, _ = play(environment, make_task(), script, max_length=most)
        ends.add((episode.ended, len(script.policy)))
        assert silent(episode) == (episode.ended == "length")
    # No turn at all, a piece of one, and a whole one.
    assert ends == {("context", 1), ("context", 0), ("length", 0)}


def test_the_switches(make_environment, make_task):
    silence = [FIND + BOOK, FIND + BOOK]
    for options in ({"require_answer": False}, {"rules": False}):
        episode, _ = play(make_environment(**options), make_task(**LEAST), Script(silence))
        assert episode.reward == 1 and not silent(episode)
    rules, _ = play(make_environment(use=("rules",)), make_task(**LEAST), Script(silence))
    assert rules.reward == -1 and silent(rules)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Booked.", True),
        ("  \n", False),
        ('{"name": "book", "arguments": {}}', False),
        ('```json\n[{"name": "book", "arguments": {}}]\n```', False),
        ('I booked it: {"name": "book", "arguments": {}}', True),
        ('{"name": "book", "arguments": {}}\nThat is booked.', True),
        ('{"number": 4}', True),  # data, but told
        ('<tool_response>\n{"number": 4}\n</tool_response>', False),  # an imitated result
        ('<tool_response>\n{"number": 4', False),
        ("<tool_response>{}</tool_response> It is 4.<tool_response>{}</tool_response>", True),
        ("預訂好了", True),
    ],
)
def test_a_call_as_mere_text_says_nothing(make_environment, make_task, text, says):
    script = Script([FIND + BOOK, text])
    episode, _ = play(make_environment(), make_task(**LEAST), script)
    assert silent(episode) == (not says)


def test_hostile_texts_take_no_time_to_check(make_task):
    for text in (
        "{" * 100_000,
        "}" * 100_000,
        "```" * 50_000,
        "{}" * 50_000,
        " " * 100_000,
        "<tool_response>" * 20_000,
    ):
        messages = [*dialogue(FOUND, BOOKED), {"role": "assistant", "content": text}]
        messages[-1]["unmarked_calls"] = ["book"]
        find_violations(Evidence.read(make_task(), json.loads(json.dumps(messages))))


def test_it_can_be_left_out_of_the_checks(make_task):
    evidence = Evidence.read(make_task(), [*dialogue(FOUND, BOOKED), *dialogue("")[1:]])
    (found,) = find_violations(evidence)
    assert (found.criterion, found.check) == (CRITERIA[0], "no_answer") and found.reason
    assert find_violations(evidence, require_answer=False) == []
