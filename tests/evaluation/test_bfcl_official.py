"""The official checkers in their own environment: what they call right is right through our runner.

Gold answers are written by an engine in the model's form, parsed by our parser, carried out and
checked by official code. The environment is made once, in the user's cache.
"""

import json

import chat_formats
import pytest
from answering_engine import AnsweringEngine
from gold_answers import conversation, hermes, single
from rich.console import Console

from trustee_jax.evaluation import board
from trustee_jax.evaluation.bfcl import EvaluatedPolicy, evaluate, open_checker
from trustee_jax.evaluation.cases import limited, read_cases
from trustee_jax.evaluation.checker import RequestFailure
from trustee_jax.evaluation.installing import BFCL, default_folder
from trustee_jax.evaluation.play import AnswerOptions
from trustee_jax.evaluation.results import ResultsFolder, read_results
from trustee_jax.serving.requests import ChatRequest, read_request
from trustee_jax.weights.downloads import cache_folder

pytestmark = pytest.mark.slow
COUNTS = {
    "simple_python": 400,
    "simple_java": 100,
    "simple_javascript": 50,
    "multiple": 200,
    "parallel": 200,
    "parallel_multiple": 200,
    "irrelevance": 240,
    "live_simple": 258,
    "live_multiple": 1053,
    "live_parallel": 16,
    "live_parallel_multiple": 24,
    "live_irrelevance": 884,
    "live_relevance": 16,
    "multi_turn_base": 200,
    "multi_turn_miss_func": 200,
    "multi_turn_miss_param": 200,
    "multi_turn_long_context": 200,
}


@pytest.fixture(scope="module")
def checker():
    with open_checker(default_folder(cache_folder(), BFCL)) as opened:
        yield opened


@pytest.fixture
def measure(chat_format, checker, tmp_path):
    """Evaluates answers: (case, turn, step) -> text."""

    def run(write_answer, category, limit=None, folder="results"):
        cases = read_cases(category, checker.ask("load", category=category))
        engine = AnsweringEngine(
            chat_format, lambda request: write_answer(cases[request.key[2]], *request.key[3:])
        )
        options = AnswerOptions(max_length=1 << 20)
        with ResultsFolder(tmp_path / folder, {"step": None}, {}) as opened:
            policy = EvaluatedPolicy(chat_format, engine, lanes=8)
            console = Console(quiet=True)
            evaluate(policy, checker, opened, [category], options, limit=limit, console=console)
        return read_results(tmp_path / folder)

    return run


def test_the_categories_are_the_official_ones(checker):
    groups = checker.description["groups"]
    for name in ("non_live", "live", "multi_turn", "single_turn"):
        assert sorted(board.GROUPS[name]) == sorted(groups[name])
    assert set(board.CATEGORIES) == set(groups["all_scoring"]) - set(groups["agentic"])
    assert checker.description["step_limit"] == 20
    assert list(COUNTS) == list(board.CATEGORIES)


def test_every_case_can_be_asked(checker, chat_format):
    for category, count in COUNTS.items():
        cases = read_cases(category, checker.ask("load", category=category))
        assert len(cases) == len({case.id for case in cases}) == count
        for case in cases[:20]:
            assert len(chat_format.prompt(case.turns[0], case.tools[0])) > 20


@pytest.mark.parametrize("category", board.CATEGORIES)
def test_the_server_shows_what_the_runner_shows(checker, category):
    """Of the messages and tools that the official handler sends for a first turn."""
    format = chat_formats.thinking()  # its template shows all that is said of a tool
    cases = read_cases(category, checker.ask("load", category=category))
    for case in limited(cases, 20):
        body = {"model": "mine", "messages": case.turns[0]}
        body |= {"tools": case.tools[0]} if case.tools[0] else {}
        asked = read_request(ChatRequest, json.dumps(body).encode())
        messages = [message.openai() for message in asked.messages]
        tools = [tool.openai() for tool in asked.offered]
        shown = format.prompt(case.turns[0], case.tools[0]).tolist()
        assert format.prompt(messages, tools).tolist() == shown, case.id


