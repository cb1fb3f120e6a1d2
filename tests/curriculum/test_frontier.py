"""The frontier rule: its arithmetic, and what it does to a simulated student."""

import json

import numpy as np
import pytest
from simulated_student import BURDENS, run

from trustee_jax.curriculum import (
    PROBED,
    Aspects,
    Curriculum,
    CurriculumConfig,
    FrontierConfig,
    Outcome,
    Ramp,
)
from trustee_jax.errors import ConfigError

FRONTIER = CurriculumConfig(rule="frontier")


def probe(name: str) -> Aspects:
    return Aspects(1.0, *(1,) * 10, probed=name)


def at(levels: dict[str, float], **options) -> Curriculum:
    curriculum = Curriculum(CurriculumConfig(rule="frontier", **options))
    curriculum.restore({"levels": dict.fromkeys(PROBED, 1.0) | levels})
    return curriculum


def frontiers(curriculum: Curriculum) -> dict[str, float]:
    return {name: curriculum.metrics()[f"frontier_{name}"] for name in PROBED}


def test_an_update_by_hand() -> None:
    curriculum = at(dict.fromkeys(PROBED, 40.0), frontier=FrontierConfig(0.5, 12.0, 4.0))
    curriculum.update(
        [
            Outcome(probe("calls"), (1.0, 1.0, 0.0)),
            Outcome(probe("calls"), (1.0, 1.0, 1.0, 1.0, -1.0)),
            Outcome(probe("turns"), (0.0,)),
            Outcome(probe("tools"), ()),  # no valid episode
        ]
    )
    # Six of eight succeed, two more than half: 12 * 2 / (8 + 4). Reward 0 is no success.
    assert frontiers(curriculum) == dict.fromkeys(PROBED, 40.0) | {
        "calls": 42.0,
        "turns": pytest.approx(40 - 12 * 0.5 / 5),
    }
    assert curriculum.difficulty == pytest.approx(np.mean(list(frontiers(curriculum).values())))


def test_few_episodes_move_little_and_no_move_is_far() -> None:
    moves = []
    for count in (1, 2, 8, 1000):
        curriculum = at({"calls": 40.0})
        curriculum.update([Outcome(probe("calls"), (1.0,) * count)])
        moves.append(frontiers(curriculum)["calls"] - 40)
    assert moves == sorted(moves)
    assert moves[0] < 2
    assert moves[-1] < FRONTIER.frontier.gain / 2


def test_levels_stay_in_their_range() -> None:
    curriculum = at({"calls": 198.0, "turns": 2.0})
    curriculum.update([Outcome(probe("calls"), (1.0,) * 50), Outcome(probe("turns"), (0.0,) * 50)])
    assert (frontiers(curriculum)["calls"], frontiers(curriculum)["turns"]) == (199.0, 1.0)
    assert curriculum.difficulty <= 100


def test_a_task_probes_one_aspect_at_its_frontier_among_easier_ones() -> None:
    levels = {"tools": 65.0, "calls": 70.0, "persona": 50.0, "criteria": 75.0, "ambiguity": 100.0}
    curriculum = at(levels, epsilon=1.0)
    rng = np.random.default_rng(0)
    at_frontier = {name: FRONTIER.ramps[name](levels.get(name, 1.0)) for name in PROBED}
    drawn = [curriculum.aspects(rng) for _ in range(2000)]
    assert {a.probed for a in drawn} == set(PROBED)
    for aspects in drawn:
        assert not aspects.redrawn
        assert getattr(aspects, aspects.probed) == at_frontier[aspects.probed]
        assert all(getattr(aspects, name) <= at_frontier[name] for name in PROBED)
        # As the method has it, a tool turn for each expected call.
        assert aspects.calls <= aspects.tool_turns
    others = [a.tools for a in drawn if a.probed != "tools"]
    assert set(others) == set(range(1, 7))
    assert np.mean(others) < 4


def test_beyond_its_hardest_an_aspect_asks_for_harder_company() -> None:
    means = []
    for level in (100.0, 150.0, 199.0):
        curriculum = at(dict.fromkeys(PROBED, 100.0) | {"persona": level})
        rng = np.random.default_rng(0)
        drawn = [a for a in (curriculum.aspects(rng) for _ in range(3000)) if a.probed == "persona"]
        assert {a.persona for a in drawn} == {2}
        means.append(np.mean([a.tools for a in drawn]))
    assert means[0] < 6 < 7 < means[1] < 8.5 < means[2] == 10


