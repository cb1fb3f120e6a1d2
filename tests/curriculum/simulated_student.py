"""A student in place of a policy: its success falls with every aspect, and practice raises it."""

import dataclasses
import math

import numpy as np

from trustee_jax.curriculum import PROBED, Curriculum, CurriculumConfig, Outcome

# Logits that an aspect at its hardest takes away: some hardly matter, one is never learnt.
BURDENS = {
    "tools": 1.0,
    "calls": 3.0,
    "persona": 0.5,
    "ambiguity": 4.0,
    "turns": 2.0,
    "criteria": 3.0,
    "system_prompt": 0.3,
}


class Student:
    """Succeeds with probability sigmoid(skill - what the task's aspects take away)."""

    def __init__(self, skill: float, learning: float):
        self.skill = skill
        self.learning = learning  # of skill an episode, most where success is uncertain

    def play(self, curriculum: Curriculum, aspects, episodes: int, rng) -> Outcome:
        ramps = curriculum.config.ramps
        logit = self.skill
        for name, burden in BURDENS.items():
            ramp = ramps[name]
            logit -= burden * (getattr(aspects, name) - ramp.low) / (ramp.high - ramp.low)
        chance = 1 / (1 + math.exp(-logit))
        won = rng.random(episodes) < chance
        # What GRPO learns from a group grows with the variance of its rewards.
        self.skill += self.learning * episodes * 4 * chance * (1 - chance)
        return Outcome(aspects, tuple(1.0 if w else float(rng.choice([0.0, -1.0])) for w in won))


@dataclasses.dataclass
class History:
    """What a run of the student leaves.

    Attributes:
      success: share of the episodes with reward 1, by step.
      probes: by aspect, [(step, success)] of the episodes that probed it.
      levels: metrics of the curriculum, by step.
    """

    success: np.ndarray
    probes: dict[str, list[tuple[int, bool]]]
    levels: list[dict[str, float]]
    student: Student


def run(
    config: CurriculumConfig,
    *,
    steps: int = 200,
    tasks: int = 16,
    episodes: int = 8,
    valid: float = 0.85,
    skill: float = 1.5,
    learning: float = 3e-4,
    seed: int = 0,
) -> History:
    """Lets a student learn; each episode is valid with the given probability."""
    rng = np.random.default_rng(seed)
    curriculum, student = Curriculum(config), Student(skill, learning)
    success, levels = [], []
    probes: dict[str, list[tuple[int, bool]]] = {name: [] for name in PROBED}
    for step in range(steps):
        levels.append(curriculum.metrics())
        outcomes = []
        for _ in range(tasks):
            aspects = curriculum.aspects(rng)
            count = int(rng.binomial(episodes, valid))
            outcomes.append(student.play(curriculum, aspects, count, rng))
        won = [reward >= 1 for outcome in outcomes for reward in outcome.rewards]
        success.append(np.mean(won) if won else np.nan)
        for outcome in outcomes:
            if outcome.aspects.probed is not None:
                probes[outcome.aspects.probed] += [(step, r >= 1) for r in outcome.rewards]
        curriculum.update(outcomes)
    return History(np.array(success), probes, levels, student)
