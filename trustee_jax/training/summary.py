"""What a step's tasks and episodes look like as numbers and as text."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from trustee_jax.curriculum import ASPECTS
from trustee_jax.environment import (
    INVALID_CAUSES,
    REJECTIONS,
    USER_FAULTS,
    Counts,
    End,
    Episode,
    Task,
    Verdict,
)
from trustee_jax.rl import GroupStatus
from trustee_jax.simulator import CRITERIA
from trustee_jax.simulator.simulator import causes_of
from trustee_jax.simulator.transcript import transcript
from trustee_jax.training.collect import StepRollouts

TASK_CAUSES = causes_of("task", "world")
"""Why a draw gives no task: the role that failed, and its `Failure.problem`."""

# What was lost is counted, not given as a share: counts are exact and add up over steps, and each
# step has the totals to divide them by. How valid episodes ended are shares, which add up to 1.
CAUSES = ("tasks/failed_", "tasks/rejected_", "episodes/invalid_", "user/refused_", "ended/")
"""How the names of metrics begin that a step has only for what occurred in it."""

LAYOUT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "Reward": {
        "Mean reward": ["reward/mean", "judge/.+"],
        "Share of episodes by sign of the reward": [
            "reward/positive",
            "reward/zero",
            "reward/negative",
        ],
        "Criteria met": [f"reward/{criterion}" for criterion in CRITERIA],
        "Reasons that recite the question": ["verdict/.+"],
    },
    "Validity": {
        "Share of valid episodes": ["episodes/valid"],
        "Invalid episodes by cause": ["episodes/invalid_.+"],
        "Refused messages of the user by fault": ["user/refused_.+"],
        "Failed task draws by cause": ["tasks/failed_.+"],
        "Rejected tasks by reason": ["tasks/rejected_.+"],
    },
    "Difficulty": {
        "Difficulty": ["curriculum/difficulty"],
        "Difficulty of each frontier": ["curriculum/frontier_.+"],
        "Success rate at each frontier": ["curriculum/success_.+"],
    },
    "KL": {
        "KL to the initial policy": ["learner/kl"],
        "Log-probability difference of sampler and learner": [
            "learner/logprob_difference",
            "learner/logprob_difference_max",
        ],
    },
    "Speed": {
        "Seconds by phase": ["seconds/.+"],
        "Tokens per second": ["tokens_per_second/.+"],
    },
}
"""What to look at first: category -> chart -> regular expressions of its metrics' names."""


def mean_reward(episodes: Iterable[Episode]) -> float | None:
    """Mean over the valid episodes; None if there is none."""
    rewards = [episode.reward for episode in episodes if episode.reward is not None]
    return sum(rewards) / len(rewards) if rewards else None


def curriculum_scalars(
    before: Mapping[str, float], episodes: Sequence[Episode]
) -> dict[str, float]:
    """What the curriculum was at, and how often its probes of each aspect succeeded.

    Args:
      before: `Curriculum.metrics` at which the step was played.
      episodes: Of the step.
    """
    scalars = {f"curriculum/{name}": value for name, value in before.items()}
    probes: dict[str, list[bool]] = {}
    for episode in episodes:
        if episode.reward is not None and episode.task.aspects.probed is not None:
            probes.setdefault(episode.task.aspects.probed, []).append(episode.reward >= 1)
    return scalars | {f"curriculum/success_{n}": _mean(probes[n]) for n in sorted(probes)}


def rollout_scalars(
    rollouts: StepRollouts, statuses: Mapping[GroupStatus, int]
) -> dict[str, float]:
    """Everything about a step's tasks, groups and episodes, and what they have cost.

    Args:
      rollouts: The step's.
      statuses: Groups by what they were good for.
    """
    scalars = _task_scalars(rollouts)
    for status in get_args(GroupStatus):
        scalars[f"groups/{status}"] = float(statuses.get(status, 0))
    scalars["groups/refills"] = float(rollouts.refills)
    scalars |= episode_scalars(rollouts.episodes)
    for phase, work in rollouts.phases.items():
        scalars[f"seconds/{phase}"] = work.seconds
        scalars[f"tokens_per_second/{phase}"] = work.sampled / work.seconds if work.seconds else 0.0
        scalars[f"engine/{phase}_sampled_tokens"] = float(work.sampled)
        scalars[f"cache/{phase}_prefilled_tokens"] = float(work.prefilled)
        scalars[f"cache/{phase}_prefilled_share"] = work.prefilled / max(1, work.prompt)
    return scalars


def _task_scalars(rollouts: StepRollouts) -> dict[str, float]:
    """Aspects of the tasks, and how often none could be written, or not used, by cause."""
    tasks = [group.task for group in rollouts.groups]
    failures, rejections = rollouts.failures, rollouts.rejections
    scalars = {
        "tasks/written": float(len(tasks)),
        "tasks/draws": float(rollouts.draws),
        "tasks/unused": float(rollouts.unused_tasks),
        "tasks/failed": float(failures.total()),
        "tasks/rejected": float(rejections.total()),
    }
    scalars |= _occurred("tasks/failed_", failures, TASK_CAUSES)
    scalars |= _occurred("tasks/rejected_", rejections, REJECTIONS)
    return scalars | aspect_scalars(tasks)


