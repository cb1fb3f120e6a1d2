"""The official BFCL command line, unmodified, and a server whose model is right half the time."""

import bfcl_through_server
import pytest
from gold_answers import conversation, single
from spoken_engine import SpokenEngine, running, served

from trustee_jax.evaluation.bfcl import open_checker
from trustee_jax.evaluation.cases import limited, read_cases
from trustee_jax.evaluation.installing import BFCL, default_folder
from trustee_jax.weights.downloads import cache_folder

pytestmark = pytest.mark.slow  # it installs the command line
CATEGORIES = ("simple_python", "parallel", "multi_turn_base", "multi_turn_miss_func")


@pytest.fixture(scope="module")
def official():
    """Cases, and what the user says in a turn that only brings new tools."""
    with open_checker(default_folder(cache_folder(), BFCL)) as checker:
        cases = [
            case
            for category in CATEGORIES
            for case in limited(read_cases(category, checker.ask("load", category=category)), 4)
        ]
        return cases, checker.description["added_tools_text"]


def is_right(case):
    return case.place % 2 == 0


def speaker(cases, added_tools_text):
    """Answers rightly in every other case; in the others the last turn has no call."""

    def say(request, prompt):
        (case,) = (one for one in cases if one.turns[0][-1]["content"] in prompt)
        turn = end = 0
        for number, messages in enumerate(case.turns):
            text = messages[-1]["content"] if messages else added_tools_text
            if (place := prompt.find(text, end)) < 0:
                break
            turn, end = number, place + len(text)
        if turn == len(case.turns) - 1 and not is_right(case):
            return "No."
        answer = conversation if case.multi_turn else single
        return answer(case, turn, 2 if "</tool_response>" in prompt[end:] else 1)

    return say


def test_the_official_verdicts_are_those_of_the_answers(format, official, tmp_path):
    cases, _ = official
    assert {is_right(case) for case in cases if case.multi_turn} == {False, True}
    by_category = {
        category: [case.id for case in cases if case.category == category]
        for category in CATEGORIES
    }
    folder = default_folder(cache_folder(), bfcl_through_server.NEEDED)
    program = bfcl_through_server.command_line(folder)
    engine = SpokenEngine(format, speaker(*official), pace=1000, max_length=1 << 20)
    with running(served(format, engine, bfcl_through_server.MODEL)) as url:
        records, _ = bfcl_through_server.judged(program, tmp_path, url, by_category, threads=4)
    found = {id: (one.verdicts["strict"].valid, one.error) for id, one in records.items()}
    assert found == {case.id: (is_right(case), "") for case in cases}
