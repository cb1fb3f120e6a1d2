import json
import math

import numpy as np
import pytest
from environments import environment_of
from scripted_engine import ScriptedEngine
from test_episode import BOOK, FIND, Script, play, prompts_of, verdict

from trustee_jax.chat import ChatFormat
from trustee_jax.engine.types import Completion
from trustee_jax.environment import (
    CriterionVerdict,
    Environment,
    Evidence,
    RuleViolation,
    Task,
    Verdict,
    run,
)
from trustee_jax.environment.judges.rules import find_violations, invented_values
from trustee_jax.environment.world import Change
from trustee_jax.simulator import CRITERIA
from trustee_jax.streams import Purpose
from trustee_jax.weights import open_checkpoint

CLEAN = [FIND, BOOK, "Booked."]


@pytest.mark.parametrize("mode", ["reasoned", "logprobs", "joint"])
def test_each_mode_asks_its_questions(make_environment, make_task, mode):
    environment = make_environment(mode=mode)
    episode, engine = play(environment, make_task(criteria=4), Script(CLEAN))
    asked = [r for r in engine.requests if r.key[0] == Purpose.VERIFIER]
    assert len(asked) == (1 if mode == "joint" else 4)
    parts = episode.verdict.parts
    assert [part.criterion for part in parts] == list(CRITERIA[:4])
    for request, part in zip(asked, parts, strict=False):
        assert bool(request.report_logits_of) == (mode != "joint")
        # Nothing is drawn where only probabilities are read.
        assert (request.sampling.temperature == 0) == (mode == "logprobs")
        assert (part.reasoning == "") == (mode == "logprobs")
        assert (part.probability is None) == (part.line is None) == (mode == "joint")


def test_lines_can_be_cited(make_environment, make_task):
    _, engine = play(make_environment(), make_task(), Script(CLEAN))
    (lines,) = {
        tuple(r.schema["properties"]["line"]["enum"])
        for r in engine.requests
        if r.key[0] == Purpose.VERIFIER
    }
    text = prompts_of(engine, "verifier")[0]
    # query, call, result, call, result, message
    assert lines == (1, 2, 3, 4, 5, 6)
    assert "\n6. assistant:" in text and "\n7. " not in text


@pytest.mark.parametrize("mode", ["reasoned", "joint"])
@pytest.mark.parametrize(
    ("reasoning", "recites"),
    [
        ("The user got everything they wanted, backed by tool results.", True),
        ("Is this true of the conversation: no call was redundant, wrong or merely a trial?", True),
        ("The facts that decide, in one or two sentences; in doubt false.", True),
        ("The expected tools were called with right arguments, and no call failed: book.", True),
        ("Yes.", False),
        ("", False),
        ("The user wanted two nights in Lyon, and book returned the number 2.", False),
        ("No tool returned the code that the last message gives.", False),
        ("The hotel was booked with right arguments, but nothing backs the price.", False),
    ],
)
def test_reasons_that_recite_the_question(make_environment, make_task, mode, reasoning, recites):
    def answers(request):
        return json.dumps(json.loads(verdict(request)) | {"reasoning": reasoning})

    script = Script(CLEAN, overrides={"verifier": answers})
    episode, _ = play(make_environment(mode=mode), make_task(), script)
    assert [part.recites for part in episode.verdict.parts] == [recites] * 5
    assert episode.to_json()["verdict"]["parts"][0]["recites"] == recites
    # It is told, and changes nothing.
    assert episode.reward == 1


