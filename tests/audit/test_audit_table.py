import dataclasses
import io
import json

import pytest
from rich.console import Console
from scripted_verifier import ScriptedVerifier

from trustee_jax.audit.audit import AuditedModel, AuditOptions, audit, make_plan
from trustee_jax.audit.faults import FAULTS
from trustee_jax.audit.judging import Journal, Judgement, ask_all, second_look
from trustee_jax.audit.recorded import AuditError
from trustee_jax.audit.summary import summarize
from trustee_jax.environment import EnvironmentConfig
from trustee_jax.environment.world import record_lines

BY_NAME = {fault.name: fault for fault in FAULTS}


def chosen(*names):
    return tuple(BY_NAME[name] for name in names)


def ask(plan, judges, engine, lanes=2):
    judgements = []
    ask_all(
        plan.groups,
        judges,
        engine,
        lanes=lanes,
        on_judgement=lambda question, judgement: judgements.append(judgement),
    )
    return judgements


def test_a_table_computed_by_hand(gold, make_judge, chat_format):
    # Weather, currency and a movie: read-only, one call each.
    recorded = [gold[0], gold[1], gold[13]]

    def opinion(criterion, prompt):
        if "KX" in prompt or "This was asked for" in prompt:  # The invented result.
            if "Porto" in prompt:
                return None
            return 0.9 if criterion != "no_hallucination" else 0.3 if "yen" in prompt else 0.6
        if "assistant calls: " not in prompt:  # The dropped call.
            return {"intent_met": 0.2 if "yen" in prompt else 0.8, "calls_correct": 0.7}[criterion]
        return 0.4 if criterion == "concise" and "Bergen" in prompt else 0.9

    engine = ScriptedVerifier(chat_format, opinion)
    options = AuditOptions(
        modes=("logprobs",), faults=chosen("dropped_call", "invented_result"), second_opinions=0
    )
    plan = make_plan(recorded, options)
    judgements = ask(plan, {"logprobs": make_judge("logprobs")}, engine)
    summary = summarize(judgements)["logprobs"]

    dropped = summary.faults["dropped_call"]
    assert (dropped.model.count, dropped.model.of) == (1, 3)  # currency
    assert (dropped.vetoed.count, dropped.vetoed.of) == (3, 3)
    assert dropped.by_model["intent_met"].count == 1
    assert dropped.by_model["calls_correct"].count == 0
    invented = summary.faults["invented_result"]
    assert (invented.model.count, invented.model.of) == (1, 2)
    assert (invented.vetoed.count, invented.vetoed.of) == (2, 2)
    assert invented.unavailable == {"verifier_refused": 1}
    # Below 0.9 in all; the one without a verdict is no pair.
    assert dataclasses.astuple(invented.ranked["no_hallucination"]) == (2, 2)
    assert dataclasses.astuple(dropped.ranked["intent_met"]) == (3, 3)
    assert summary.clean.ranked == {}
    assert (summary.clean.model.count, summary.clean.model.of) == (1, 3)
    assert (summary.clean.vetoed.count, summary.clean.vetoed.of) == (1, 3)
    assert {n: r.count for n, r in summary.clean.by_model.items() if r.count} == {"concise": 1}

    # Clean: 14 x 0.9 and 0.4, all met. Dropped: 0.2, 0.8, 0.8 and 3 x 0.7; invented: 0.3, 0.6.
    found = summary.calibration
    assert found.count == 15 + 6 + 2
    errors = 14 * 0.1**2 + 0.6**2 + (0.2**2 + 2 * 0.8**2 + 3 * 0.7**2) + (0.3**2 + 0.6**2)
    assert found.brier == pytest.approx(errors / 23, abs=1e-6)
    # Bins, right edges within: 0.2 | 0.3 | 0.4 | 0.6 | 3 x 0.7 | 2 x 0.8 | 14 x 0.9.
    ece = 0.2 + 0.3 + 0.6 + 0.6 + 3 * 0.7 + 2 * 0.8 + 14 * 0.1
    assert found.ece == pytest.approx(ece / 23, abs=1e-5)
    # 14 x 0.9 beat all 8; 0.4 beats 0.2 and 0.3.
    assert found.auroc == pytest.approx((14 * 8 + 2) / (15 * 8))
    assert summary.by_criterion["concise"].auroc is None
    assert summary.agreement.same.of == 0


def test_only_what_a_fault_breaks_is_asked_for(gold, make_judge, chat_format):
    engine = ScriptedVerifier(chat_format, lambda criterion, prompt: 0.9)
    options = AuditOptions(("reasoned",), chosen("wrong_argument", "rambling"), second_opinions=0)
    plan = make_plan(gold[:1], options)
    ask(plan, {"reasoned": make_judge("reasoned")}, engine)
    names = ["intent_met", "calls_correct", "no_hallucination", "no_waste", "concise"]
    assert engine.asked == [*names, *names[:2], *names]


