"""The outer loop: tasks, episodes, update, curriculum; saved so that it can go on anywhere."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax

from trustee_jax import streams
from trustee_jax.curriculum import Curriculum
from trustee_jax.environment import Episode, RecentTasks, Stopped, succeeded
from trustee_jax.progress import Progress
from trustee_jax.rl import Trajectory, shuffled_rewards, update_policy
from trustee_jax.streams import Purpose
from trustee_jax.toolsets import ToolRepository
from trustee_jax.training import summary
from trustee_jax.training.checkpoint import Checkpointer
from trustee_jax.training.cold_start import ColdStart
from trustee_jax.training.collect import RolloutCollector, StepRollouts
from trustee_jax.training.config import TrainingConfig
from trustee_jax.training.evaluator import Evaluation, Evaluator
from trustee_jax.training.metrics import MetricWriter
from trustee_jax.training.records import EpisodeLog
from trustee_jax.training.system import System
from trustee_jax.training.workdir import Workdir

Scalars = dict[str, float]


def run(
    trainer: Trainer,
    workdir: Workdir,
    checkpointer: Checkpointer,
    metrics: MetricWriter,
    log: EpisodeLog,
) -> None:
    """Steps until the last one, or until asked to stop: after saving the last complete step.

    Args:
      trainer: Stands before its next step.
      workdir: Is made the run's after the first step.
      checkpointer: Receives a checkpoint every so many steps.
      metrics: Receives a step's scalars.
      log: Receives every episode.
    """
    options = trainer.config
    score: float | None = None

    def evaluate() -> None:
        nonlocal score
        if trainer.evaluates(trainer.step) and not metrics.evaluated(trainer.step):
            found = trainer.evaluate()
            metrics.evaluation(trainer.step, found.scalars)
            score = found.score

    def save() -> None:
        # A checkpoint counts on every line up to its step; the other way round, a line without a
        # checkpoint is only written again.
        log.sync()
        metrics.sync()
        trainer.save(checkpointer, score)

    try:
        evaluate()
        while trainer.step < options.steps:
            result = trainer.train_step(lambda step, episode: log.append(step, episode.to_json()))
            workdir.record()
            # The highest mean reward is that of the easiest tasks; better to know it of the same.
            step, score = trainer.step, None if trainer.evaluates() else result.reward
            metrics.scalars(step, result.scalars)
            for name, episode in result.shown.items():
                metrics.text(step, name, summary.describe(episode))
            evaluate()
            if step % options.checkpoint_every == 0 or step == options.steps:
                save()
    except Stopped:
        if trainer.step:
            save()
        then = "the same command goes on" if trainer.step else "the same command starts again"
        trainer.progress.message(f"stopped after step {trainer.step}; {then}")
    else:
        trainer.progress.message(f"finished step {trainer.step}")


class StepResult:
    """What a training step reports.

    Attributes:
      reward: Mean over the valid episodes, or None.
      scalars: For TensorBoard.
      shown: The best and the worst valid episode, by name.
    """

    def __init__(self, episodes: Sequence[Episode], scalars: Scalars):
        """Chooses the episodes to show."""
        self.reward = summary.mean_reward(episodes)
        self.scalars = scalars
        valid = sorted((e for e in episodes if e.valid), key=lambda e: e.reward or 0.0)
        self.shown = {"episode/worst": valid[0], "episode/best": valid[-1]} if valid else {}


class Trainer:
    """The method's four steps over the objects of a run.

    Attributes:
      config: Length of the run, and what a step consists of.
      step: Training steps that are complete.
      curriculum: Holds the difficulty.
      progress: The terminal's display.
    """

    def __init__(
        self,
        config: TrainingConfig,
        system: System,
        curriculum: Curriculum,
        repository: ToolRepository,
        progress: Progress,
        should_stop: Callable[[], bool],
        seed: int,
        evaluator: Evaluator | None = None,
    ):
        """Starts before the first step.

        Args:
          config: Length of the run, and what a step consists of.
          system: What computes.
          curriculum: Before its first step.
          repository: The tools that tasks are about.
          progress: The terminal's display.
          should_stop: Whether the run was asked to stop.
          seed: What is random follows from it.
          evaluator: Measures the policy now and then, if it is to be measured.
        """
        self.config = config
        self._seed = seed
        self._evaluator = evaluator
        self.step = 0
        self.curriculum = curriculum
        self.progress = progress
        environment = system.environment.config
        self._recent = RecentTasks(environment.recent_tasks, environment.near_copy)
        self._system = system
        self._should_stop = should_stop
        self._collector = RolloutCollector(config, system, repository, progress, self._poll, seed)
        self._cold_start = ColdStart(config.cold_start, repository, seed)
        self._prepared: StepRollouts | None = None
        self._policy_step = 0  # steps that the engine's policy has behind it
        self._dispatch: Callable[[], None] = lambda: None
        self._skipped = 0  # updates in a row, up to now

    def train_step(self, on_episode: Callable[[int, Episode], None]) -> StepResult:
        """Runs one step; on `Stopped` nothing but what `on_episode` saw has happened.

        Args:
          on_episode: Receives the step's number and each of its episodes, as soon as it is over.

        Raises:
          Stopped: The run was asked to stop.
          ConfigError: In the first step, every prompt is longer than the engine takes.
          NonFiniteError: Too many updates in a row were left out, or the policy's logits are not
            finite.
        """
        number, start = self.step + 1, time.monotonic()
        probed = self._probe() if number == 1 and self.config.probe_turns else {}
        helps = self._cold_start.helps(number)
        curriculum_before = self.curriculum.metrics()

        # 1. Tasks at the present difficulty.
        rollouts = self._prepared or self._write_tasks(number)
        self._prepared = None

        # 2 and 3. Episodes, each ending with its verdict.
        if rollouts.policy_step is None:
            if number == 1 or not self.config.max_staleness:
                self._refresh_policy()
            self._play(rollouts, on_episode)
        episodes = rollouts.episodes

        # 4. The curriculum moves, and the policy is updated. In this order, because the next tasks
        # need the next difficulty, but no new weights: they are written while these are computed.
        if not helps:
            self.curriculum.update([group.outcome for group in rollouts.groups])
        self._recent = rollouts.recent
        if self.config.max_staleness:
            self._refresh_policy()
        if self.config.release_cache:
            self._system.release_caches()
        learnt = self._trajectories(rollouts)
        scalars, self._skipped = update_policy(
            self._system.learner,
            learnt,
            functools.partial(self.progress.phase, number, "learning"),
            min_valid=self.config.min_valid,
            min_groups=self.config.min_groups,
            skipped=self._skipped,
            meanwhile=functools.partial(self._prepare, on_episode),
            in_parts=self.config.max_staleness > 0,
            imitate=self.config.cold_start.epochs if helps else 0,
        )

        self.step = number
        if helps:
            scalars |= self._end_cold_step(number)
            scalars["cold_start/successes"] = float(sum(map(len, learnt)))
        seconds = time.monotonic() - start
        statuses = collections.Counter(map(self._collector.status, rollouts.groups))
        scalars |= probed
        scalars |= summary.curriculum_scalars(curriculum_before, episodes)
        scalars |= summary.rollout_scalars(rollouts, statuses)
        scalars["seconds/step"] = seconds
        if self.config.max_staleness:
            assert rollouts.policy_step is not None
            scalars["learner/staleness"] = float(number - 1 - rollouts.policy_step)
        result = StepResult(episodes, scalars)
        valid = sum(episode.valid for episode in episodes)
        causes = collections.Counter(e.cause for e in episodes if not e.valid).most_common(1)
        broken = f" (mostly {causes[0][0]})" if causes else ""
        skipped = scalars["learner/skipped_updates"]
        useful = f"{statuses['trainable']}/{statuses.total()} groups of use"
        if helps:
            useful = f"{scalars['cold_start/successes']:.0f} successes with help"
        self.progress.finish_step(
            number,
            reward=result.reward,
            difficulty=curriculum_before["difficulty"],
            seconds=seconds,
            note=f"{valid}/{len(episodes)} episodes valid{broken}, {useful}, "
            f"{scalars['learner/updates']:.0f} updates"
            + (f", {skipped:.0f} skipped (not finite)" if skipped else ""),
        )
        return result

    def _probe(self) -> Scalars:
        """What the policy writes when it is asked for a call, before it has learnt anything."""
        found = self._collector.probe()
        self.progress.message(str(found))
        if self.config.cold_start.steps:
            self.progress.message(self._cold_start.probed(0, found))
        elif warning := found.warning(self._system.environment.policy_format.call_syntax):
            self.progress.message(warning)
        return found.scalars()

    def _end_cold_step(self, number: int) -> Scalars:
        """Probes the policy without help, after a step with it."""
        found = self._collector.probe(number)
        self.progress.message(self._cold_start.probed(number, found))
        shown = float(self._cold_start.demonstrations(number))
        return found.scalars("cold_start/probe") | {"cold_start/demonstrations": shown}

    def _trajectories(self, rollouts: StepRollouts) -> list[list[Trajectory]]:
        """What is learnt from, by group; of a step with help, what succeeded by judge and code."""
        if self._cold_start.helps(rollouts.step):
            return [
                [
                    one
                    for one, episode in zip(group.trajectories, group.episodes, strict=True)
                    if episode.reward == 1 and succeeded(episode)
                ]
                for group in rollouts.groups
            ]
        groups = [group.trajectories for group in rollouts.groups]
        if not self.config.shuffle_rewards:
            return groups
        rng = streams.generator(Purpose.SHUFFLE, self._seed, rollouts.step)
        config = self._system.learner.config
        return shuffled_rewards(groups, rng, config, self.config.min_valid)

    def evaluates(self, step: int | None = None) -> bool:
        """Whether the policy is evaluated after that many steps; without a number, whether ever."""
        if self._evaluator is None:
            return False
        return step is None or step % self._evaluator.every == 0 or step == self.config.steps

    def evaluate(self) -> Evaluation:
        """Measures the policy as it stands; what a run draws and plays stays as it is without.

        Raises:
          Stopped: The run was asked to stop.
        """
        assert self._evaluator is not None
        before = self._system.policy
        self._system.refresh_policy()
        self._system.forget()
        try:
            found = self._evaluator(self.step)
        finally:
            if before is not None:
                # With `max_staleness` it plays the next step, too.
                self._system.use_policy(before)
        self.progress.message(f"evaluated after step {self.step}: {found.note}")
        return found

    def _write_tasks(self, number: int) -> StepRollouts:
        return self._collector.write_tasks(number, self.curriculum, self._recent)

    def _refresh_policy(self) -> None:
        self._system.refresh_policy()
        self._policy_step = self.step

    def _play(self, rollouts: StepRollouts, on_episode: Callable[[int, Episode], None]) -> None:
        seen = functools.partial(on_episode, rollouts.step)
        cold = self._cold_start
        help = cold.help if cold.helps(rollouts.step) else None
        self._collector.play(rollouts, self.curriculum, seen, help)
        rollouts.policy_step = self._policy_step

    def _prepare(
        self, on_episode: Callable[[int, Episode], None], dispatch: Callable[[], None]
    ) -> None:
        """Writes the next step's tasks, from what a checkpoint of the present step holds.

        With `max_staleness` their episodes are played, too, with the weights that the checkpoint
        has beside the new ones. Neither is saved: a resumed run writes and plays the same again.

        Args:
          on_episode: See `train_step`.
          dispatch: Dispatches the next part of the present updates; called between engine steps.
        """
        following = self.step + 2  # The present step is not complete yet.
        ahead = self.config.max_staleness > 0
        prepare = ahead or (self.config.prepare_tasks and not self.config.release_cache)
        # An evaluation comes between, and whatever is written or played begins with empty caches.
        prepare = prepare and not self.evaluates(self.step + 1)
        if not prepare or following > self.config.steps:
            return
        self._dispatch = dispatch
        # Asked to stop, the run still completes the present step.
        with contextlib.suppress(Stopped):
            rollouts = self._write_tasks(following)
            if ahead:
                self._play(rollouts, on_episode)
            self._prepared = rollouts
        self._dispatch = lambda: None

    def _poll(self) -> bool:
        """Whether to stop; asked between engine steps, where parts of an update find room."""
        self._dispatch()
        return self._should_stop()

    # State.

    def save(self, checkpointer: Checkpointer, score: float | None) -> None:
        """Starts saving all that a resume needs."""
        host = {
            "step": self.step,
            "curriculum": self.curriculum.state(),
            "recent_tasks": self._recent.state(),
            "skipped_updates": self._skipped,
            "cold_start": self._cold_start.state(),
        }
        arrays = dict(vars(self._system.learner.state))
        if self.config.max_staleness:
            arrays["sampler"] = self._system.policy
        checkpointer.save(self.step, arrays, host, score=score)

    def restore(self, checkpointer: Checkpointer) -> None:
        """Goes on from the newest checkpoint."""
        state = self._system.learner.state
        abstract = vars(
            jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
            )
        )
        if self.config.max_staleness:
            dtype = self._system.engine_dtype
            sampler = jax.tree.map(lambda x: x.update(dtype=dtype), abstract["params"])
            abstract = abstract | {"sampler": sampler}
        restored = checkpointer.restore(abstract)
        arrays = dict(restored.arrays)
        self.step = restored.host["step"]
        if self.config.max_staleness:
            # What is played next is behind what is trained next, as if the run had gone through.
            self._system.use_policy(arrays.pop("sampler"))
            self._policy_step = self.step - 1
        self._system.learner.state = dataclasses.replace(state, **arrays)
        self.curriculum.restore(restored.host["curriculum"])
        self._recent.restore(restored.host["recent_tasks"])
        self._skipped = restored.host["skipped_updates"]
        self._cold_start.restore(restored.host.get("cold_start", self._cold_start.state()))
        self._prepared = None