def test_pinned_aspects_are_not_probed() -> None:
    pinned = Curriculum(CurriculumConfig(rule="frontier", calls=Ramp(slope=0.0, low=3, high=3)))
    rng = np.random.default_rng(0)
    drawn = [pinned.aspects(rng) for _ in range(200)]
    assert {a.probed for a in drawn} == set(PROBED) - {"calls"}
    assert {a.calls for a in drawn} == {3}


def test_a_restored_curriculum_goes_on_as_before() -> None:
    def step(curriculum: Curriculum, seed: int) -> None:
        rng = np.random.default_rng(seed)
        tasks = [curriculum.aspects(rng) for _ in range(8)]
        curriculum.update([Outcome(a, tuple(rng.choice([0.0, 1.0, 1.0], 6))) for a in tasks])

    straight, first, second = Curriculum(FRONTIER), Curriculum(FRONTIER), Curriculum(FRONTIER)
    for seed in range(6):
        step(straight, seed)
    for seed in range(3):
        step(first, seed)
    second.restore(json.loads(json.dumps(first.state())))
    for seed in range(3, 6):
        step(second, seed)
    assert second.state() == straight.state() != first.state()


@pytest.mark.parametrize("levels", [None, {}, {"tools": 3.0}, dict.fromkeys(PROBED, 200.0)])
def test_restore_refuses_what_is_no_state(levels) -> None:
    with pytest.raises(ValueError, match="saved under"):
        Curriculum(FRONTIER).restore({"levels": levels})


@pytest.mark.parametrize(("option", "value"), [("target", 1.0), ("gain", 0.0), ("prior", -1.0)])
def test_bad_options(option, value) -> None:
    with pytest.raises(ConfigError) as error:
        FrontierConfig(**{option: value})
    assert error.value.field == f"frontier.{option}"


# The simulated student: 200 steps of 16 tasks x 8 episodes, 15% of which are invalid.


@pytest.fixture(scope="module")
def histories():
    rules = {
        "frontier": FRONTIER,
        "scalar": CurriculumConfig(),
        "fixed": CurriculumConfig(rule="fixed", initial=50.0),
    }
    return {name: [run(config, seed=seed) for seed in range(4)] for name, config in rules.items()}


def test_every_aspect_is_held_at_the_target(histories) -> None:
    for name in PROBED:
        late = [won for h in histories["frontier"] for step, won in h.probes[name] if step >= 60]
        assert np.mean(late) == pytest.approx(0.5, abs=0.06), name


def test_frontiers_are_ordered_by_what_the_student_finds_hard(histories) -> None:
    levels = {
        name: np.mean([h.levels[80][f"frontier_{name}"] for h in histories["frontier"]])
        for name in PROBED
    }
    hardest, easiest = max(BURDENS, key=BURDENS.get), min(BURDENS, key=BURDENS.get)
    assert levels[hardest] == min(levels.values())
    assert levels[hardest] + 40 < levels[easiest]


def test_success_is_nearer_to_the_target_than_with_one_difficulty_or_none(histories) -> None:
    def distance(history) -> float:
        smooth = history.success[60:].reshape(-1, 10).mean(axis=1)
        return float(np.mean(np.abs(smooth - 0.5)))

    distances = {rule: np.mean([distance(h) for h in many]) for rule, many in histories.items()}
    skills = {rule: np.mean([h.student.skill for h in many]) for rule, many in histories.items()}
    print(f"\ndistance of the success rate from 0.5: {distances}; skill at the end: {skills}")
    assert distances["frontier"] < 0.06
    assert distances["frontier"] < distances["scalar"] / 1.5
    assert distances["frontier"] < distances["fixed"] / 3
    assert skills["frontier"] > 1.2 * max(skills["scalar"], skills["fixed"])


def test_the_target_is_an_option() -> None:
    config = CurriculumConfig(rule="frontier", frontier=FrontierConfig(target=0.7))
    history = run(config, seed=1)
    assert np.mean(history.success[100:]) == pytest.approx(0.7, abs=0.05)


def test_few_tasks_and_few_valid_episodes_are_enough() -> None:
    for options in ({"tasks": 4, "episodes": 4}, {"valid": 0.3}):
        success = np.concatenate([run(FRONTIER, seed=s, **options).success[80:] for s in range(4)])
        assert np.nanmean(success) == pytest.approx(0.5, abs=0.08), options


def test_the_same_seed_gives_the_same_history() -> None:
    first, second = (run(FRONTIER, steps=20, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.success, second.success)
    assert first.levels == second.levels