def test_gold_answers_of_single_turns_are_right(measure):
    found = measure(single, "simple_python")
    assert len(found.records) == 400
    wrong = [record for record in found.records.values() if not record.verdicts["strict"].valid]
    assert len(wrong) == 1 and not wrong[0].error


@pytest.mark.parametrize("category", ["multiple", "parallel", "parallel_multiple", "live_simple"])
def test_most_gold_answers_of_other_categories_are_right(measure, category):
    """The rest has possible answers that no call can have, e.g. of another type."""
    rate = measure(single, category).rates("strict")[category]
    assert rate.of == COUNTS[category] and rate.share > 0.95


def test_shuffled_gold_answers_are_wrong(measure, checker):
    cases = read_cases("simple_python", checker.ask("load", category="simple_python"))

    def shifted(case, turn, step):
        return single(cases[(case.place + 1) % len(cases)], turn, step)

    assert measure(shifted, "simple_python").rates("strict")["simple_python"].share < 0.01


def test_irrelevance_and_relevance_are_opposites(measure):
    call = hermes([{"anything": "{}"}])
    for category, right in (("irrelevance", False), ("live_relevance", True)):
        rate = measure(lambda *_: call, category, 16, category).rates("strict")[category]
        assert (rate.count, rate.of) == (16 * right, 16)
        folder = f"{category}-text"
        rate = measure(lambda *_: "No.", category, 16, folder).rates("strict")[category]
        assert (rate.count, rate.of) == (16 * (not right), 16)


@pytest.mark.parametrize("category", board.MULTI_TURN)
def test_gold_conversations_are_right(measure, category):
    found = measure(conversation, category)
    wrong = [r for r in found.records.values() if not r.verdicts["strict"].valid]
    assert [(record.id, record.verdicts["strict"].reason) for record in wrong] == []
    assert len(found.records) == 200


def test_conversations_of_other_cases_are_wrong(measure, checker):
    cases = read_cases("multi_turn_base", checker.ask("load", category="multi_turn_base"))

    def shifted(case, turn, step):
        other = cases[(case.place + 1) % len(cases)]
        return conversation(other, min(turn, len(other.answer) - 1), step)

    rate = measure(shifted, "multi_turn_base").rates("strict")["multi_turn_base"]
    assert rate.of == 200 and rate.share < 0.05


def test_a_call_too_few_is_wrong(measure):
    def lazy(case, turn, step):
        text = conversation(case, turn, step)
        return "Done." if turn == len(case.answer) - 1 else text

    assert measure(lazy, "multi_turn_base", 40).rates("strict")["multi_turn_base"].count == 0


@pytest.mark.parametrize(
    "call",
    [
        {"open": '{"file": "%s", "mode": "w"}'},
        {"__import__('os').system": '{"command": "touch %s"}'},
        {"cd": "{\"folder=__import__('os').system('touch %s') or 'a', x\": 1}"},
        {"mkdir": "{\"dir_name=open('%s', 'a'), x\": 1}"},
    ],
)
def test_a_call_cannot_touch_the_machine(checker, tmp_path, call):
    target = tmp_path / "touched"
    ((name, arguments),) = call.items()
    (result,) = checker.ask(
        "execute", case="multi_turn_base_0", steps=[[{name: arguments % target}]]
    )
    assert result.startswith("Error during execution") or "error" in result
    assert not target.exists()


def test_steps_before_are_carried_out_first_and_nothing_is_kept(checker):
    cd, pwd = {"cd": '{"folder": "document"}'}, {"pwd": "{}"}
    for _ in range(2):
        (place,) = checker.ask("execute", case="multi_turn_base_0", steps=[[cd], [pwd]])
        assert "document" in place
        (place,) = checker.ask("execute", case="multi_turn_base_0", steps=[[pwd]])
        assert "document" not in place


def test_a_request_that_ends_the_process_is_one_failure(checker):
    with pytest.raises(RequestFailure):
        checker.ask("check", case="no_such_case_0", result=[])
    assert checker.ask("check", case="simple_python_0", result="No.")["valid"] is False
