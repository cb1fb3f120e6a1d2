"""tau2-bench: its own command line against a server of ours, and what it found.

The benchmark (Barres et al. 2025, arXiv 2506.07982) has a policy talk to a user that a model plays,
with tools that work on a database. Nothing of it is changed: it is run from its checkout, in an
environment of its own, and told where the server is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from trustee_jax.errors import InputError
from trustee_jax.evaluation.cases import limited
from trustee_jax.evaluation.installing import Requirements

DOMAINS = ("airline", "retail", "telecom")
REPOSITORY = "https://github.com/sierra-research/tau2-bench"

_JUDGED = "NL_ASSERTION"  # a part of a reward that a language model decides
_LOST = "infrastructure_error"  # how a trial ended in which the server refused an answer
_LOOK = 2.0  # seconds between two looks at what is done
_END = 30.0  # seconds that it gets to end
_LOG = "log.txt"


class Tau2Error(InputError):
    """The benchmark is not there, not complete, or failed."""


@dataclass(frozen=True)
class Task:
    """One task of a domain.

    Attributes:
      id: Its name.
      judged: Whether a language model has a part in its reward.
    """

    id: str
    judged: bool


@dataclass(frozen=True)
class Trial:
    """One conversation that has ended.

    Attributes:
      domain: Its domain.
      task: Its task.
      number: Which of the task's trials, from 0.
      reward: From 0 to 1.
      ended: Why it ended, e.g. "user_stop" or "max_steps".
      error: What the server said if it refused an answer, e.g. since the context was full.
        tau2-bench leaves such trials out, and plays them again when it goes on; here they count as
        failures, or a policy could get rid of a task by talking without end.
    """

    domain: str
    task: str
    number: int
    reward: float
    ended: str
    error: str = ""

    @property
    def id(self) -> str:
        """Of all domains."""
        return f"{self.domain}/{self.task}/{self.number}"

    @property
    def success(self) -> bool:
        """Whether it has the whole reward."""
        return abs(self.reward - 1) < 1e-6

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Reads what `to_json` returned."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})


class Checkout:
    """A clone of the benchmark's repository.

    Attributes:
      path: Its folder.
      version: Of the benchmark, and the digest of what its tasks are checked by.
      requirements: What it needs, as it says itself.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Reads what it is.

        Args:
          path: Its folder.

        Raises:
          Tau2Error: It is another folder.
        """
        self.path = path
        try:
            project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))[
                "project"
            ]
            packages, version = tuple(project["dependencies"]), str(project["version"])
            if project["name"] != "tau2" or not (path / "src/tau2/cli.py").is_file():
                raise KeyError("name")
        except (OSError, ValueError, KeyError, TypeError):
            raise Tau2Error(
                f"--tau2: {path} is no checkout of tau2-bench, which no package index has; "
                f"git clone {REPOSITORY}, and name its folder"
            ) from None
        self.version = version
        digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:8]
        self.requirements = Requirements(
            name="tau2",
            version=digest,
            packages=packages,
            dependencies=True,
            flag="--tau2_env",
            room="500 MB",
        )

    def tasks(self, domain: str) -> list[Task]:
        """The tasks of a domain that published figures are of (its split "base").

        Raises:
          Tau2Error: A file of the domain is missing or damaged.
        """
        folder = self.path / "data/tau2/domains" / domain
        database = "db.toml" if domain == "telecom" else "db.json"
        for name in ("tasks.json", "split_tasks.json", database):
            if not (folder / name).is_file():
                raise Tau2Error(
                    f"--tau2: {folder / name} is missing; a whole clone of {REPOSITORY} has it"
                )
        try:
            tasks = {one["id"]: one for one in _read(folder / "tasks.json")}
            split = _read(folder / "split_tasks.json")["base"]
            return [Task(str(name), _is_judged(tasks[name])) for name in split]
        except (KeyError, TypeError) as error:
            raise Tau2Error(f"--tau2: {folder} has tasks of another form ({error!r})") from None


def _read(file: pathlib.Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Tau2Error(f"{file} cannot be read ({error})") from None


def _is_judged(task: Mapping[str, Any]) -> bool:
    criteria = task["evaluation_criteria"]
    return _JUDGED in criteria["reward_basis"] and bool(criteria.get("nl_assertions"))


def chosen(tasks: Sequence[Task], limit: int | None) -> list[Task]:
    """Those that code alone checks; of these so many, the same ones for every model.

    The benchmark has one particular model of a vendor judge the others.

    Args:
      tasks: Of a domain.
      limit: How many; None for all. See `cases.limited`.
    """
    return limited([task for task in tasks if not task.judged], limit)


@dataclass(frozen=True)
class Options:
    """How conversations are held.

    Attributes:
      trials: Conversations of each task.
      seed: Of the benchmark; every trial gets another one from it.
      temperature: Of the policy; the user's is 0, as tau2-bench has it.
      max_tokens: Longest answer of either, in tokens.
      max_steps: Messages after which a conversation is broken off.
    """

    trials: int
    seed: int
    temperature: float
    max_tokens: int
    max_steps: int


@dataclass(frozen=True)
class Address:
    """Where the models are.

    Attributes:
      url: The server's root.
      api_key: What it asks for.
      agent: The model that is measured.
      user: The model that plays the user.
      lanes: Conversations that it answers at once.
      timeout: Seconds that an answer may take.
    """

    url: str
    api_key: str
    agent: str
    user: str
    lanes: int
    timeout: float


class Conversations:
    """tau2-bench at work on a domain; what it has done already it does not do again."""

    def __init__(
        self,
        python: pathlib.Path,
        checkout: Checkout,
        domain: str,
        tasks: Sequence[Task],
        address: Address,
        options: Options,
        folder: pathlib.Path,
    ) -> None:
        """Prepares the command.

        Args:
          python: Of the environment.
          checkout: The benchmark.
          domain: Of the tasks.
          tasks: What is talked about.
          address: Who talks.
          options: How.
          folder: Gets its results.json, which has every message, and its output.
        """
        self._domain, self._folder = domain, folder
        self._results = folder / "results.json"
        self._tasks = {task.id for task in tasks}
        self._trials = options.trials
        limits = {"max_tokens": options.max_tokens, "timeout": address.timeout}
        agent = {"temperature": options.temperature, **limits}
        user = {"temperature": 0.0, **limits}
        # litellm reads "openai/" as "whatever speaks OpenAI's protocol".
        self._command = [str(python), "-m", "tau2.cli", "run", f"--domain={domain}"]
        self._command += [f"--agent-llm=openai/{address.agent}"]
        self._command += [f"--user-llm=openai/{address.user}"]
        self._command += [f"--agent-llm-args={json.dumps(agent)}"]
        self._command += [f"--user-llm-args={json.dumps(user)}"]
        self._command += [f"--num-trials={options.trials}", f"--max-steps={options.max_steps}"]
        self._command += [f"--seed={options.seed}", f"--max-concurrency={address.lanes}"]
        self._command += [f"--save-to={folder}", "--auto-resume", "--task-ids"]
        self._command += [task.id for task in tasks]
        # By the environment, not by arguments: those are kept with the results, and the port
        # changes from one time to the next.
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(checkout.path / "src"),
            "TAU2_DATA_DIR": str(checkout.path / "data"),
            "OPENAI_API_BASE": f"{address.url}/v1",
            "OPENAI_API_KEY": address.api_key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }

    def run(self) -> Iterator[list[Trial]]:
        """Yields what is done so far, again and again, and in the end all of it.

        Raises:
          Tau2Error: It failed. What is done stays.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (
            (self._folder / _LOG).open("a", encoding="utf-8") as log,
            subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                # Ctrl-C is for the evaluation, which ends the process itself.
                process_group=0,
            ) as process,
        ):
            try:
                status = None
                while status is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        status = process.wait(_LOOK)
                    yield self.trials()
            finally:
                if process.poll() is None:
                    _end(process)
        if status:
            raise Tau2Error(
                f"tau2-bench ended with status {status}; its last words are in "
                f"{self._folder / _LOG}: {self._last_line()}"
            )

    def trials(self) -> list[Trial]:
        """What is done, of the tasks and trials that are asked for.

        Raises:
          Tau2Error: Its results cannot be read.
        """
        if not self._results.exists():
            return []
        try:
            found = [
                Trial(
                    domain=self._domain,
                    task=str(one["task_id"]),
                    number=int(one["trial"]),
                    reward=float((one["reward_info"] or {"reward": 0})["reward"]),
                    ended=str(one["termination_reason"]),
                    error=_error(one),
                )
                for one in _read(self._results)["simulations"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise Tau2Error(f"{self._results} has another form ({error!r})") from None
        return [one for one in found if one.task in self._tasks and one.number < self._trials]

    def _last_line(self) -> str:
        lines = (self._folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def _error(simulation: Mapping[str, Any]) -> str:
    if simulation["termination_reason"] != _LOST:
        return ""
    error = (simulation.get("info") or {}).get("error") or "no reason is given"
    return " ".join(str(error).split())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Has it end, and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