def aspect_scalars(tasks: Sequence[Task]) -> dict[str, float]:
    """Mean of each aspect over a step's tasks; empty if there is none."""
    if not tasks:
        return {}
    means = {
        f"curriculum/{row.name}": _mean(getattr(task.aspects, row.name) for task in tasks)
        for row in ASPECTS
    }
    # A category may have fewer tools than were asked for.
    means["curriculum/tools"] = _mean(len(task.tools) for task in tasks)
    for name in ("redrawn", "irrelevant"):
        means[f"curriculum/{name}"] = _mean(getattr(task.aspects, name) for task in tasks)
    return means


def episode_scalars(episodes: Sequence[Episode]) -> dict[str, float]:
    """Rewards, validity by cause, and means of the counts over the valid episodes."""
    valid = [episode for episode in episodes if episode.valid]
    causes = collections.Counter(episode.cause for episode in episodes)
    scalars = {
        "episodes/played": float(len(episodes)),
        "episodes/valid": len(valid) / len(episodes) if episodes else 0.0,
    }
    scalars |= _occurred("episodes/invalid_", causes, INVALID_CAUSES)
    scalars |= _user_scalars(episodes)
    if not valid:
        return scalars
    rewards = [episode.reward for episode in valid if episode.reward is not None]
    scalars["reward/mean"] = mean_reward(valid) or 0.0
    scalars["reward/positive"] = _mean(reward > 0 for reward in rewards)
    scalars["reward/zero"] = _mean(reward == 0 for reward in rewards)
    scalars["reward/negative"] = _mean(reward < 0 for reward in rewards)
    scalars["reward/no_call"] = _mean(episode.verdict is None for episode in valid)
    for criterion in CRITERIA:
        parts = [
            episode.verdict.criteria[criterion]
            for episode in valid
            if episode.verdict and criterion in episode.verdict.criteria
        ]
        if parts:
            scalars[f"reward/{criterion}"] = _mean(parts)
    scalars |= _judge_scalars(valid)
    scalars |= _reasons_scalars(valid)
    ends = collections.Counter(episode.ended for episode in valid)
    scalars |= {f"ended/{end}": ends[end] / len(valid) for end in get_args(End) if ends[end]}
    for field in dataclasses.fields(Counts):
        scalars[f"counts/{field.name}"] = _mean(getattr(e.counts, field.name) for e in valid)
    return scalars


def _judge_scalars(valid: Sequence[Episode]) -> dict[str, float]:
    """Mean reward of each judge over the graded episodes, where there are several."""
    rewards: dict[str, list[float]] = {}
    for episode in valid:
        for one in episode.verdict.judges if episode.verdict else ():
            # As TensorBoard spells it.
            name = re.sub(r"[^\w./-]", "_", one.judge)
            rewards.setdefault(f"judge/{name}", []).append(one.verdict.reward)
    return {name: _mean(values) for name, values in rewards.items()}


def _user_scalars(episodes: Sequence[Episode]) -> dict[str, float]:
    """Messages of the user over all episodes, the invalid ones included: used, and refused."""
    refused = collections.Counter[str]()
    for episode in episodes:
        refused.update({f: getattr(episode.counts, f"user_{f}") for f in USER_FAULTS})
    # The end of a dialogue is a message, too: the empty one.
    used = sum(episode.counts.user_turns + (episode.ended == "user") for episode in episodes)
    return {"user/used": float(used)} | _occurred("user/refused_", refused, USER_FAULTS)


def _reasons_scalars(valid: Sequence[Episode]) -> dict[str, float]:
    """How many of the verifier's reasons recite the question, and how such criteria fare."""
    parts = [part for e in valid if e.verdict for part in e.verdict.all_parts if part.reasoning]
    if not parts:
        return {}
    scalars = {"verdict/reciting": _mean(part.recites for part in parts)}
    for name, recites in (("met_reciting", True), ("met_otherwise", False)):
        if met := [part.met for part in parts if part.recites == recites]:
            scalars[f"verdict/{name}"] = _mean(met)
    return scalars


def describe(episode: Episode) -> str:
    """An episode for a reader: task, dialogue, verdict."""
    task = episode.task
    reward = episode.reward if episode.valid else f"none ({episode.cause}: {episode.detail})"
    lines = [
        f"reward {reward}",
        f"ended by {episode.ended}",
        f"tools: {', '.join(tool.name for tool in task.tools)}",
        f"persona: {task.persona}",
        f"intent: {task.intent}",
        f"expected calls: {', '.join(task.expected_calls) or 'none'}",
        "",
        *transcript(episode.messages, unmarked=True),
    ]
    if episode.verdict:
        lines += ["", *describe_verdict(episode.verdict)]
        for one in episode.verdict.judges:
            lines += ["", f"{one.judge}, weight {one.weight:g}, reward {one.verdict.reward:g}"]
            lines += describe_verdict(one.verdict)
    return "\n".join(lines)


def describe_verdict(verdict: Verdict) -> Iterator[str]:
    """A verdict for a reader, line by line: criteria, reasons, vetoes."""
    yield f"verdict: {verdict.criteria}"
    yield from (f"{part.criterion}: {part.reasoning}" for part in verdict.parts)
    yield from (f"veto on {v.criterion}: {v.reason}" for v in verdict.vetoes)


def _mean(values: Iterable[float]) -> float:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed)


def _occurred(prefix: str, counts: Mapping[Any, int], causes: Iterable[str]) -> dict[str, float]:
    return {f"{prefix}{cause}": float(counts[cause]) for cause in causes if counts[cause]}
