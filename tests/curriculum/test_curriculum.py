import dataclasses
import json

import numpy as np
import pytest

from trustee_jax.curriculum import Aspects, Curriculum, CurriculumConfig, Outcome, Ramp
from trustee_jax.errors import ConfigError


def transcribed(d: int) -> dict[str, int]:
    """The schedule in integer arithmetic, written apart from the code under test."""
    return {
        "tools": max(1, d * 10 // 100),
        "calls": max(1, d * 3 // 100),
        "persona": d * 2 // 100,
        "ambiguity": d * 2 // 100,
        "turns": d * 2 // 100,
        "criteria": min(5, 1 + d * 4 // 100),
        "system_prompt": d * 3 // 100,
        "user_turns": max(1, d * 3 // 100),
        "assistant_turns": max(2, d * 6 // 100),
        "tool_turns": max(1, d * 3 // 100),
    }


def at(difficulty: float, **options) -> Curriculum:
    return Curriculum(CurriculumConfig(initial=float(difficulty), **options))


def outcomes(curriculum: Curriculum, *rewards: float) -> list[Outcome]:
    """What a task of these rewards says."""
    return [Outcome(curriculum.aspects(np.random.default_rng(0)), rewards)]


@pytest.mark.parametrize("d", range(1, 101))
def test_table(d):
    aspects = at(d, epsilon=0.0).aspects(np.random.default_rng(0))
    expected = transcribed(d) | {"difficulty": float(d), "redrawn": False, "probed": None}
    expected |= {"irrelevant": False}  # which is not the method's
    assert dataclasses.asdict(aspects) == expected


@pytest.mark.parametrize("d", range(1, 101))
def test_soft_redraw_leaves_the_rest_alone(d):
    curriculum = at(d, epsilon=1.0)
    rng = np.random.default_rng(d)
    for _ in range(20):
        aspects = dataclasses.asdict(curriculum.aspects(rng))
        for name in ("criteria", "system_prompt", "user_turns", "assistant_turns", "tool_turns"):
            assert aspects[name] == transcribed(d)[name]


def test_soft_redraw_frequencies():
    """All five together, with probability epsilon, uniform over the full ranges."""
    rng = np.random.default_rng(7)
    curriculum = at(100)
    drawn = [curriculum.aspects(rng) for _ in range(20_000)]
    redrawn = [a for a in drawn if a.redrawn]
    assert abs(len(redrawn) / len(drawn) - 0.5) < 0.02
    ranges = {
        "tools": range(1, 11),
        "calls": range(1, 4),
        "persona": range(3),
        "ambiguity": range(3),
        "turns": range(3),
    }
    for name, values in ranges.items():
        counts = np.array([sum(getattr(a, name) == v for a in redrawn) for v in values])
        assert counts.sum() == len(redrawn)
        np.testing.assert_allclose(counts / len(redrawn), 1 / len(values), atol=0.025)
    kept = {tuple(getattr(a, name) for name in ranges) for a in drawn if not a.redrawn}
    assert kept == {(10, 3, 2, 2, 2)}
    # Independent of each other: the joint table of two of them is flat as well.
    pairs = np.zeros((3, 3))
    for a in redrawn:
        pairs[a.persona, a.turns] += 1
    np.testing.assert_allclose(pairs / len(redrawn), 1 / 9, atol=0.02)


@pytest.mark.parametrize("d", [1, 34, 50, 67, 84, 100])
def test_asked_turns_fit_the_limits(d):
    rng = np.random.default_rng(3)
    curriculum = at(d, epsilon=1.0)
    least = {0: 1, 1: 3, 2: 5}
    seen = set()
    for _ in range(200):
        a = curriculum.aspects(rng)
        assert least[a.turns] <= min(a.assistant_turns, 1 + a.user_turns + a.tool_turns)
        seen.add(a.turns)
    assert seen == {level for level in least if least[level] <= transcribed(d)["assistant_turns"]}


def test_same_generator_same_aspects():
    first = [at(60).aspects(np.random.default_rng(s)) for s in range(10)]
    assert first == [at(60).aspects(np.random.default_rng(s)) for s in range(10)]


@pytest.mark.parametrize(
    ("rewards", "moved"),
    [
        ((1.0,), 43),
        ((1.0, 0.0), 43),
        ((1.0, 1.0, 0.0, 0.0, 0.0), 40),
        ((1.0, 0.0, 0.0), 40),
        ((1.0, -1.0), 37),
        ((-1.0,), 37),
        ((), 40),
    ],
)
def test_update(rewards, moved):
    """The mean is over the episodes of all tasks, however they are spread."""
    for tasks in ([rewards], [rewards[:1], rewards[1:]]):
        curriculum = at(40)
        curriculum.update([o for part in tasks for o in outcomes(curriculum, *part)])
        assert curriculum.difficulty == moved
    still = at(40, rule="fixed")
    still.update(outcomes(still, *rewards))
    assert still.difficulty == 40


def test_update_is_clipped():
    low, high = at(2), at(99)
    low.update(outcomes(low, -1.0))
    high.update(outcomes(high, 1.0))
    assert (low.difficulty, high.difficulty) == (1.0, 100.0)


@pytest.mark.parametrize("reward", [float("nan"), 1.5, -2.0])
def test_an_outcome_refuses_what_is_no_reward(reward):
    with pytest.raises(ValueError, match="reward"):
        outcomes(at(40), 0.0, reward)


def test_state_round_trip():
    first = Curriculum()
    for reward in (1.0, 1.0, 0.2, 0.9):
        first.update(outcomes(first, reward))
    second = Curriculum()
    second.restore(json.loads(json.dumps(first.state())))
    assert second.difficulty == first.difficulty == 10.0
    rng = [np.random.default_rng(1) for _ in range(2)]
    assert first.aspects(rng[0]) == second.aspects(rng[1])


@pytest.mark.parametrize("state", [{}, {"difficulty": "x"}, {"difficulty": 101.0}, {"levels": {}}])
def test_restore_refuses_foreign_state(state):
    with pytest.raises(ValueError, match="difficulty"):
        Curriculum().restore(state)


def test_an_aspect_can_be_pinned():
    pinned = at(1, epsilon=1.0, calls=Ramp(slope=0.0, low=3, high=3))
    assert {pinned.aspects(np.random.default_rng(s)).calls for s in range(20)} == {3}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"epsilon": 1.5}, "epsilon"),
        ({"initial": 0.0}, "initial"),
        ({"maximum": 0.5}, "maximum"),
        ({"increase": -1.0}, "increase"),
        ({"raise_at": 0.0}, "raise_at"),
        ({"rule": "frontiers"}, "rule"),
        ({"criteria": Ramp(slope=0.1, low=1, high=6)}, "criteria.high"),
        ({"tools": Ramp(slope=0.1, low=0, high=6)}, "tools.low"),
    ],
)
def test_bad_options(options, field):
    with pytest.raises(ConfigError) as error:
        CurriculumConfig(**options)
    assert error.value.field == field


def test_bad_ramp():
    with pytest.raises(ConfigError, match="high"):
        Ramp(slope=0.1, low=3, high=2)
    with pytest.raises(ConfigError, match="slope"):
        Ramp(slope=float("nan"), low=1, high=2)


def test_aspects_to_json():
    aspects = Curriculum().aspects(np.random.default_rng(0))
    assert Aspects(**json.loads(json.dumps(aspects.to_json()))) == aspects


def test_ramp_rounds_like_decimal_arithmetic():
    assert 0.29 * 100 < 29
    assert Ramp(slope=0.29, low=0, high=100)(100) == 29
