"""The outer loop: tasks, episodes, update, curriculum; saved so that it can go on anywhere."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import jax

from trustee_jax.curriculum import Curriculum
from trustee_jax.environment import Episode, RecentTasks, Stopped
from trustee_jax.errors import NonFiniteError
from trustee_jax.progress import Progress
from trustee_jax.rl import Sample, group_advantages, pack
from trustee_jax.toolsets import ToolRepository
from trustee_jax.training import summary
from trustee_jax.training.checkpoint import Checkpointer
from trustee_jax.training.collect import Collection, Collector, Group
from trustee_jax.training.config import TrainingConfig
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

    def save() -> None:
        # A checkpoint counts on every line up to its step; the other way round, a line without a
        # checkpoint is only written again.
        log.sync()
        metrics.sync()
        trainer.save(checkpointer, score)

    try:
        while trainer.step < options.steps:
            result = trainer.train_step(lambda step, episode: log.append(step, episode.to_json()))
            workdir.record()
            step, score = trainer.step, result.reward
            metrics.scalars(step, result.scalars)
            for name, episode in result.shown.items():
                metrics.text(step, name, summary.describe(episode))
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
        """
        self.config = config
        self.step = 0
        self.curriculum = curriculum
        self.progress = progress
        environment = system.environment.config
        self._recent = RecentTasks(environment.recent_tasks, environment.near_copy)
        self._system = system
        self._collector = Collector(config, system, repository, progress, should_stop, seed)
        self._prepared: Collection | None = None
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
        curriculum_before = self.curriculum.metrics()

        # 1. Tasks at the present difficulty.
        collection = self._prepared or self._write_tasks(number)
        self._prepared = None

        # 2 and 3. Episodes, each ending with its verdict.
        self._system.refresh_policy()
        self._collector.play(
            collection, self.curriculum, lambda episode: on_episode(number, episode)
        )
        episodes = collection.episodes

        # 4. The curriculum moves, and the policy is updated. In this order, because the next tasks
        # need the next difficulty, but no new weights: they are written while these are computed.
        self.curriculum.update([group.outcome for group in collection.groups])
        self._recent = collection.recent
        scalars = self._learn(number, collection.groups, meanwhile=self._prepare)

        self.step = number
        seconds = time.monotonic() - start
        fates = collections.Counter(self._collector.fate(group) for group in collection.groups)
        scalars |= summary.curriculum_scalars(curriculum_before, episodes)
        scalars |= summary.collection_scalars(collection, fates)
        scalars["seconds/step"] = seconds
        result = StepResult(episodes, scalars)
        valid = sum(episode.valid for episode in episodes)
        skipped = scalars["learner/skipped_updates"]
        self.progress.finish_step(
            number,
            reward=result.reward,
            difficulty=curriculum_before["difficulty"],
            seconds=seconds,
            note=f"{valid}/{len(episodes)} episodes valid, {fates['used']}/{fates.total()} groups "
            f"of use, {scalars['learner/updates']:.0f} updates"
            + (f", {skipped:.0f} skipped (not finite)" if skipped else ""),
        )
        return result

    def _write_tasks(self, number: int) -> Collection:
        return self._collector.write_tasks(number, self.curriculum, self._recent)

    def _prepare(self) -> None:
        """Writes the next step's tasks, from what a checkpoint of the present step holds.

        They are not saved: a resumed run writes the same ones again.
        """
        following = self.step + 2  # The present step is not complete yet.
        if self.config.prepare_tasks and following <= self.config.steps:
            # Asked to stop, the run still completes the present step.
            with contextlib.suppress(Stopped):
                self._prepared = self._write_tasks(following)

    def _learn(
        self, number: int, groups: Sequence[Group], meanwhile: Callable[[], None]
    ) -> Scalars:
        """Updates the policy.

        Args:
          number: The step.
          groups: What was played.
          meanwhile: Called when all updates are under way. Its time is not in seconds/learning,
            which is what learning adds to the step, but in the time that tokens_per_second/learning
            is worked out from: the host cannot tell when the device was done.

        Returns:
          learner/updates and learner/skipped_updates count the updates that were done and left out;
          means are over the former, so that no metric is infinite or NaN.

        Raises:
          NonFiniteError: Too many updates in a row were left out.
        """
        start = time.monotonic()
        options, config = self.config, self._system.learner.config
        samples: list[list[Sample]] = []
        for group in groups:
            advantages = group_advantages(
                group.rewards,
                min_valid=options.min_valid,
                keep_uniform=config.uniform_groups == "keep",
            )
            if advantages is not None:
                samples.append(
                    [
                        Sample(sequence, float(advantage))
                        for episode, advantage in zip(group.episodes, advantages, strict=True)
                        if episode.valid
                        for sequence in episode.sequences
                    ]
                )
        updates = min(config.updates_per_step, len(samples))
        # Groups stay whole: their episodes share a prompt.
        shares = [samples[i::updates] for i in range(updates)]
        tokens = 0
        with self.progress.phase(number, "learning", updates) as advance:
            pending = []
            for share in shares:
                batch = pack(share, config.row_length, self._system.learner.rows)
                tokens += batch.num_tokens
                pending.append(self._system.learner.update(batch))
            left = time.monotonic()
            meanwhile()
            elsewhere = time.monotonic() - left
            results: list[dict[str, float]] = []
            for values in pending:
                results.append({k: float(v) for k, v in jax.device_get(values).items()})
                advance(len(results), tokens * len(results) // updates)
        self._check_skipped(results)
        done = [result for result in results if not result["skipped"]]
        seconds = time.monotonic() - start
        scalars = {
            "learner/updates": float(len(done)),
            "learner/skipped_updates": float(updates - len(done)),
            "learner/tokens": float(tokens),
            "seconds/learning": seconds - elsewhere,
            "tokens_per_second/learning": tokens / seconds,
        }
        for name in (n for n in done[0] if n != "skipped") if done else ():
            scalars[f"learner/{name}"] = sum(result[name] for result in done) / len(done)
        if done:
            # Before the first update both sides have the same weights: what is left is rounding.
            for name in ("logprob_difference", "logprob_difference_max"):
                scalars[f"learner/{name}"] = done[0][name]
        return scalars

    def _check_skipped(self, results: Sequence[dict[str, float]]) -> None:
        """Counts updates that were left out in a row; too many end the run."""
        for result in results:
            self._skipped = self._skipped + 1 if result["skipped"] else 0
            if self._skipped >= self._system.learner.config.max_skipped_updates:
                what = [name for name, value in result.items() if not math.isfinite(value)]
                rate = self._system.learner.config.learning_rate
                raise NonFiniteError(
                    f"{self._skipped} updates in a row were left out, because their numbers are "
                    f"not finite ({', '.join(what) or 'the state after them'}): training has "
                    f"diverged. Lower learner.learning_rate = {rate!r} and train in another "
                    "workdir; the checkpoints of this one stay"
                )

    # State.

    def save(self, checkpointer: Checkpointer, score: float | None) -> None:
        """Starts saving all that a resume needs."""
        host = {
            "step": self.step,
            "curriculum": self.curriculum.state(),
            "recent_tasks": self._recent.state(),
            "skipped_updates": self._skipped,
        }
        checkpointer.save(self.step, vars(self._system.learner.state), host, score=score)

    def restore(self, checkpointer: Checkpointer) -> None:
        """Goes on from the newest checkpoint."""
        state = self._system.learner.state
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        restored = checkpointer.restore(vars(abstract))
        self._system.learner.state = dataclasses.replace(state, **restored.arrays)
        self.step = restored.host["step"]
        self.curriculum.restore(restored.host["curriculum"])
        self._recent.restore(restored.host["recent_tasks"])
        self._skipped = restored.host["skipped_updates"]
        self._prepared = None
