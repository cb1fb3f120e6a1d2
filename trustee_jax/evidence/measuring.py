"""Evaluations as jobs: each policy by `trustee eval`, in a process of its own."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from trustee_jax.evaluation.results import ResultsError, read_meta, read_records, read_results
from trustee_jax.evaluation.simulated import Outcome
from trustee_jax.evaluation.task_set import TaskSet
from trustee_jax.evidence.subjects import Subject
from trustee_jax.processes import Job


@dataclasses.dataclass(frozen=True)
class Measures:
    """By what policies are measured, the same for all of them.

    Attributes:
      categories: Of the benchmark, of single turns.
      limit: Cases of each.
      max_tokens: Longest answer.
      max_length: Longest context; None for the run's.
      tasks: File of simulated tasks; None for none.
      task_set: What it holds.
      bfcl_env: Environment of the official checkers; None for the user's cache.
    """

    categories: Sequence[str]
    limit: int
    max_tokens: int
    max_length: int | None
    tasks: pathlib.Path | None
    task_set: TaskSet | None
    bfcl_env: str | None

    def benchmark(
        self, subject: Subject, name: str, folder: pathlib.Path, slots: int | None = None
    ) -> Benchmark:
        """The job that measures a policy by BFCL.

        Args:
          subject: The policy.
          name: Of the job.
          folder: Of the results.
          slots: Answers under way at a time; None for the run's.
        """
        given = {
            "step": subject.step,
            "categories": ",".join(self.categories),
            "limit": self.limit,
            "max_tokens": self.max_tokens,
            "max_length": self.max_length,
            "bfcl_env": self.bfcl_env,
            "slots": slots,
            "output": folder,
        }
        arguments = ["eval", "bfcl", str(subject.run), *_flags(given)]
        return Benchmark(name, folder, arguments, self)

    def simulation(self, subject: Subject, name: str, folder: pathlib.Path) -> Simulation:
        """The job that has a policy play the tasks."""
        assert self.task_set is not None
        given = {"step": subject.step, "tasks": self.tasks, "output": folder}
        arguments = ["eval", "simulated", str(subject.run), *_flags(given)]
        return Simulation(name, folder, arguments, self.task_set)


@dataclasses.dataclass
class Benchmark(Job):
    """`trustee eval bfcl` of one policy; its folder is that of the results.

    Attributes:
      measures: By what.
    """

    measures: Measures

    def complete(self) -> bool:
        """Whether it has every case that is asked for, answered as it is asked for."""
        try:
            results = read_results(self.folder)
        except ResultsError:
            return False
        identity, sizes = results.meta["identity"], results.meta["sizes"]
        if identity.get("max_tokens") != self.measures.max_tokens:
            return False
        if self.measures.max_length not in (None, identity.get("max_length")):
            return False
        rates = results.rates("strict")
        return all(
            name in rates and rates[name].of >= min(self.measures.limit, sizes[name])
            for name in self.measures.categories
        )

    def begun(self) -> bool:
        """Whether there are results."""
        return (self.folder / "results.jsonl").exists()

    def progress(self) -> str:
        """How many cases it has."""
        try:
            return f"{len(read_results(self.folder).records)} cases"
        except ResultsError:
            return "no cases"


@dataclasses.dataclass
class Simulation(Job):
    """`trustee eval simulated` of one policy; its folder is that of the results.

    Attributes:
      task_set: What is played, once each.
    """

    task_set: TaskSet

    def complete(self) -> bool:
        """Whether every episode of these tasks is there."""
        return self._played() >= len(self.task_set.tasks)

    def begun(self) -> bool:
        """Whether any is."""
        return self._played() > 0

    def progress(self) -> str:
        """How many there are."""
        return f"{self._played()} of {len(self.task_set.tasks)} episodes"

    def _played(self) -> int:
        try:
            if read_meta(self.folder)["identity"].get("tasks") != self.task_set.hash:
                return 0
            return len(read_records(self.folder, Outcome))
        except ResultsError:
            return 0


def _flags(given: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in given.items() if value is not None]