def judge(environment: Environment, task: Task, logits: float, answer: bool) -> CriterionVerdict:
    """The part of a verdict whose log-odds of true are `logits`, while the sample is `answer`."""

    class Engine(ScriptedEngine):
        def step(self):
            done = []
            for ticket, completion in super().step():
                (request,) = self.requests
                trues = len(environment.simulator.boolean_starts[0])
                row = np.full(len(request.report_logits_of), -math.inf, np.float32)
                row[trues - 1], row[-1] = logits, 0.0
                rows = np.full((len(completion.tokens), len(row)), 1e3, np.float32)
                # Only the place where the boolean begins is read.
                if (place := environment.simulator.boolean_place(completion.tokens)) is not None:
                    rows[place] = row
                done.append(
                    (ticket, Completion(completion.tokens, completion.logprobs, "stop", rows))
                )
            return done

    evidence = Evidence.read(task, ({"role": "user", "content": "Hi"},))
    said = json.dumps({"reasoning": "r", "line": 1, "met": answer}, separators=(",", ":"))
    engine = Engine(environment.policy_format, lambda *_: said)
    (found,) = run([environment.judge.judge(evidence, (1,))], {"simulator": engine})
    (part,) = found.parts
    return part


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("logits", [-3.0, -0.1, 0.1, 3.0])
def test_probability_and_not_the_sample_decides(make_environment, make_task, logits, answer):
    environment = make_environment(rules=False)
    part = judge(environment, make_task(criteria=1), logits, answer)
    assert part.probability == pytest.approx(1 / (1 + math.exp(-logits)), abs=1e-6)
    assert part.met == (logits > 0)


def test_threshold(make_environment, make_task):
    for threshold, met in ((0.7, True), (0.8, False)):
        environment = make_environment(rules=False, threshold=threshold)
        assert judge(environment, make_task(criteria=1), math.log(3), True).met == met


def test_the_place_of_the_boolean(make_environment):
    environment = make_environment()
    format = environment.policy_format
    for text in (
        '{"line":3,"met":true}',
        '{"line":12,"met":false}',
        '{"reasoning":"It says true}","line":1,"met":false}',
        '{"reasoning":"é😀","line":1,"met":true}',
    ):
        ids = format.encode(text)
        place = environment.simulator.boolean_place(ids)
        rest = format.decode(ids[place:])
        assert rest in ("true}", "false}") and format.decode(ids[:place]) + rest == text
    assert environment.simulator.boolean_place(format.encode('{"line":1')) is None
    true, false = environment.simulator.boolean_starts
    assert all("true".startswith(format.decode([token])) for token in true)
    assert all("false".startswith(format.decode([token])) for token in false)
    assert len(true) >= 1 and not set(true) & set(false)


@pytest.mark.parametrize("tokens", [(), ("true", "false"), ("tr", "f"), (":true", ":false")])
def test_other_tokenizers(make_task, tokens):
    """`true` is one token, several, or part of one that begins before it."""
    tokenizer = open_checkpoint("random:qwen2").tokenizer()
    tokenizer.add_tokens(list(tokens))
    environment = environment_of(ChatFormat(tokenizer), rules=False)
    for answer in (True, False):
        part = judge(environment, make_task(criteria=1), -2.0, answer)
        if tokens[:1] == (":true",):
            assert part.probability is None and part.met == answer
        else:
            assert part.probability == pytest.approx(1 / (1 + math.exp(2)), abs=1e-6)
            assert not part.met
    true, false = environment.simulator.boolean_starts
    decoded = {tokenizer.decode([token]) for token in (*true, *false)}
    assert set(tokens) - {":true", ":false"} <= decoded


def test_a_verdict_that_cannot_be_had_is_no_reward(make_environment, make_task):
    def third_fails(request):
        return "no" if request.key[-2] == 2 else verdict(request)

    script = Script(CLEAN, overrides={"verifier": third_fails})
    episode, _ = play(make_environment(), make_task(), script)
    assert (episode.cause, episode.reward, episode.verdict) == ("verifier_malformed", None, None)