def test_lanes_bound_what_is_under_way_and_keep_an_episode_together(gold, make_judge, chat_format):
    engine = ScriptedVerifier(chat_format, lambda criterion, prompt: 0.9)
    plan = make_plan(gold[:5], AuditOptions(("logprobs",), second_opinions=0))
    judgements = ask(plan, {"logprobs": make_judge("logprobs")}, engine, lanes=2)
    assert engine.most_pending == 2
    assert len(judgements) == sum(map(len, plan.groups))


def test_second_opinions(gold, make_judge, chat_format):
    def opinion(criterion, prompt):
        # Whoever writes from a phone is thought to be long-winded.
        return 0.1 if criterion == "concise" and "from a phone" in prompt else 0.9

    engine = ScriptedVerifier(chat_format, opinion)
    modes = ("logprobs", "reasoned")
    plan = make_plan(gold[:3], AuditOptions(modes, (), second_opinions=2))
    judgements = ask(plan, {mode: make_judge(mode) for mode in modes}, engine)
    summaries = summarize(judgements)
    assert dataclasses.astuple(summaries["logprobs"].agreement.same) == (8, 10)
    assert summaries["logprobs"].agreement.kappa == pytest.approx(0.0)
    assert dataclasses.astuple(summaries["reasoned"].agreement.same) == (10, 10)
    # The second opinion is in no rate.
    assert summaries["logprobs"].clean.model.of == 3
    assert summaries["logprobs"].clean.model.count == 0


def test_a_second_look_shows_the_same_in_another_order(gold):
    for one in gold:
        first, second = one.evidence, second_look(one.evidence)
        assert second.task.tools == first.task.tools[::-1]
        assert sorted(record_lines(second.world)) == sorted(record_lines(first.world))
        assert second.task.persona.startswith(first.task.persona)
        assert second.messages == first.messages
    assert any(
        record_lines(second_look(o.evidence).world) != record_lines(o.evidence.world) for o in gold
    )


@pytest.fixture
def run_with(simulator, chat_format, gold, tmp_path):
    """Runs a whole audit with a scripted model."""

    def run(opinion, **options):
        engine = ScriptedVerifier(chat_format, opinion)
        model = AuditedModel("scripted", lambda: (simulator, engine), lanes=8, context={})
        console = Console(file=io.StringIO(), width=200)
        audit(
            model,
            EnvironmentConfig(),
            gold[:3],
            AuditOptions(**options),
            tmp_path / "audit.json",
            console,
        )
        return engine, console.file.getvalue()

    return run


def sure(criterion, prompt):
    return 0.9


def test_the_report_and_the_tables(run_with, tmp_path):
    _, shown = run_with(sure, faults=chosen("dropped_call"), second_opinions=1)
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report["complete"] is True
    assert report["episodes"] == [f"gold_episodes.jsonl:{n}" for n in (1, 2, 3)]
    for mode in ("reasoned", "logprobs"):
        fault = report["modes"][mode]["faults"]["dropped_call"]
        assert fault["breaks"] == ["intent_met", "calls_correct"]
        assert (fault["model"]["count"], fault["model"]["of"]) == (0, 3)
        assert fault["with_vetoes"]["count"] == 3
        assert f"Verifier, mode {mode}" in shown
    # Three episodes, two variants, two modes; the first episode twice.
    assert len(report["judgements"]) == 12 + 4
    assert "0/3 = 0% (0-56)" in shown
    assert "3/3 = 100% (44-100)" in shown
    assert "kappa undefined" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


def test_an_interrupted_audit_goes_on(run_with, tmp_path):
    options = {"modes": ("logprobs",), "faults": chosen("flattery"), "second_opinions": 0}
    whole, _ = run_with(sure, **options)
    expected = json.loads((tmp_path / "audit.json").read_text())

    seen = []

    def interrupted(criterion, prompt):
        seen.append(criterion)
        if len(seen) > 12:
            raise KeyboardInterrupt
        return 0.9

    with pytest.raises(KeyboardInterrupt):
        run_with(interrupted, **options)
    partial = json.loads((tmp_path / "audit.json").read_text())
    assert partial["complete"] is False
    assert 0 < len(partial["judgements"]) < len(expected["judgements"])

    rest, shown = run_with(sure, **options)
    found = json.loads((tmp_path / "audit.json").read_text())
    assert f"{len(partial['judgements'])} verdicts are there from before" in shown
    known = sum(len(j["verdict"]["parts"]) for j in partial["judgements"])
    assert len(rest.asked) == len(whole.asked) - known
    for report in (expected, found):
        report.pop("seconds")
    assert found == expected


