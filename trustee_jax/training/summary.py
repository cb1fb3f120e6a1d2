"""What a step's tasks and episodes look like as numbers and as text."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from trustee_jax.environment import INVALID_CAUSES, REJECTIONS, Counts, End, Episode
from trustee_jax.rl import Fate
from trustee_jax.simulator import CRITERIA
from trustee_jax.simulator.simulator import Problem
from trustee_jax.simulator.transcript import transcript
from trustee_jax.training.collect import Collection

TASK_CAUSES = tuple(
    f"{role}_{problem}" for role in ("task", "world") for problem in get_args(Problem)
)
"""Why a draw gives no task: the role that failed, and its `Failure.problem`."""

_ASPECTS = (
    "tools",
    "calls",
    "persona",
    "ambiguity",
    "turns",
    "criteria",
    "system_prompt",
    "user_turns",
    "assistant_turns",
    "tool_turns",
)


def mean_reward(episodes: Iterable[Episode]) -> float | None:
    """Mean over the valid episodes; None if there is none."""
    rewards = [episode.reward for episode in episodes if episode.reward is not None]
    return sum(rewards) / len(rewards) if rewards else None


def curriculum_scalars(held: Mapping[str, float], episodes: Sequence[Episode]) -> dict[str, float]:
    """What the curriculum held, and how often its probes of each aspect succeeded.

    Args:
      held: `Curriculum.metrics` at which the step was played.
      episodes: Of the step.
    """
    scalars = {f"curriculum/{name}": value for name, value in held.items()}
    probes: dict[str, list[bool]] = {}
    for episode in episodes:
        if episode.reward is not None and episode.task.aspects.probed is not None:
            probes.setdefault(episode.task.aspects.probed, []).append(episode.reward >= 1)
    return scalars | {f"curriculum/success_{n}": _mean(probes[n]) for n in sorted(probes)}


def collection_scalars(collection: Collection, fates: Mapping[Fate, int]) -> dict[str, float]:
    """Everything about a step's tasks, groups and episodes, and what they have cost.

    Args:
      collection: The step's.
      fates: Groups by what they were good for.
    """
    scalars = _task_scalars(collection)
    scalars |= {f"groups/{fate}": float(fates.get(fate, 0)) for fate in get_args(Fate)}
    scalars["groups/refills"] = float(collection.refills)
    scalars |= episode_scalars(collection.episodes)
    for phase, work in collection.work.items():
        scalars[f"seconds/{phase}"] = work.seconds
        scalars[f"tokens_per_second/{phase}"] = work.sampled / work.seconds if work.seconds else 0.0
        scalars[f"engine/{phase}_sampled_tokens"] = float(work.sampled)
        scalars[f"engine/{phase}_prefilled_tokens"] = float(work.prefilled)
        cached = 1 - work.prefilled / work.prompt if work.prompt else 0.0
        scalars[f"engine/{phase}_cached_share"] = cached
    return scalars


def _task_scalars(collection: Collection) -> dict[str, float]:
    """Aspects of the tasks, and how often none could be written, or not used, by cause.

    A failure's share is of the draws; a rejection's of all tasks that were written, used or not.
    """
    tasks = [group.task for group in collection.groups]
    failures, rejections = collection.failures, collection.rejections
    scalars = {
        "tasks/written": float(len(tasks)),
        "tasks/draws": float(collection.draws),
        "tasks/surplus": float(collection.unused_tasks),
        "tasks/failed": float(failures.total()),
        "tasks/rejected": float(rejections.total()),
    }
    for cause in TASK_CAUSES:
        scalars[f"tasks/failed_{cause}"] = float(failures[cause])
        scalars[f"share/failed_{cause}"] = _share(failures[cause], collection.draws)
    texts = len(tasks) + collection.unused_tasks + rejections.total()
    for reason in REJECTIONS:
        scalars[f"tasks/rejected_{reason}"] = float(rejections[reason])
        scalars[f"share/rejected_{reason}"] = _share(rejections[reason], texts)
    for name in _ASPECTS if tasks else ():
        scalars[f"curriculum/{name}"] = _mean(getattr(task.aspects, name) for task in tasks)
    # A category may have fewer tools than were asked for.
    if tasks:
        scalars["curriculum/tools"] = _mean(len(task.tools) for task in tasks)
        scalars["curriculum/redrawn"] = _mean(task.aspects.redrawn for task in tasks)
    return scalars


def episode_scalars(episodes: Sequence[Episode]) -> dict[str, float]:
    """Rewards, validity by cause, and means of the counts over the valid episodes.

    `policy/unmarked_calls` is no mean, but how many there were in the valid episodes.
    """
    valid = [episode for episode in episodes if episode.valid]
    causes = collections.Counter(episode.cause for episode in episodes)
    scalars = {
        "episodes/played": float(len(episodes)),
        "episodes/valid": _share(len(valid), len(episodes)),
    }
    for cause in INVALID_CAUSES:
        scalars[f"episodes/invalid_{cause}"] = float(causes[cause])
        scalars[f"share/invalid_{cause}"] = _share(causes[cause], len(episodes))
    scalars["policy/unmarked_calls"] = float(sum(e.counts.unmarked_calls for e in valid))
    if not valid:
        return scalars
    rewards = collections.Counter(episode.reward for episode in valid)
    scalars["reward/mean"] = mean_reward(valid) or 0.0
    for name, value in (("positive", 1.0), ("zero", 0.0), ("negative", -1.0)):
        scalars[f"reward/{name}"] = rewards[value] / len(valid)
    scalars["reward/no_call"] = _mean(episode.verdict is None for episode in valid)
    for criterion in CRITERIA:
        parts = [
            episode.verdict.criteria[criterion]
            for episode in valid
            if episode.verdict and criterion in episode.verdict.criteria
        ]
        if parts:
            scalars[f"reward/{criterion}"] = _mean(parts)
    ends = collections.Counter(episode.ended for episode in valid)
    scalars |= {f"ended/{ended}": ends[ended] / len(valid) for ended in get_args(End)}
    for field in dataclasses.fields(Counts):
        scalars[f"counts/{field.name}"] = _mean(getattr(e.counts, field.name) for e in valid)
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
        f"expected calls: {', '.join(task.expected_calls)}",
        "",
        *transcript(episode.messages, unmarked=True),
    ]
    if episode.verdict:
        lines += ["", f"verdict: {episode.verdict.criteria}"]
        lines += [f"{part.criterion}: {part.reasoning}" for part in episode.verdict.parts]
        lines += [f"veto on {v.criterion}: {v.reason}" for v in episode.verdict.vetoes]
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed)


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0