def test_evidence_survives_a_file(make_environment, make_task):
    """What the file of episodes holds is all that a later judge needs."""
    world = {"hotels": [{"id": "H1"}]}
    change = {"operation": "remove", "collection": "hotels", "id": "H1"}
    answers = {"tool": lambda request: json.dumps({"result": {"ok": True}, "changes": [change]})}
    task = make_task(world=world, tool_turns=1)
    episode, engine = play(make_environment(), task, Script([BOOK, "Done."], overrides=answers))
    record = json.loads(json.dumps(episode.to_json()))
    evidence = Evidence.read(
        Task.from_json(record["task"]),
        record["messages"],
        record["ended"],
        world=record["world"],
        changes=[Change.from_json(change) for change in record["changes"]],
    )
    assert evidence.calls == episode.calls
    assert [call.to_json() for call in evidence.calls] == record["calls"]
    again = ScriptedEngine(engine.format, Script([]))
    (second,) = run([make_environment().judge.judge(evidence, (9, 9))], {"simulator": again})
    assert second.to_json() == episode.verdict.to_json()
    assert prompts_of(again, "verifier") == prompts_of(engine, "verifier")


# Vetoes.


def dialogue(*turns):
    """A user's wish, then turns: ("call", name, arguments, result) or a text of the assistant."""
    messages = [{"role": "user", "content": "Two nights in Lyon from 3 May, at most 180 euros."}]
    for index, turn in enumerate(turns):
        if isinstance(turn, str):
            messages.append({"role": "assistant", "content": turn})
            continue
        _, name, arguments, result = turn
        id = f"call_{index}"
        function = {"name": name, "arguments": json.dumps(arguments)}
        messages.append(
            {"role": "assistant", "content": "", "tool_calls": [{"id": id, "function": function}]}
        )
        if result is not None:
            messages.append({"role": "tool", "tool_call_id": id, "name": name, "content": result})
    return messages


FOUND = ("call", "find_hotels", {"city": "Lyon"}, '{"hotel":"Ibis","price":79.5,"code":"LY-4471"}')
BOOKED = ("call", "book", {"hotel": "Ibis", "nights": 2}, '{"number":"BK20391"}')


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([FOUND, BOOKED, "Booked: BK20391, 159 euros."], set()),
        ([FOUND, BOOKED, "Your code is BK20392."], {("no_hallucination", "invented_value")}),
        ([FOUND, BOOKED, "That is 412 euros."], {("no_hallucination", "invented_value")}),
        ([FOUND, "Shall I book?"], {("calls_correct", "expected_call")}),
        (["I booked it."], {("calls_correct", "expected_call"), ("intent_met", "expected_call")}),
        ([FOUND, FOUND, BOOKED, "Done."], {("no_waste", "repeated_call")}),
        (
            [FOUND, ("call", "fly", {}, '{"error":"unknown tool"}'), BOOKED, "Done."],
            {("no_hallucination", "unknown_tool"), ("no_waste", "failed_call")},
        ),
        (
            [FOUND, ("call", "book", {"hotel": "x"}, '{"error":"missing"}'), BOOKED, "Done."],
            {("no_waste", "failed_call")},
        ),
        (
            [FOUND, ("call", "book", {"hotel": "Ibis", "nights": 2}, None)],
            {("calls_correct", "expected_call"), ("intent_met", "no_answer")},
        ),
        (  # A hotel that is full is nobody's waste.
            [FOUND, ("call", "book", {"hotel": "Ibis", "nights": 2}, '{"error":"full"}'), "Full."],
            {("calls_correct", "expected_call")},
        ),
    ],
)  # fmt: skip
def test_what_code_can_tell(make_task, turns, expected):
    found = find_violations(Evidence.read(make_task(), dialogue(*turns)))
    assert {(veto.criterion, veto.check) for veto in found} == expected
    assert all(veto.reason for veto in found)


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        ('{"error":"full"}', True),
        ('{"message":"sold out","error":true}', True),
        ('{"error":"' + "x" * 500, True),  # cut
        ('{"error":{"code":404}}', True),
        ('{"error":false,"number":"BK20391"}', False),
        ('{"error":"","number":"BK20391"}', False),
        ('{"error":"None","number":"BK20391"}', False),
        ('{"error":0,"number":"BK20391"}', False),
        ('{"error":"","list":["' + "x" * 500, False),
        ('{"errors":["none"]}', False),
        ('["error"]', False),
    ],
)
def test_an_error_is_one_that_says_something(make_task, answer, failed):
    turns = FOUND, ("call", "book", {"hotel": "Ibis", "nights": 2}, answer), "Done."
    found = {veto.check for veto in find_violations(Evidence.read(make_task(), dialogue(*turns)))}
    assert ("expected_call" in found) == failed