def test_the_journal_knows_only_the_very_same_question(gold, make_judge, chat_format, tmp_path):
    engine = ScriptedVerifier(chat_format, sure)
    plan = make_plan(gold[:1], AuditOptions(("logprobs",), (), second_opinions=0))
    ((question,),) = plan.groups
    (judgement,) = ask(plan, {"logprobs": make_judge("logprobs")}, engine)
    path = tmp_path / "journal.jsonl"
    Journal(path, {"source": "a"}).add(question, judgement)
    with path.open("a") as file:
        file.write('{"digest": "cut o')

    found = Journal(path, {"source": "a"}).find(question)
    assert found.to_json() == judgement.to_json()
    assert Journal(path, {"source": "b"}).find(question) is None
    messages = [*question.evidence.messages[:-1], {"role": "assistant", "content": "No."}]
    for other in (
        dataclasses.replace(question, key=(9,)),
        dataclasses.replace(question, mode="reasoned"),
        dataclasses.replace(
            question, evidence=dataclasses.replace(question.evidence, messages=messages)
        ),
        dataclasses.replace(question, evidence=dataclasses.replace(question.evidence, world={})),
    ):
        assert Journal(path, {"source": "a"}).find(other) is None


def test_a_journal_goes_when_all_its_answers_are_used(gold, make_judge, chat_format, tmp_path):
    engine = ScriptedVerifier(chat_format, sure)
    plan = make_plan(gold[:2], AuditOptions(("logprobs",), (), second_opinions=0))
    questions = [question for group in plan.groups for question in group]
    judgements = ask(plan, {"logprobs": make_judge("logprobs")}, engine, lanes=1)
    path = tmp_path / "journal.jsonl"
    for question, judgement in zip(questions, judgements, strict=True):
        Journal(path, {}).add(question, judgement)

    smaller = Journal(path, {})
    smaller.find(questions[0])
    smaller.close()
    assert path.exists()
    whole = Journal(path, {})
    for question in questions:
        whole.find(question)
    whole.close()
    assert not path.exists()


def test_a_report_that_cannot_be_written_is_refused_at_once(gold, tmp_path):
    with pytest.raises(AuditError, match="--output"):
        audit(
            None, EnvironmentConfig(), gold[:1], AuditOptions(), tmp_path / "missing" / "audit.json"
        )


def test_reasons_that_recite_the_question_are_set_against_the_others(gold, make_judge, chat_format):
    # Two opinions on the clean episode, five criteria each, then on the faulty one, two each.
    answers = [
        *(0.9, 0.9, 0.9, 0.9, 0.9),
        *(0.1, 0.9, 0.9, 0.9, 0.9),
        *(0.9, 0.1),
        *(0.9, 0.9),
    ]

    def reasons(criterion, prompt):
        recited = "the user got everything they wanted, backed by tool results"
        return recited if criterion in ("intent_met", "concise") else "Line 3 shows it."

    engine = ScriptedVerifier(chat_format, lambda *_: answers.pop(0), reasons)
    plan = make_plan(gold[:1], AuditOptions(("reasoned",), chosen("dropped_call")))
    judgements = ask(plan, {"reasoned": make_judge("reasoned")}, engine, lanes=1)
    assert answers == []
    found = summarize(judgements)["reasoned"].recital
    assert dataclasses.astuple(found.recited) == (3, 7)
    # Clean: both met, of which one is not said again. Faulty: found met, which is wrong.
    assert dataclasses.astuple(found.reciting) == ((3, 3), (2, 3), (2, 3))
    # Clean: three met. Faulty: found not met, which is right, but not said again.
    assert dataclasses.astuple(found.others) == ((3, 4), (4, 4), (3, 4))
    again = [Judgement.from_json(json.loads(json.dumps(j.to_json()))) for j in judgements]
    assert summarize(again)["reasoned"].recital == found


def test_a_mode_without_reasons_has_none_that_recite(run_with, tmp_path):
    _, shown = run_with(sure, faults=chosen("dropped_call"))
    modes = json.loads((tmp_path / "audit.json").read_text())["modes"]
    assert modes["logprobs"]["recital"] is None
    assert modes["reasoned"]["recital"]["recited"]["count"] == 0
    assert modes["reasoned"]["recital"]["others"]["right"]["of"] == 3 * 5 + 3 * 2
    assert "This mode gives no reasons." in shown
    assert "Reasons that only recite the question: 0/21 = 0%" in shown
