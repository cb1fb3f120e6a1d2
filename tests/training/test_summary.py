"""A cause is there once, in the steps in which it occurred, and the numbers add up."""

import dataclasses
import re
from typing import get_args

import pytest
from scripted_step import Script

from trustee_jax.environment import (
    INVALID_CAUSES,
    REJECTIONS,
    USER_FAULTS,
    Counts,
    CriterionVerdict,
    End,
    JudgeVerdict,
    Verdict,
)
from trustee_jax.simulator.simulator import Problem, causes_of
from trustee_jax.training import summary
from trustee_jax.training.summary import CAUSES, LAYOUT, describe, episode_scalars


def scalars(monkeypatch, rewards, **options):
    return Script(monkeypatch, rewards, **options).trainer().train_step(lambda *_: None).scalars


def test_no_cause_is_there_where_nothing_went_wrong(monkeypatch) -> None:
    found = scalars(monkeypatch, lambda key: float(key[2] % 2))
    assert {name: v for name, v in found.items() if name.startswith(CAUSES)} == {"ended/user": 1}
    assert found["tasks/failed"] == found["tasks/rejected"] == 0
    assert (
        found["groups/zero_variance"]
        == found["groups/insufficient"]
        == found["groups/refills"]
        == 0
    )


def test_shares_and_counts_add_up(monkeypatch) -> None:
    def rewards(key):
        return None if key[2] == 3 or key[1] == 2 else float(key[2] % 2)

    found = scalars(monkeypatch, rewards, **{"training.refill_groups": 1})
    played = found["episodes/played"]
    assert played == 3 * 4 + 4  # all of the last group once more
    assert found["episodes/invalid_user_length"] == 2 + 8
    invalid = [value for name, value in found.items() if name.startswith("episodes/invalid_")]
    assert invalid == [10]
    assert found["episodes/valid"] * played + sum(invalid) == pytest.approx(played)
    statuses = [
        found[f"groups/{status}"] for status in ("trainable", "zero_variance", "insufficient")
    ]
    assert statuses == [2, 0, 1]
    assert sum(statuses) == found["tasks/written"]


def test_calls_written_as_text_are_counted_and_shown(monkeypatch) -> None:
    script = Script(monkeypatch, lambda key: float(key[2] % 2))
    result = script.trainer().train_step(lambda *_: None)
    assert result.scalars["counts/unmarked_calls"] == 0
    said = {"role": "assistant", "content": "{}", "unmarked_calls": ["find"]}
    one, other = (
        dataclasses.replace(episode, messages=(said,), counts=Counts(unmarked_calls=number))
        for number, episode in enumerate(result.shown.values(), start=1)
    )
    invalid = dataclasses.replace(one, reward=None, cause="user_length")
    assert episode_scalars([one, other, invalid])["counts/unmarked_calls"] == 1.5
    assert "(that text calls find without the form of a call)" in describe(one)


@pytest.mark.parametrize("rule", ["scalar", "frontier", "fixed"])
def test_the_curriculum_is_shown_as_the_step_was_played(monkeypatch, rule) -> None:
    options = {"curriculum.rule": rule, "curriculum.initial": 40.0}
    found = scalars(monkeypatch, lambda key: float(key[2] > 0), **options)
    assert found["curriculum/difficulty"] == pytest.approx(40)
    assert 1 <= found["curriculum/calls"] <= 3
    frontiers = {name for name in found if name.startswith("curriculum/frontier_")}
    successes = [v for name, v in found.items() if name.startswith("curriculum/success_")]
    if rule == "frontier":
        assert len(frontiers) == 7
        assert {found[name] for name in frontiers} == {40.0}
        assert successes
        assert all(value == 0.75 for value in successes)
    else:
        assert not frontiers
        assert not successes


def test_every_cause_begins_as_said() -> None:
    for names, prefix in (
        (INVALID_CAUSES, "episodes/invalid_"),
        (causes_of("task", "world"), "tasks/failed_"),
        (REJECTIONS, "tasks/rejected_"),
        (USER_FAULTS, "user/refused_"),
        (get_args(End), "ended/"),
    ):
        assert prefix in CAUSES
        assert summary._occurred(prefix, dict.fromkeys(names, 2), names) == {
            f"{prefix}{name}": 2.0 for name in names
        }


@pytest.mark.parametrize("rule", ["scalar", "frontier"])
def test_each_chart_has_something_to_show(monkeypatch, rule) -> None:
    found = scalars(
        monkeypatch,
        lambda key: None if key[2] == 3 else float(key[2] % 2),
        **{"curriculum.rule": rule},
    )
    empty = {
        chart
        for charts in LAYOUT.values()
        for chart, names in charts.items()
        if not any(re.fullmatch(name, metric) for name in names for metric in found)
    }
    # The script has no KL, no failing tasks or messages, and no reasons in its verdicts.
    scripted = {
        "KL to the initial policy",
        "Failed task draws by cause",
        "Rejected tasks by reason",
        "Refused messages of the user by fault",
        "Reasons that recite the question",
    }
    frontier = {"Difficulty of each frontier", "Success rate at each frontier"}
    assert empty == scripted | (frontier if rule == "scalar" else set())
    assert [*LAYOUT] == ["Reward", "Validity", "Difficulty", "KL", "Speed"]


def test_only_what_is_checked_can_be_rejected() -> None:
    roles = ("task", "world", "user", "tool", "verifier")
    rejected = [cause for cause in causes_of(*roles) if cause.endswith("_rejected")]
    assert rejected == ["task_rejected", "user_rejected", "tool_rejected"]
    assert len(causes_of(*roles)) == 5 * len(get_args(Problem)) - 2


def test_reasons_that_recite_are_set_against_the_others(monkeypatch) -> None:
    script = Script(monkeypatch, lambda key: float(key[2] % 2))
    result = script.trainer().train_step(lambda *_: None)
    assert not any(name.startswith("verdict/") for name in result.scalars)

    def episode(*parts: tuple[bool, bool, str], nested: bool = False):
        verdict = Verdict(
            "reasoned",
            tuple(
                CriterionVerdict("intent_met", met, reasoning=reasons, recites=recites)
                for met, recites, reasons in parts
            ),
        )
        if nested:
            verdict = Verdict("weighted", judges=(JudgeVerdict("model", 1.0, verdict),))
        return dataclasses.replace(next(iter(result.shown.values())), verdict=verdict)

    three = episode((True, True, "a"), (True, True, "b"), (False, False, "c"))
    one = episode((False, True, "d"), (True, False, ""), nested=True)
    found = episode_scalars([three, one])
    assert found["verdict/reciting"] == 3 / 4
    assert found["verdict/met_reciting"] == pytest.approx(2 / 3)
    assert found["verdict/met_otherwise"] == 0
    invalid = dataclasses.replace(three, reward=None, cause="user_length")
    only = episode_scalars([one, invalid])
    assert only["verdict/reciting"] == 1 and "verdict/met_otherwise" not in only
