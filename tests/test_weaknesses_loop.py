"""Known weaknesses of the published run that the curriculum and the loop must not have.

Numbers 6, 8 and 11 are tested on whole steps, in tests/training/test_collect.py.
"""

import pathlib
import runpy

import numpy as np
import pytest

from trustee_jax.config import default, parse, reference
from trustee_jax.curriculum import Curriculum, CurriculumConfig, Outcome
from trustee_jax.environment.verdict import reward_of
from trustee_jax.simulator import CRITERIA

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))
NEEDED = {0: 1, 1: 3, 2: 5}  # assistant turns, by level: one or two, several, many


def strictness(config: CurriculumConfig, steps: int = 150) -> set[int]:
    """How many criteria counted, while everything succeeded."""
    curriculum, seen = Curriculum(config), set()
    for step in range(steps):
        rng = np.random.default_rng(step)
        tasks = [curriculum.aspects(rng) for _ in range(16)]
        seen |= {aspects.criteria for aspects in tasks}
        curriculum.update([Outcome(aspects, (1.0,) * 8) for aspects in tasks])
    return seen


@pytest.mark.parametrize("rule", ["scalar", "frontier"])
def test_weakness_2_the_strictness_ladder_is_climbed_to_its_top(rule) -> None:
    for preset in (default(), reference()):
        preset.curriculum.rule = rule
        assert strictness(parse(preset).curriculum) == set(range(1, len(CRITERIA) + 1))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_weakness_2_no_config_cuts_the_ladder(path) -> None:
    config = parse(runpy.run_path(str(path))["get_config"]())
    assert max(strictness(config.curriculum)) == len(CRITERIA)


def test_weakness_2_each_rung_asks_more_of_the_same_episode() -> None:
    """Meeting all but the last criterion is a success on every rung below the top."""
    met = [True] * (len(CRITERIA) - 1) + [False]
    assert [reward_of(met[:k]) for k in range(1, len(met) + 1)] == [1.0] * 4 + [0.0]


@pytest.mark.parametrize("rule", ["scalar", "frontier", "fixed"])
@pytest.mark.parametrize("difficulty", [1.0, 34.0, 50.0, 67.0, 99.0, 100.0])
def test_weakness_7_no_task_asks_for_more_turns_than_its_limits_hold(rule, difficulty) -> None:
    curriculum = Curriculum(CurriculumConfig(rule=rule, initial=difficulty, epsilon=1.0))
    rng = np.random.default_rng(0)
    for _ in range(500):
        aspects = curriculum.aspects(rng)
        room = min(aspects.assistant_turns, 1 + aspects.user_turns + aspects.tool_turns)
        assert NEEDED[aspects.turns] <= room


def test_weakness_7_a_redraw_redraws_tools_together_with_the_rest() -> None:
    """At difficulty 1 every one of the five has one value; only a redrawn task has another."""
    curriculum = Curriculum(CurriculumConfig(initial=1.0))
    rng = np.random.default_rng(0)
    drawn = [curriculum.aspects(rng) for _ in range(4000)]
    kept = {(a.tools, a.calls, a.persona, a.ambiguity, a.turns) for a in drawn if not a.redrawn}
    assert kept == {(1, 1, 0, 0, 0)}
    redrawn = [a for a in drawn if a.redrawn]
    for name, share in (("tools", 9 / 10), ("calls", 2 / 3), ("persona", 2 / 3)):
        values = [getattr(aspects, name) for aspects in redrawn]
        assert np.mean([value > min(values) for value in values]) == pytest.approx(share, abs=0.04)
