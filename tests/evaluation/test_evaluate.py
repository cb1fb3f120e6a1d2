"""Cases are answered, checked and kept one by one; engine and checkers are stand-ins."""

import json

import pytest
from answering_engine import AnsweringEngine
from fake_worker import CALL
from gold_answers import hermes
from rich.console import Console

from trustee_jax.evaluation.bfcl import EvaluatedPolicy, evaluate
from trustee_jax.evaluation.board import CATEGORIES
from trustee_jax.evaluation.checker import CheckerError
from trustee_jax.evaluation.play import AnswerOptions
from trustee_jax.evaluation.results import ResultsFolder, Verdict, read_results
from trustee_jax.evaluation.summary import summarize, write

IDENTITY = {"bfcl_eval": "1", "model": "m", "step": None, "sampling": {"temperature": 0.0}}
QUIET = Console(quiet=True)
BARE = '{"name": "find", "arguments": {"city": "Lyon"}}'


@pytest.fixture
def measure(chat_format, fake_checker, tmp_path):
    """Evaluates answers that a function writes, into a folder."""

    def run(write_answer, categories, folder="results", limit=None, **options):
        engine = AnsweringEngine(chat_format, write_answer)
        policy = EvaluatedPolicy(chat_format, engine, lanes=4)
        options = AnswerOptions(**({"max_length": 1 << 20} | options))
        with ResultsFolder(tmp_path / folder, IDENTITY, {"run": None}) as opened:
            evaluate(policy, fake_checker, opened, categories, options, limit=limit, console=QUIET)
        return read_results(tmp_path / folder), engine

    return run


def test_both_readings_of_one_answer_are_kept(measure):
    answers = {0: hermes(CALL), 1: BARE, 2: "I cannot.", 3: hermes(CALL)[:-12]}
    results, engine = measure(lambda r: answers.get(r.key[2], "No."), ["irrelevance"])
    assert len(engine.requests) == 8
    verdicts = {name[-1]: record.verdicts for name, record in results.records.items()}
    assert {reading: v.valid for reading, v in verdicts["a"].items()} == {
        "strict": True,
        "lenient": True,
    }
    # Without the tag, and with one that is not closed.
    for case in "bd":
        assert not verdicts[case]["strict"].valid and verdicts[case]["lenient"].valid
    assert verdicts["c"]["lenient"] == verdicts["c"]["strict"] == Verdict(False, "other: call")
    strict, lenient = (results.rates(reading)["irrelevance"] for reading in ("strict", "lenient"))
    assert (strict.count, lenient.count, strict.of, lenient.of) == (1, 3, 8, 8)
    assert results.records["irrelevance_b"].texts == [[BARE]]


def test_a_case_that_breaks_the_checkers_costs_itself_alone(measure, fake_checker):
    results, _ = measure(lambda r: hermes(CALL), ["multiple"])
    errors = {name: record.error for name, record in results.records.items() if record.error}
    assert errors == {
        "multiple_die": "checker: the process ended with status 3",
        "multiple_hang": "checker: no answer within 1 s",
        "multiple_raise": "checker: RuntimeError: checker is confused",
    }
    assert results.rates("strict")["multiple"].count == 2
    assert results.rates("strict")["multiple"].of == 5
    assert summarize(results)["categories"]["multiple"]["errors"] == {"checker": 3}
    assert fake_checker.restarts == 2


def test_a_context_without_room_costs_its_case(measure):
    results, engine = measure(lambda r: hermes(CALL), ["irrelevance"], max_length=40)
    assert not engine.requests
    assert all(record.error.startswith("refused: ") for record in results.records.values())
    assert results.rates("lenient")["irrelevance"].count == 0


def test_answers_are_shorter_where_the_context_ends(measure):
    _, engine = measure(lambda r: "No.", ["irrelevance"], limit=1)
    length = len(engine.requests[0].tokens)
    _, engine = measure(lambda r: "No.", ["irrelevance"], "b", limit=1, max_length=length + 7)
    assert engine.requests[0].max_new_tokens == 7


def test_data_that_cannot_be_loaded_is_one_error_and_loses_nothing(measure, tmp_path):
    with pytest.raises(CheckerError, match="the cases of parallel cannot be loaded"):
        measure(lambda r: "No.", ["irrelevance", "parallel"])
    assert len(read_results(tmp_path / "results").records) == 8


