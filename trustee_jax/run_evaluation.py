"""How a run is measured as it goes: simulated tasks and a part of BFCL, with its own engines."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

from rich.console import Console

from trustee_jax.engine import Engine
from trustee_jax.environment import Task
from trustee_jax.evaluation import simulated
from trustee_jax.evaluation.bfcl import EvaluatedPolicy, evaluate, open_checker
from trustee_jax.evaluation.board import choose_categories
from trustee_jax.evaluation.checker import Checker
from trustee_jax.evaluation.config import EvaluationConfig
from trustee_jax.evaluation.installing import BFCL, default_folder
from trustee_jax.evaluation.play import AnswerOptions
from trustee_jax.evaluation.results import ResultsFolder
from trustee_jax.evaluation.task_set import read_task_set
from trustee_jax.paths import user_path
from trustee_jax.progress import Progress
from trustee_jax.storage import Closing
from trustee_jax.training.evaluator import Evaluation
from trustee_jax.training.system import System
from trustee_jax.weights.downloads import cache_folder


class Measures(Closing):
    """What a run is measured by; opened before its models are loaded, so that faults show early.

    Attributes:
      options: The options.
      tasks: Of the task set; none if there is none.
      checker: The official checkers; None without categories.
    """

    def __init__(self, options: EvaluationConfig) -> None:
        """Reads the tasks and starts the checkers, if the run is measured by them.

        Raises:
          TaskSetError: The file is no set of tasks.
          InstallError, CheckerError: The checkers cannot be installed or started.
        """
        self.options = options
        self.tasks: tuple[Task, ...] = ()
        self.checker: Checker | None = None
        if options.every and options.tasks:
            self.tasks = read_task_set(user_path(options.tasks)).tasks
        if options.every and options.bfcl:
            self.checker = open_checker(default_folder(cache_folder(), BFCL))

    def close(self) -> None:
        """Ends the checkers."""
        if self.checker is not None:
            self.checker.close()


class RunEvaluator:
    """Measures the policy of a run; see `training.evaluator.Evaluator`."""

    def __init__(
        self,
        measures: Measures,
        system: System,
        source: str,
        folder: pathlib.Path,
        progress: Progress,
        should_stop: Callable[[], bool],
    ) -> None:
        """Takes the objects of the run.

        Args:
          measures: What it is measured by.
          system: Has the policy.
          source: Names the policy's base.
          folder: For results case by case.
          progress: The terminal's display.
          should_stop: Whether the run was asked to stop.
        """
        self._measures, self._options = measures, measures.options
        self._system, self._source, self._folder = system, source, folder
        self._progress, self._should_stop = progress, should_stop

    @property
    def every(self) -> int:
        """Steps between two evaluations."""
        return self._options.every

    def __call__(self, step: int) -> Evaluation:
        """Measures the policy that the engine has."""
        found = []
        if self._measures.tasks:
            found.append(self._simulated(step))
        if self._measures.checker is not None:
            found.append(self._bfcl(step, self._measures.checker))
        return Evaluation(
            found[-1].score,
            {name: value for one in found for name, value in one.scalars.items()},
            "; ".join(one.note for one in found),
        )

    def _simulated(self, step: int) -> Evaluation:
        tasks, episodes = self._measures.tasks, self._options.episodes
        done = 0
        with self._progress.phase(step, "simulated tasks", len(tasks) * episodes) as advance:

            def count(outcome: simulated.Outcome) -> None:
                nonlocal done
                done += 1
                advance(done)

            outcomes = simulated.play(
                self._system.environment,
                self._system.engines,
                tasks,
                episodes,
                step=step,
                on_outcome=count,
                should_stop=self._should_stop,
            )
        (whole, *_) = simulated.summarize(outcomes)
        note = f"simulated reward {whole.reward}, success by code {whole.success}"
        return Evaluation(whole.success.share, simulated.scalars(outcomes), note)

    def _bfcl(self, step: int, checker: Checker) -> Evaluation:
        environment, engine = self._system.environment, self._system.engines["policy"]
        assert isinstance(engine, Engine)
        categories = choose_categories(self._options.bfcl)
        answers = AnswerOptions(
            max_tokens=self._options.max_tokens,
            max_length=environment.max_length,
            thinking=environment.config.policy.thinking,
            history=environment.config.policy.history,
        )
        identity = {
            "bfcl_eval": checker.description["version"],
            "model": self._source,
            "step": step,
            "call_syntax": environment.policy_format.call_syntax.value,
            **dataclasses.asdict(answers),
        }
        total = len(categories) * self._options.limit
        with (
            self._progress.phase(step, "BFCL", total) as advance,
            ResultsFolder(self._folder / f"slice-step{step:06d}", identity, {}) as folder,
        ):
            evaluate(
                EvaluatedPolicy(environment.policy_format, engine, engine.config.slots),
                checker,
                folder,
                categories,
                answers,
                limit=self._options.limit,
                console=Console(quiet=True),
                on_record=lambda: advance(len(folder.records)),
                should_stop=self._should_stop,
            )
        rates = folder.results.rates("strict")
        shares = {name: rate.share or 0.0 for name, rate in rates.items()}
        mean = sum(shares.values()) / len(shares)
        scalars = {f"eval/bfcl/{name}": share for name, share in shares.items()}
        note = ", ".join(f"{name} {rate}" for name, rate in rates.items())
        return Evaluation(mean, scalars | {"eval/bfcl/mean": mean}, f"BFCL {note}")
