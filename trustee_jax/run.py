"""A run from its options: `train`, and the options of one that there is."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Literal

import jax
from flax import nnx
from jax.sharding import Mesh

from trustee_jax.build import build
from trustee_jax.config import Config, parse
from trustee_jax.curriculum import Curriculum
from trustee_jax.environment import check_tools
from trustee_jax.environment.tools.sources import has_real_tools, open_tools
from trustee_jax.errors import ConfigError
from trustee_jax.models import MeshRules, param_shardings
from trustee_jax.models.sharding import LEARNER_RULES
from trustee_jax.options import flatten
from trustee_jax.paths import user_path
from trustee_jax.progress import Progress
from trustee_jax.run_evaluation import Measures, RunEvaluator
from trustee_jax.storage import storage_errors
from trustee_jax.training import loop, summary
from trustee_jax.training.checkpoint import Checkpointer
from trustee_jax.training.loop import Trainer
from trustee_jax.training.metrics import MetricWriter
from trustee_jax.training.records import EpisodeLog
from trustee_jax.training.stopping import Stopper
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
      InstallError, CheckerError: The checkers to evaluate by cannot be installed or started.
      RestoreError: The workdir's newest training checkpoint is unusable.
      LogError: What the workdir's logs hold of the steps before it is damaged.
      StorageError: The disk is full or fails.
      NonFiniteError: Training has diverged; the checkpoints before stay as they are.
    """
    if jax.process_count() > 1 and has_real_tools(config.tools):
        fix = "real tools would be called by every process; run on one host, or simulate them"
        raise ConfigError("tools", config.tools, fix)
    if jax.process_count() > 1 and config.evaluation.every and config.evaluation.bfcl:
        fix = "its checkers run on one host; measure the checkpoints with `trustee eval bfcl`"
        raise ConfigError("evaluation.bfcl", config.evaluation.bfcl, fix)
    # What a checkpoint's arrays look like must not depend on who reads it.
    model = config.model.resolved(jax.default_backend())
    config = dataclasses.replace(config, model=model)
    primary = jax.process_index() == 0
    options = config.training
    saved = dataclasses.asdict(config)
    with (
        Stopper() as stopper,
        Workdir(workdir, saved, primary=primary) as claimed,
        open_tools(config.tools, config.environment) as tools,
        Measures(config.evaluation) as measures,
    ):
        check_tools(tools.repository, config.curriculum)
        layout = claimed.layout
        with Progress(options.steps, enabled=primary) as progress:
            for note in tools.notes:
                progress.message(note)
            progress.message(f"loading {config.model.source}")
            system, curriculum = build(config, tools.backends), Curriculum(config.curriculum)
            for note in system.notes:
                progress.message(note)
            evaluator = None
            if config.evaluation.every:
                evaluator = RunEvaluator(
                    measures,
                    system,
                    config.model.source,
                    layout.evaluation,
                    progress,
                    stopper,
                )
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


def read_config(workdir: str | os.PathLike[str]) -> Config:
    """The options of the run in a workdir.

    Raises:
      WorkdirError: The folder holds no run.
      ConfigError: Its options are not those of this version.
    """
    return parse(read_options(workdir))


def restore_trained(
    workdir: str | os.PathLike[str],
    trained: nnx.State,
    mesh: Mesh,
    *,
    step: int | Literal["best"] | None = None,
) -> tuple[int, nnx.State]:
    """Reads the trained parameters of a checkpoint.

    Args:
      workdir: Of the run, which may be saving right now.
      trained: What the learner trains, with shapes instead of arrays.
      mesh: Where they are placed.
      step: Which checkpoint; "best" is the one with the highest score, None the newest.

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
        restored = checkpointer.restore({"params": wanted}, step=step)
    params: nnx.State = restored.arrays["params"]
    return restored.step, params
