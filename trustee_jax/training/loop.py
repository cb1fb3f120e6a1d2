"""The outer loop: tasks, episodes, update, curriculum; saved so that it can go on anywhere."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from trustee_jax.config import Config, flatten
from trustee_jax.curriculum import Curriculum
from trustee_jax.engine import Completion, Request
from trustee_jax.errors import ConfigError
from trustee_jax.learner import Sample, group_advantages, pack
from trustee_jax.simulation import Episode, Failure, Stopped, Task, generate_task, run_episode
from trustee_jax.simulation import run as drive
from trustee_jax.tools import ToolRepository, load_repository
from trustee_jax.training import summary
from trustee_jax.training.build import System, build
from trustee_jax.training.checkpoint import Checkpointer
from trustee_jax.training.metrics import MetricWriter
from trustee_jax.training.progress import Progress
from trustee_jax.training.records import EpisodeLog
from trustee_jax.training.stopping import Stopper
from trustee_jax.training.workdir import Workdir

T = TypeVar("T")
Scalars = dict[str, float]


def train(config: Config, workdir: pathlib.Path) -> None:
    """Trains up to `config.training.steps`, from the last checkpoint if the workdir has one.

    SIGINT and SIGTERM end it after saving the last complete step.

    Args:
      config: The run's options.
      workdir: Its folder; see `workdir.Layout` for what lies in it.

    Raises:
      ConfigError: Options do not fit each other, the models or the devices.
      WorkdirError: The folder belongs to another run.
      CheckpointError: A model cannot be read.
      ToolError: The tools cannot be read.
      RestoreError: The workdir's newest training checkpoint is unusable.
    """
    primary = jax.process_index() == 0
    options = config.training
    with Stopper() as stopper, Workdir(workdir, config, primary=primary) as claimed:
        layout = claimed.layout
        repository = load_repository(config.tools)
        with Progress(options.steps, enabled=primary) as progress:
            progress.message(f"loading {config.model.source}")
            trainer = Trainer(config, build(config), repository, progress, stopper)
            with Checkpointer(
                layout.checkpoints, keep_last=options.keep_last, keep_best=options.keep_best
            ) as checkpointer:
                if checkpointer.latest_step is not None:
                    trainer.restore(checkpointer)
                    progress.message(f"going on after step {trainer.step}")
                with (
                    MetricWriter(
                        layout.tensorboard,
                        layout.metrics,
                        resume_step=trainer.step,
                        enabled=primary,
                    ) as metrics,
                    EpisodeLog(
                        layout.episodes, resume_step=trainer.step, enabled=primary
                    ) as episodes,
                ):
                    metrics.config(flatten(config))
                    _run(trainer, claimed, checkpointer, metrics, episodes)


def _run(
    trainer: Trainer,
    workdir: Workdir,
    checkpointer: Checkpointer,
    metrics: MetricWriter,
    log: EpisodeLog,
) -> None:
    """Steps until the last one, or until asked to stop."""
    options = trainer.config.training
    score: float | None = None
    try:
        while trainer.step < options.steps:
            result = trainer.train_step(lambda step, episode: log.append(step, episode.to_json()))
            workdir.record()
            step, score = trainer.step, result.reward
            metrics.scalars(step, result.scalars)
            for name, episode in result.shown.items():
                metrics.text(step, name, summary.describe(episode))
            if step % options.checkpoint_every == 0 or step == options.steps:
                trainer.save(checkpointer, score)
    except Stopped:
        if trainer.step:
            trainer.save(checkpointer, score)
        trainer.progress.message(f"stopped after step {trainer.step}; the same command goes on")
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
      config: The run's options.
      step: Training steps that are complete.
      curriculum: Holds the difficulty.
      progress: The terminal's display.
    """

    def __init__(
        self,
        config: Config,
        system: System,
        repository: ToolRepository,
        progress: Progress,
        should_stop: Callable[[], bool],
    ):
        """Starts before the first step."""
        self.config = config
        self.step = 0
        self.curriculum = Curriculum(config.curriculum)
        self.progress = progress
        self._system = system
        self._repository = repository
        self._should_stop = should_stop

    def train_step(self, on_episode: Callable[[int, Episode], None]) -> StepResult:
        """Runs one step; on `Stopped` nothing but what `on_episode` saw has happened.

        Args:
          on_episode: Receives the step's number and each of its episodes, as soon as all are over.

        Raises:
          Stopped: The run was asked to stop.
          ConfigError: In the first step, every prompt is longer than the engine takes.
        """
        number, start = self.step + 1, time.monotonic()
        difficulty = self.curriculum.difficulty
        # Everything random follows from (seed, step): a resumed run repeats it.
        self._system.refresh_policy()

        tasks, scalars = self._generate_tasks(number)
        groups, episode_scalars = self._play(number, tasks)
        episodes = [episode for group in groups for episode in group]
        for episode in episodes:
            on_episode(number, episode)
        scalars |= episode_scalars | self._learn(number, groups)

        result = StepResult(episodes, scalars)
        self.curriculum.update(result.reward)
        self.step = number
        seconds = time.monotonic() - start
        scalars |= {"curriculum/difficulty": difficulty, "seconds/step": seconds}
        valid = sum(episode.valid for episode in episodes)
        updates = scalars["learner/updates"]
        self.progress.finish_step(
            number,
            reward=result.reward,
            difficulty=difficulty,
            seconds=seconds,
            note=f"{valid}/{len(episodes)} episodes valid, {updates:.0f} updates",
        )
        return result

    # Step 1 of the method: tasks at the present difficulty.

    def _generate_tasks(self, number: int) -> tuple[list[Task], Scalars]:
        failures: collections.Counter[str] = collections.Counter()
        details: dict[str, str] = {}

        def generate(index: int) -> Generator[Request, Completion, Task | None]:
            for draw in range(self.config.training.task_draws):
                rng = np.random.default_rng([self.config.seed, number, index, draw])
                aspects = self.curriculum.aspects(rng)
                tools = self._repository.sample(rng, aspects.tools)
                key = (number, index, draw)
                task = yield from generate_task(self._system.simulator, tools, aspects, key)
                if isinstance(task, Task):
                    return task
                assert isinstance(task, Failure)
                failures[task.cause] += 1
                details[task.cause] = task.detail
            return None

        count = self.config.training.tasks_per_step
        written, scalars = self._drive(number, "tasks", [generate(i) for i in range(count)])
        # A task that could not be written is missing, not replaced by a dummy.
        tasks = [task for task in written if task is not None]
        if not tasks and set(failures) == {"task_too_long"}:
            self._check_fit(number, "task", details["task_too_long"])
        return tasks, scalars | summary.task_scalars(tasks, failures)

    # Steps 2 and 3: episodes, each ending with its verdict.

    def _play(self, number: int, tasks: Sequence[Task]) -> tuple[list[list[Episode]], Scalars]:
        size = self.config.training.group_size
        system, length = self._system, self.config.engine.max_length
        coroutines = [
            run_episode(
                system.simulator, task, system.policy_format, (number, index, episode), length
            )
            for index, task in enumerate(tasks)
            for episode in range(size)
        ]
        episodes, scalars = self._drive(number, "episodes", coroutines)
        if episodes and all(episode.cause == "prompt_too_long" for episode in episodes):
            self._check_fit(number, "episode", episodes[0].detail)
        groups = [episodes[i : i + size] for i in range(0, len(episodes), size)]
        return groups, scalars | summary.episode_scalars(episodes)

    def _check_fit(self, number: int, what: str, detail: str) -> None:
        # Later steps have longer prompts than the first: only some of them need to fit.
        if number == 1:
            fix = f"no {what} of the first step fits ({detail}); raise it"
            raise ConfigError("engine.max_length", self.config.engine.max_length, fix)

    # Step 4: update.

    def _learn(self, number: int, groups: Sequence[Sequence[Episode]]) -> Scalars:
        start = time.monotonic()
        config, learner = self.config.learner, self._system.learner
        samples: list[list[Sample]] = []
        for group in groups:
            advantages = group_advantages([episode.reward for episode in group])
            if advantages is not None:
                samples.append(
                    [
                        Sample(sequence, float(advantage))
                        for episode, advantage in zip(group, advantages, strict=True)
                        if episode.valid
                        for sequence in episode.sequences
                    ]
                )
        updates = min(config.updates_per_step, len(samples))
        # Groups stay whole: their episodes share a prompt.
        shares = [samples[i::updates] for i in range(updates)]
        results: list[dict[str, float]] = []
        tokens = 0
        with self.progress.phase(number, "learning", updates) as advance:
            for share in shares:
                batch = pack(share, config.row_length, config.rows_per_micro_batch)
                tokens += batch.num_tokens
                results.append(learner.update(learner.add_reference(batch)))
                advance(len(results), tokens)
        seconds = time.monotonic() - start
        scalars = {
            "learner/updates": float(updates),
            "learner/groups_used": len(samples) / len(groups) if groups else 0.0,
            "learner/tokens": float(tokens),
            "seconds/learning": seconds,
            "tokens_per_second/learning": tokens / seconds,
        }
        for name in results[0] if results else ():
            scalars[f"learner/{name}"] = sum(result[name] for result in results) / updates
        if results:
            # Before the first update both sides have the same weights: what is left is rounding.
            for name in ("logprob_difference", "logprob_difference_max"):
                scalars[f"learner/{name}"] = results[0][name]
        return scalars

    def _drive(
        self, number: int, phase: str, coroutines: Sequence[Generator[Request, Completion, T]]
    ) -> tuple[list[T], Scalars]:
        """Runs coroutines over the engines, showing and timing them."""
        start = time.monotonic()
        engines = list({id(engine): engine for engine in self._system.engines.values()}.values())

        def totals() -> np.ndarray:
            """Prompt, prefilled and sampled tokens of all engines."""
            return np.sum([dataclasses.astuple(engine.stats) for engine in engines], axis=0)

        before = totals()

        with self.progress.phase(number, phase, len(coroutines)) as advance:
            results = drive(
                coroutines,
                self._system.engines,
                on_progress=lambda done, total: advance(done, int((totals() - before)[2])),
                should_stop=self._should_stop,
            )
        seconds = time.monotonic() - start
        prompt, prefilled, sampled = (totals() - before).tolist()
        return results, {
            f"seconds/{phase}": seconds,
            f"tokens_per_second/{phase}": sampled / seconds,
            f"engine/{phase}_sampled_tokens": float(sampled),
            f"engine/{phase}_prefilled_tokens": float(prefilled),
            f"engine/{phase}_cached_share": 1 - prefilled / prompt if prompt else 0.0,
        }

    # State.

    def save(self, checkpointer: Checkpointer, score: float | None) -> None:
        """Starts saving all that a resume needs."""
        host = {"step": self.step, "curriculum": self.curriculum.state()}
        checkpointer.save(self.step, self._arrays(), host, score=score)

    def restore(self, checkpointer: Checkpointer) -> None:
        """Goes on from the newest checkpoint."""
        state = self._system.learner.state
        abstract = {
            group: {
                name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
                for name, leaf in arrays.items()
            }
            for group, arrays in self._arrays().items()
        }
        restored = checkpointer.restore(abstract)
        leaves = [
            restored.arrays[group][name] for group, arrays in abstract.items() for name in arrays
        ]
        # `_arrays` lists the leaves of params, then of the rest, in the order of the tree.
        self._system.learner.state = jax.tree.unflatten(jax.tree.structure(state), leaves)
        self.step = restored.host["step"]
        self.curriculum.restore(restored.host["curriculum"])

    def _arrays(self) -> dict[str, dict[str, jax.Array]]:
        state = self._system.learner.state
        return {
            "params": named_leaves(state.params),
            "optimizer": named_leaves((state.optimizer, state.updates)),
        }


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree under dotted names, in its order: what checkpoints hold."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