def test_a_read_after_a_change_is_no_repetition(make_task):
    later = ("call", "find_hotels", {"city": "Lyon"}, '{"hotel":"none left"}')
    assert (
        find_violations(Evidence.read(make_task(), dialogue(FOUND, BOOKED, later, "Done."))) == []
    )


def test_without_expected_calls_they_are_not_held_against_anyone(make_task):
    assert (
        find_violations(Evidence.read(make_task(), dialogue("Sorry.")), expected_calls=False) == []
    )


@pytest.mark.parametrize(
    ("text", "invented"),
    [
        ("I found 3 hotels; 1. Ibis at 79.50.", []),  # counts, and another way to write 79.5
        ("Two nights cost 159.00 euros, 21 less than your 180.", []),  # product, difference
        ("Rounded, 80 a night.", []),
        ("Code LY-4471, ly-4471.", []),
        ("See you on 03/05 at 14:00.", []),
        ("It costs 1,250 euros.", ["1,250"]),
        ("It costs 79.6 euros.", ["79.6"]),
        ("Code LY-4472", ["LY-4472"]),
        ("Call 0478123456.", ["0478123456"]),
    ],
)
def test_invented_values(text, invented):
    assert invented_values(dialogue(FOUND, text)) == invented


def test_thousands_and_times_are_read_as_people_write_them():
    result = ("call", "f", {}, '{"people":1250000,"opens":"09:45","when":"2026-11-24"}')
    said = "1,250,000 people; 1250000; opens 9:45; on 24.11.2026"
    assert invented_values(dialogue(result, said)) == []


def test_what_the_assistant_said_is_no_source():
    assert invented_values(dialogue("It is 4711.", "As I said: 4711.")) == ["4711"]
    call = ("call", "f", {"code": "ZX-9999"}, '{"ok":true}')
    assert invented_values(dialogue(call, "Done with ZX-9999.")) == ["ZX-9999"]


def test_hostile_texts_take_no_time_to_check(make_task):
    for text in ("9" * 100_000, "1," * 50_000, "a1-" * 30_000, "1.2.3 " * 20_000, "٣" * 10_000):
        find_violations(Evidence.read(make_task(), dialogue(FOUND, text, BOOKED, text)))


def test_vetoes_only_lower():
    rng = np.random.default_rng(0)
    for _ in range(300):
        count = int(rng.integers(1, 6))
        parts = tuple(CriterionVerdict(name, bool(rng.integers(2))) for name in CRITERIA[:count])
        vetoed = [name for name in CRITERIA[:count] if rng.random() < 0.3]
        plain = Verdict("reasoned", parts)
        lowered = Verdict(
            "reasoned", parts, tuple(RuleViolation(name, "c", "r") for name in vetoed)
        )
        assert lowered.reward <= plain.reward
        for name in CRITERIA[:count]:
            assert lowered.criteria[name] == (plain.criteria[name] and name not in vetoed)


def test_vetoes_of_criteria_that_do_not_count_yet_are_left_out(make_environment, make_task):
    repeated = [FIND, FIND, "Done."]
    strict, _ = play(make_environment(), make_task(criteria=5), Script(repeated))
    assert "no_waste" not in {v.criterion for v in strict.verdict.vetoes}  # results differ
    assert "calls_correct" in {v.criterion for v in strict.verdict.vetoes}
    lenient, _ = play(make_environment(), make_task(criteria=1), Script(repeated))
    assert lenient.verdict.vetoes == () and lenient.reward == 1.0
