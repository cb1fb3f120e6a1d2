"""A step's tasks and groups: written, played, and refilled where they would teach nothing."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import numpy as np

from trustee_jax import streams
from trustee_jax.curriculum import Curriculum, Outcome
from trustee_jax.engine import Completion, Request
from trustee_jax.environment import (
    Episode,
    Help,
    RecentTasks,
    Task,
    draw_tools,
    generate_task,
    run_episode,
)
from trustee_jax.environment import run as drive
from trustee_jax.environment.invocations import Invocation
from trustee_jax.environment.probe import Probe, answer, draw_questions
from trustee_jax.errors import ConfigError
from trustee_jax.progress import Progress
from trustee_jax.rl import GroupStatus, Trajectory, trajectories_status
from trustee_jax.simulator import Failure
from trustee_jax.simulator.simulator import Key
from trustee_jax.streams import Purpose
from trustee_jax.toolsets import ToolRepository
from trustee_jax.training.config import TrainingConfig
from trustee_jax.training.system import System

T = TypeVar("T")


@dataclasses.dataclass(eq=False)
class Group:
    """A task and its episodes.

    Attributes:
      task: The task.
      index: Its number within the step.
      episodes: All that were played, in the order of their keys.
      replaced: Whether another task is played in its stead.
    """

    task: Task
    index: int
    episodes: list[Episode] = dataclasses.field(default_factory=list)
    replaced: bool = False

    @property
    def rewards(self) -> list[float | None]:
        """One per episode; None where it is invalid."""
        return [episode.reward for episode in self.episodes]

    @property
    def trajectories(self) -> list[Trajectory]:
        """What the learner sees of it."""
        return [
            Trajectory(episode.sequences, episode.reward, episode.ended in ("length", "context"))
            for episode in self.episodes
        ]

    @property
    def outcome(self) -> Outcome:
        """What the curriculum sees of it."""
        return Outcome(self.task.aspects, tuple(r for r in self.rewards if r is not None))


@dataclasses.dataclass
class PhaseStats:
    """What one phase of a step has cost.

    Attributes:
      seconds: Wall-clock time.
      prompt: Tokens of all contexts.
      prefilled: Of these, computed rather than found in a cache.
      sampled: Tokens drawn.
    """

    seconds: float = 0.0
    prompt: int = 0
    prefilled: int = 0
    sampled: int = 0


@dataclasses.dataclass(eq=False)
class StepRollouts:
    """What a step has gathered so far.

    Attributes:
      step: The step's number.
      recent: Tasks that a new one must not repeat, those of this step among them.
      groups: Of the tasks that could be written; without episodes until they are played.
      draws: Draws of tools and aspects.
      failures: Draws without a task, by cause.
      rejections: Tasks that were written and refused, by reason.
      unused_tasks: Draws that gave a task while an earlier one of the same task did, too.
      refills: Groups that were played in addition.
      policy_step: Training steps that the policy which played it had behind it; None until it is
        played.
      phases: By name, "tasks" and "episodes".
    """

    step: int
    recent: RecentTasks
    groups: list[Group] = dataclasses.field(default_factory=list)
    draws: int = 0
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rejections: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unused_tasks: int = 0
    refills: int = 0
    policy_step: int | None = None
    phases: dict[str, PhaseStats] = dataclasses.field(
        default_factory=lambda: {"tasks": PhaseStats(), "episodes": PhaseStats()}
    )

    @property
    def episodes(self) -> list[Episode]:
        """Of all groups."""
        return [episode for group in self.groups for episode in group.episodes]


class RolloutCollector:
    """Writes a step's tasks and plays their episodes.

    What is random follows from the config's seed, the step, the task's number and the draw or the
    episode alone, so that a resumed run repeats it.
    """

    def __init__(
        self,
        config: TrainingConfig,
        system: System,
        repository: ToolRepository,
        progress: Progress,
        should_stop: Callable[[], bool],
        seed: int,
    ):
        """Takes the objects of the run; see `Trainer`."""
        self._seed = seed
        self._config = config
        self._system = system
        self._repository = repository
        self._progress = progress
        self._should_stop = should_stop

    def probe(self, step: int = 0) -> Probe:
        """Asks the policy for calls, as it stands.

        Args:
          step: The step that it was trained in last; each has questions of its own. A probe after
            one is part of it, and is not stopped.

        Raises:
          Stopped: The run was asked to stop.
        """
        self._system.refresh_policy()
        count = self._config.probe_turns
        questions = draw_questions(self._repository, count, self._seed, first=step * count)
        asked = [
            answer(self._system.environment, question, step * count + number)
            for number, question in enumerate(questions)
        ]
        with self._progress.phase(max(1, step), "probe", len(asked)) as advance:
            kinds = drive(
                asked,
                self._system.engines,
                on_progress=lambda ended, _: advance(ended),
                should_stop=None if step else self._should_stop,
            )
        return Probe.of(kinds)

    def write_tasks(self, step: int, curriculum: Curriculum, recent: RecentTasks) -> StepRollouts:
        """Writes the tasks of a step; the curriculum and `recent` are only read.

        A task that could not be written is missing, not replaced by a dummy.

        Raises:
          Stopped: The run was asked to stop.
          ConfigError: In the first step, every prompt is longer than the engine takes.
        """
        rollouts = StepRollouts(step, RecentTasks(recent.size, recent.threshold))
        rollouts.recent.restore(recent.state())
        self._system.forget()
        details = self._write(rollouts, curriculum, range(self._config.tasks_per_step))
        if not rollouts.groups and set(rollouts.failures) == {"task_too_long"}:
            self._check_fit(step, "task", details["task_too_long"])
        return rollouts

    def play(
        self,
        rollouts: StepRollouts,
        curriculum: Curriculum,
        on_episode: Callable[[Episode], None] = lambda episode: None,
        help: Callable[[Task, Key], Help] | None = None,
    ) -> None:
        """Plays a group of episodes for every task, and refills groups up to the budget.

        A group is refilled while it is good for nothing: one with too few valid episodes plays
        further ones in place of the invalid ones; one without variance makes room for a new task.
        The episodes that were played stay, and the valid ones among them count in all means.

        Args:
          rollouts: The step's tasks; receives the episodes.
          curriculum: The one that the tasks were drawn from; only read.
          on_episode: Receives each episode as it ends, in an order that a resumed run repeats.
          help: What the policy of each episode gets besides. Of such, successes alone are of use:
            no group is refilled.

        Raises:
          Stopped: The run was asked to stop.
          ConfigError: In the first step, every prompt is longer than the engine takes.
        """
        options = self._config
        first_round = [(group, options.group_size) for group in rollouts.groups]
        self._play(rollouts, first_round, on_episode, help)
        first = rollouts.episodes
        if first and all(episode.cause == "prompt_too_long" for episode in first):
            self._check_fit(rollouts.step, "episode", first[0].detail)
        if help is not None:
            return
        next_index = options.tasks_per_step
        while rollouts.refills < options.refill_groups:
            useless = [group for group in rollouts.groups if self._useless(group)]
            useless = useless[: options.refill_groups - rollouts.refills]
            if not useless:
                break
            rollouts.refills += len(useless)
            equal = [group for group in useless if self.status(group) == "zero_variance"]
            for group in equal:
                group.replaced = True
            again = [
                (group, options.group_size - len(group.outcome.rewards))
                for group in useless
                if not group.replaced
            ]
            known = len(rollouts.groups)
            self._write(rollouts, curriculum, range(next_index, next_index + len(equal)))
            next_index += len(equal)
            new = [(group, options.group_size) for group in rollouts.groups[known:]]
            self._play(rollouts, again + new, on_episode)

    def status(self, group: Group) -> GroupStatus:
        """What a group is good for."""
        learner = self._system.learner.config
        return trajectories_status(group.trajectories, learner, self._config.min_valid)

    def _useless(self, group: Group) -> bool:
        status, keep = self.status(group), self._system.learner.config.zero_variance_groups
        kept = status == "zero_variance" and keep == "keep"
        return not (group.replaced or status == "trainable" or kept)

    def _write(
        self, rollouts: StepRollouts, curriculum: Curriculum, indices: Sequence[int]
    ) -> dict[str, str]:
        """Adds a group for every task that could be written; returns a detail of each failure."""
        options, step, recent = self._config, rollouts.step, rollouts.recent
        details: dict[str, str] = {}
        found: dict[int, dict[int, Task]] = {index: {} for index in indices}

        def write(index: int, first: int) -> Generator[Request, Completion, None]:
            """Every `attempts_in_flight`th draw, until any draw before the next one gave a task."""
            for draw in range(first, options.max_task_attempts, options.attempts_in_flight):
                if any(other < draw for other in found[index]):
                    return
                place = (step, index, draw)
                aspects = curriculum.aspects(streams.generator(Purpose.ASPECTS, self._seed, *place))
                rng = streams.generator(Purpose.TOOLS, self._seed, *place)
                tools, offered = draw_tools(self._repository, rng, aspects)
                rollouts.draws += 1
                task = yield from generate_task(
                    self._system.environment,
                    tools,
                    aspects,
                    place,
                    offered=offered,
                    recent=recent,
                    rejections=rollouts.rejections,
                )
                if isinstance(task, Failure):
                    rollouts.failures[task.cause] += 1
                    details[task.cause] = task.detail
                elif recent.nearest(task.text) >= recent.threshold:
                    # Of one that was written at the same time.
                    rollouts.rejections["near_copy"] += 1
                else:
                    recent.add(task.text)
                    found[index][draw] = task
                    return

        before = recent.state()
        firsts = range(min(options.attempts_in_flight, options.max_task_attempts))
        self._drive(
            rollouts,
            "tasks",
            [write(index, first) for first in firsts for index in indices],
            total=len(indices),
            finished=lambda: sum(map(bool, found.values())),
        )
        # What is not played may be written again.
        recent.restore(before)
        for index, tasks in found.items():
            if tasks:
                task = tasks[min(tasks)]
                rollouts.groups.append(Group(task, index))
                rollouts.unused_tasks += len(tasks) - 1
                recent.add(task.text)
        return details

    def _play(
        self,
        rollouts: StepRollouts,
        wanted: Sequence[tuple[Group, int]],
        on_episode: Callable[[Episode], None],
        help: Callable[[Task, Key], Help] | None = None,
    ) -> None:
        """Adds as many episodes to each group as are wanted of it."""
        environment = self._system.environment
        groups = [group for group, count in wanted for _ in range(count)]
        numbers = [len(group.episodes) + i for group, count in wanted for i in range(count)]

        def play(group: Group, number: int) -> Generator[Request | Invocation, Any, Episode]:
            key = (rollouts.step, group.index, number)
            helped = None if help is None else help(group.task, key)
            episode = yield from run_episode(environment, group.task, key, helped)
            on_episode(episode)
            return episode

        coroutines = [play(*one) for one in zip(groups, numbers, strict=True)]
        played = self._drive(rollouts, "episodes", coroutines)
        for group, episode in zip(groups, played, strict=True):
            group.episodes.append(episode)

    def _check_fit(self, step: int, what: str, detail: str) -> None:
        # Later steps have longer prompts than the first: only some of them need to fit.
        if step == 1:
            fix = f"no {what} of the first step fits ({detail}); raise it"
            length = self._system.environment.max_length
            raise ConfigError("engine.max_length", length, fix)

    def _drive(
        self,
        rollouts: StepRollouts,
        phase: str,
        coroutines: Sequence[Generator[Request | Invocation, Any, T]],
        *,
        total: int | None = None,
        finished: Callable[[], int] | None = None,
    ) -> list[T]:
        """Runs coroutines over the engines, showing and timing them.

        Args:
          rollouts: Receives what it cost.
          phase: Its name.
          coroutines: What is run.
          total: What the display counts up to; by default the coroutines.
          finished: How far it has come; by default the coroutines that have ended.
        """
        if not coroutines:
            return []
        start = time.monotonic()
        engines = list(dict.fromkeys(self._system.engines.values()))

        def totals() -> np.ndarray:
            """Prompt, prefilled and sampled tokens of all engines."""
            counts = [
                (stats.prompt_tokens, stats.prefilled_tokens, stats.sampled_tokens)
                for stats in (engine.stats for engine in engines)
            ]
            return np.sum(counts, axis=0)

        before = totals()

        def show(ended: int, _: int) -> None:
            advance(finished() if finished else ended, int((totals() - before)[2]))

        total = len(coroutines) if total is None else total
        with self._progress.phase(rollouts.step, phase, total) as advance:
            results = drive(
                coroutines,
                self._system.engines,
                threads=self._system.environment.config.tool_threads,
                on_progress=show,
                should_stop=self._should_stop,
            )
        work = rollouts.phases[phase]
        prompt, prefilled, sampled = (totals() - before).tolist()
        work.seconds += time.monotonic() - start
        work.prompt += prompt
        work.prefilled += prefilled
        work.sampled += sampled
        return results
