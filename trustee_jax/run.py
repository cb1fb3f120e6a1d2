"""A run from its options: `train`, and the options of one that there is."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
from flax import nnx
from jax.sharding import Mesh

from trustee_jax.build import build
from trustee_jax.config import Config, parse
from trustee_jax.curriculum import Curriculum
from trustee_jax.environment import Task
from trustee_jax.environment.tools.sources import has_real_tools, open_tools
from trustee_jax.errors import ConfigError
from trustee_jax.evaluation import simulated
from trustee_jax.evaluation.config import EvaluationConfig
from trustee_jax.evaluation.task_set import read_task_set
from trustee_jax.models import MeshRules, param_shardings
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.options import flatten
from trustee_jax.paths import user_path
from trustee_jax.progress import Progress
from trustee_jax.storage import storage_errors
from trustee_jax.training import loop, summary
from trustee_jax.training.checkpoint import Checkpointer
from trustee_jax.training.evaluator import Evaluation
from trustee_jax.training.loop import Trainer
from trustee_jax.training.metrics import MetricWriter
from trustee_jax.training.records import EpisodeLog
from trustee_jax.training.stopping import Stopper
from trustee_jax.training.system import System
from trustee_jax.training.workdir import Layout, Workdir, read_options


def train(config: Config, workdir: pathlib.Path) -> None:
    """Trains up to `config.training.steps`, from the last checkpoint if the workdir has one.

    SIGINT and SIGTERM end it after saving the last complete step. Going on is the same bit for bit
    only where all tools are simulated: what real ones answer the second time is up to them.

    Args:
      config: The run's options.
      workdir: Its folder; see `workdir.Layout` for what lies in it.

    Raises:
      ConfigError: Options do not fit each other, the models or the devices.
      WorkdirError: The folder belongs to another run.
      CheckpointError: A model cannot be read.
      ToolError: Tools to simulate cannot be read.
      TaskSetError: The tasks to evaluate by cannot be read.
      RestoreError: The workdir's newest training checkpoint is unusable.
      LogError: What the workdir's logs hold of the steps before it is damaged.
      StorageError: The disk is full or fails.
      NonFiniteError: Training has diverged; the checkpoints before stay as they are.
    """
    if jax.process_count() > 1 and has_real_tools(config.tools):
        fix = "real tools would be called by every process; run on one host, or simulate them"
        raise ConfigError("tools", config.tools, fix)
    # What a checkpoint's arrays look like must not depend on who reads it.
    model = config.model.resolved(jax.default_backend())
    config = dataclasses.replace(config, model=model)
    primary = jax.process_index() == 0
    options = config.training
    saved = dataclasses.asdict(config)
    tasks = read_tasks(config.evaluation)
    with (
        Stopper() as stopper,
        Workdir(workdir, saved, primary=primary) as claimed,
        open_tools(config.tools, config.environment) as tools,
    ):
        layout = claimed.layout
        with Progress(options.steps, enabled=primary) as progress:
            for note in tools.notes:
                progress.message(note)
            progress.message(f"loading {config.model.source}")
            system, curriculum = build(config, tools.backends), Curriculum(config.curriculum)
            for note in system.notes:
                progress.message(note)
            evaluator = None
            if tasks:
                evaluator = _Evaluator(config.evaluation, tasks, system, progress, stopper)
            trainer = Trainer(
                options,
                system,
                curriculum,
                tools.repository,
                progress,
                stopper,
                config.seed,
                evaluator,
            )
            with (
                storage_errors(layout.root),
                Checkpointer(
                    layout.checkpoints, keep_last=options.keep_last, keep_best=options.keep_best
                ) as checkpointer,
            ):
                if checkpointer.latest_step is not None:
                    trainer.restore(checkpointer)
                    progress.message(f"going on after step {trainer.step}")
                with (
                    MetricWriter(
                        layout.tensorboard,
                        layout.metrics,
                        evaluations=layout.evaluations,
                        causes=summary.CAUSES,
                        resume_step=trainer.step,
                        enabled=primary,
                    ) as metrics,
                    EpisodeLog(
                        layout.episodes, resume_step=trainer.step, enabled=primary
                    ) as episodes,
                ):
                    if episodes.dropped:
                        progress.message(
                            f"{episodes.dropped} recorded episodes are of steps that are run again"
                        )
                    metrics.config(flatten(saved))
                    metrics.layout(summary.LAYOUT)
                    loop.run(trainer, claimed, checkpointer, metrics, episodes)


def read_tasks(options: EvaluationConfig) -> tuple[Task, ...]:
    """The tasks by which a run is evaluated; none if it is not.

    Raises:
      TaskSetError: The file is no set of tasks.
    """
    if not (options.every and options.tasks):
        return ()
    return read_task_set(user_path(options.tasks)).tasks


class _Evaluator:
    """Plays the tasks of a set with the policy of a run."""

    def __init__(
        self,
        options: EvaluationConfig,
        tasks: Sequence[Task],
        system: System,
        progress: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        self.every = options.every
        self._options, self._tasks = options, tasks
        self._system, self._progress, self._should_stop = system, progress, should_stop

    def __call__(self, step: int) -> Evaluation:
        total = len(self._tasks) * self._options.episodes
        done = 0
        with self._progress.phase(step, "evaluation", total) as advance:

            def count(outcome: simulated.Outcome) -> None:
                nonlocal done
                done += 1
                advance(done)

            outcomes = simulated.play(
                self._system.environment,
                self._system.engines,
                self._tasks,
                self._options.episodes,
                step=step,
                on_outcome=count,
                should_stop=self._should_stop,
            )
        (whole, *_) = simulated.summarize(outcomes)
        note = f"reward {whole.reward}, success by code {whole.success}"
        return Evaluation(whole.success.share, simulated.scalars(outcomes), note)


def read_config(workdir: str | os.PathLike[str]) -> Config:
    """The options of the run in a workdir.

    Raises:
      WorkdirError: The folder holds no run.
      ConfigError: Its options are not those of this version.
    """
    return parse(read_options(workdir))


def restore_trained(
    workdir: str | os.PathLike[str], trained: nnx.State, mesh: Mesh, *, step: int | None = None
) -> tuple[int, nnx.State]:
    """Reads the trained parameters of a checkpoint.

    Args:
      workdir: Of the run, which may be saving right now.
      trained: What the learner trains, with shapes instead of arrays.
      mesh: Where they are placed.
      step: Which checkpoint; None is the newest.

    Returns:
      The step, and the parameters.

    Raises:
      RestoreError: There is no such checkpoint.
    """
    wanted = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        trained,
        param_shardings(trained, MeshRules.create(mesh, LEARNER_RULES)),
    )
    folder = Layout(user_path(workdir).absolute()).checkpoints
    with Checkpointer(folder, read_only=True) as checkpointer:
        step = checkpointer.latest_step if step is None else step
        restored = checkpointer.restore({"params": wanted}, step=step)
    assert step is not None  # or there was nothing to restore
    params: nnx.State = restored.arrays["params"]
    return step, params
