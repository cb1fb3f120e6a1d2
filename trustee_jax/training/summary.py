"""What a step's tasks and episodes look like as numbers and as text."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from trustee_jax.simulation import CRITERIA, INVALID_CAUSES, Counts, Episode, Task
from trustee_jax.simulation.transcript import transcript

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


def task_scalars(tasks: Sequence[Task], failures: Mapping[str, int]) -> dict[str, float]:
    """Aspects of the tasks, and how often none could be written, by cause.

    Args:
      tasks: Of the step.
      failures: Draws without a task, by cause.
    """
    scalars = {"tasks/written": float(len(tasks)), "tasks/failed": float(sum(failures.values()))}
    scalars |= {f"tasks/failed_{cause}": float(count) for cause, count in failures.items()}
    for name in _ASPECTS if tasks else ():
        scalars[f"curriculum/{name}"] = _mean(getattr(task.aspects, name) for task in tasks)
    # A category may have fewer tools than were asked for.
    if tasks:
        scalars["curriculum/tools"] = _mean(len(task.tools) for task in tasks)
        scalars["curriculum/redrawn"] = _mean(task.aspects.redrawn for task in tasks)
    return scalars


def episode_scalars(episodes: Sequence[Episode]) -> dict[str, float]:
    """Rewards, validity by cause, and means of the counts over the valid episodes."""
    valid = [episode for episode in episodes if episode.valid]
    causes = collections.Counter(episode.cause for episode in episodes)
    scalars = {
        "episodes/played": float(len(episodes)),
        "episodes/valid": len(valid) / len(episodes) if episodes else 0.0,
    }
    scalars |= {f"episodes/invalid_{cause}": float(causes[cause]) for cause in INVALID_CAUSES}
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
    for ended, count in collections.Counter(episode.ended for episode in valid).items():
        scalars[f"ended/{ended}"] = count / len(valid)
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
        *transcript(episode.messages),
    ]
    if episode.verdict:
        lines += ["", f"verdict: {episode.verdict.criteria}"]
        lines += [f"{part.criterion}: {part.reasoning}" for part in episode.verdict.parts]
        lines += [f"veto on {v.criterion}: {v.reason}" for v in episode.verdict.vetoes]
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed)
