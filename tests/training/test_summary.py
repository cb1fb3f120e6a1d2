"""Every cause is there from the first step on, and the numbers add up."""

import dataclasses
from typing import get_args

import pytest
from scripted_step import Script

from trustee_jax.environment import INVALID_CAUSES, REJECTIONS, Counts, End
from trustee_jax.simulator.simulator import Problem
from trustee_jax.training.summary import describe, episode_scalars


def scalars(monkeypatch, rewards, **options):
    return Script(monkeypatch, rewards, **options).trainer().train_step(lambda *_: None).scalars


def test_every_cause_is_there_though_nothing_went_wrong(monkeypatch) -> None:
    found = scalars(monkeypatch, lambda key: float(key[2] % 2))
    names = [f"invalid_{cause}" for cause in INVALID_CAUSES]
    assert all(found[f"episodes/{name}"] == found[f"share/{name}"] == 0 for name in names)
    names = [f"failed_{role}_{p}" for role in ("task", "world") for p in get_args(Problem)]
    names += [f"rejected_{reason}" for reason in REJECTIONS]
    assert all(found[f"tasks/{name}"] == found[f"share/{name}"] == 0 for name in names)
    ends = {how: found[f"ended/{how}"] for how in get_args(End)}
    assert ends == dict.fromkeys(get_args(End), 0.0) | {"user": 1.0}
    assert found["groups/uniform"] == found["groups/too_few_valid"] == found["groups/refills"] == 0


def test_shares_and_counts_add_up(monkeypatch) -> None:
    def rewards(key):
        return None if key[2] == 3 or key[1] == 2 else float(key[2] % 2)

    found = scalars(monkeypatch, rewards, **{"training.refill_groups": 1})
    played = found["episodes/played"]
    assert played == 3 * 4 + 4  # all of the last group once more
    assert found["episodes/invalid_user_length"] == 2 + 8
    invalid = [value for name, value in found.items() if name.startswith("share/invalid_")]
    assert found["episodes/valid"] + sum(invalid) == pytest.approx(1)
    fates = [found[f"groups/{fate}"] for fate in ("used", "uniform", "too_few_valid")]
    assert fates == [2, 0, 1]
    assert sum(fates) == found["tasks/written"]


def test_calls_written_as_text_are_counted_and_shown(monkeypatch) -> None:
    script = Script(monkeypatch, lambda key: float(key[2] % 2))
    result = script.trainer().train_step(lambda *_: None)
    assert result.scalars["policy/unmarked_calls"] == result.scalars["counts/unmarked_calls"] == 0
    said = {"role": "assistant", "content": "{}", "unmarked_calls": ["find"]}
    one, other = (
        dataclasses.replace(episode, messages=(said,), counts=Counts(unmarked_calls=number))
        for number, episode in enumerate(result.shown.values(), start=1)
    )
    invalid = dataclasses.replace(one, reward=None, cause="user_length")
    found = episode_scalars([one, other, invalid])
    assert (found["policy/unmarked_calls"], found["counts/unmarked_calls"]) == (3, 1.5)
    assert episode_scalars([invalid])["policy/unmarked_calls"] == 0
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