def test_a_conversation_follows_the_official_loop(measure, chat_format):
    """Call, answer, new tools, thanks: what the model reads is all that it should."""
    said = {(0, 1): hermes(CALL), (0, 2): "In Lyon.", (1, 1): "With both?", (2, 1): "Bye."}
    results, engine = measure(lambda r: said[r.key[3], r.key[4]], ["multi_turn_base"], limit=1)
    (record,) = results.records.values()
    assert list(record.verdicts) == ["strict"]
    assert record.verdicts["strict"].valid
    assert record.texts == [[hermes(CALL), "In Lyon."], ["With both?"], ["Bye."]]
    first, second, third, last = (chat_format.tokenizer.decode(r.tokens) for r in engine.requests)
    executed = json.dumps([record.id, 1, "find"])
    assert second.startswith(first) and executed in second
    assert "book(" not in second and "book(" in third
    assert "In Lyon." in third and executed in third
    assert third.count("And now?") == 1 and "Thanks." not in third
    assert last.startswith(third) and "Thanks." in last


def test_a_conversation_without_end_is_broken_off(measure):
    results, engine = measure(lambda r: hermes(CALL), ["multi_turn_base"], limit=1)
    (record,) = results.records.values()
    # The limit of this benchmark is 2 steps: as in bfcl-eval, the third is still carried out.
    assert [len(turn) for turn in record.texts] == [3]
    assert len(engine.requests) == 3


def test_the_reading_decides_how_a_conversation_goes_on(measure):
    strict, _ = measure(lambda r: BARE, ["multi_turn_base"], limit=1)
    lenient, _ = measure(lambda r: BARE, ["multi_turn_base"], "b", limit=1, lenient=True)
    (one,), (other,) = strict.records.values(), lenient.records.values()
    assert [len(turn) for turn in one.texts] == [1, 1, 1]
    assert [len(turn) for turn in other.texts] == [3]
    assert (list(one.verdicts), list(other.verdicts)) == (["strict"], ["lenient"])


def test_an_interrupted_evaluation_goes_on_to_the_same_results(measure, tmp_path):
    def write_answer(request):
        return hermes(CALL) if sum(request.key) % 3 else "No."

    categories = ["irrelevance", "multi_turn_base"]
    whole, engine = measure(write_answer, categories, "whole")
    asked = len(engine.requests)
    countdown = iter(range(7))

    def until_interrupted(request):
        if next(countdown, None) is None:
            raise KeyboardInterrupt
        return write_answer(request)

    with pytest.raises(KeyboardInterrupt):
        measure(until_interrupted, categories, "parts")
    done = len(read_results(tmp_path / "parts").records)
    assert 0 < done < 16
    # A line that was being written when the machine stopped.
    with (tmp_path / "parts" / "results.jsonl").open("a") as file:
        file.write('{"step": 0, "id": "irrel')
    parts, engine = measure(write_answer, categories, "parts")
    assert len(engine.requests) < asked
    assert parts.records == whole.records
    for results in (parts, whole):
        assert results.meta.pop("seconds") >= 0
    assert parts.meta == whole.meta
    assert summarize(parts) == summarize(whole)
    _, engine = measure(write_answer, categories, "parts")
    assert not engine.requests


def test_a_larger_limit_contains_the_smaller_one(measure):
    few, _ = measure(lambda r: "No.", ["irrelevance"], limit=3)
    more, engine = measure(lambda r: "No.", ["irrelevance"], limit=5)
    assert len(few.records) == 3 and len(more.records) == 5
    assert list(more.records)[:3] == list(few.records)
    assert len(engine.requests) == 2
    # Not just the first ones.
    assert {name[-1] for name in more.records} != set("abcde")


def test_keys_of_samples_are_those_of_the_case_alone(measure, tmp_path):
    _, one = measure(lambda r: "No.", ["irrelevance"], "one", limit=2)
    _, all_of_them = measure(lambda r: "No.", ["irrelevance"], "all")
    keys = {request.key for request in all_of_them.requests}
    assert {request.key for request in one.requests} < keys
    assert {key[1] for key in keys} == {CATEGORIES.index("irrelevance")}


def test_figures_are_written(measure, tmp_path):
    answers = {0: hermes(CALL), 1: BARE}
    results, _ = measure(lambda r: answers.get(r.key[2], "No."), ["irrelevance"])
    write(results, tmp_path)
    figures = json.loads((tmp_path / "summary.json").read_text())
    assert figures["categories"]["irrelevance"]["strict"]["count"] == 1
    assert figures["categories"]["irrelevance"]["lenient"]["count"] == 2
    assert figures["board"]["lenient"]["irrelevance"]["value"] == 0.25
    text = (tmp_path / "summary.md").read_text()
    assert "| irrelevance | 1/8 = 12% (2-47) | 2/8 = 25% (7-59) | 0 | 0 |" in text
