"""The judges by name, and their common verdict."""

from __future__ import annotations

import pathlib
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment.judges.evidence import Evidence
from trustee_jax.environment.judges.model import ModelJudge
from trustee_jax.environment.judges.python import PythonJudge, check_grader
from trustee_jax.environment.judges.rules import RulesJudge
from trustee_jax.environment.verdict import JudgeVerdict, Verdict
from trustee_jax.errors import one_line
from trustee_jax.plugins import find
from trustee_jax.simulator import Simulator
from trustee_jax.simulator.prompts import SimulatorRole
from trustee_jax.simulator.simulator import Key, SimulatorError, Usage
from trustee_jax.text import without_surrogates

if TYPE_CHECKING:
    from trustee_jax.environment.config import EnvironmentConfig

_FIELD = "environment.judge.use"
_DETAIL = 300  # characters


class JudgeError(Exception):
    """A judge failed: the episode is invalid; says which judge, what it raised, and where."""


class Judge(Protocol):
    """What grades an episode."""

    def judge(
        self, evidence: Evidence, key: Key, usage: Usage | None = None
    ) -> Generator[Request, Completion, Verdict]:
        """Coroutine that asks the engine what it needs to know, and returns the verdict.

        Args:
          evidence: What is judged.
          key: What its samples depend on; no two requests of a run may share one.
          usage: Is added to.

        Raises:
          SimulatorError: The model gave no usable answer.
          Exception: Anything else makes the episode invalid, with the cause "judge_error".
        """


@dataclass(frozen=True)
class JudgeKind:
    """What the table says of a judge.

    Attributes:
      make: Makes it for a run.
      roles: What the simulator has to play for it.
    """

    make: Callable[[Simulator, EnvironmentConfig], Judge]
    roles: tuple[SimulatorRole, ...] = ()


JUDGES: Mapping[str, JudgeKind] = {
    "model": JudgeKind(ModelJudge, roles=("verifier",)),
    "rules": JudgeKind(RulesJudge),
}
"""By the name that `JudgeConfig.use` has: a new judge is one class, and one entry here."""


def judge_roles(names: Sequence[str]) -> tuple[SimulatorRole, ...]:
    """What the simulator has to play for the judges of these names."""
    roles = (role for name in names if name in JUDGES for role in JUDGES[name].roles)
    return tuple(dict.fromkeys(roles))


def load_judges(config: EnvironmentConfig) -> Callable[[Simulator], Judge]:
    """Finds the judges of a run, in one of ours or a user's file; makes one of them, later.

    Args:
      config: Its `judge` names them.

    Raises:
      ConfigError: A name is unknown, a file does not import, or its function takes other arguments.
    """
    names = config.judge.use
    makers = [_maker(name) for name in names]
    weights = config.judge.weights or (1.0,) * len(names)

    def make(simulator: Simulator) -> Judge:
        judges = [maker(simulator, config) for maker in makers]
        return WeightedJudge(list(zip(names, weights, judges, strict=True)))

    return make


def _maker(name: str) -> Callable[[Simulator, EnvironmentConfig], Judge]:
    found = find(name, {ours: kind.make for ours, kind in JUDGES.items()}, _FIELD)
    if name in JUDGES:
        return found
    check_grader(found, name, _FIELD)
    return lambda simulator, config: PythonJudge(found)


class WeightedJudge:
    """Several judges, or one, whose failures make the episode invalid and nothing else."""

    def __init__(self, judges: Sequence[tuple[str, float, Judge]]):
        """Takes name, weight and judge of each; see `JudgeConfig`."""
        self._judges = judges

    def judge(
        self, evidence: Evidence, key: Key, usage: Usage | None = None
    ) -> Generator[Request, Completion, Verdict]:
        """Coroutine that asks one judge after the other; the verdict of a single one is its own.

        Args:
          evidence: What is judged.
          key: See `Judge.judge`; judges after the first get a key that is longer by their place.
          usage: Is added to.

        Raises:
          SimulatorError: The model gave no usable answer.
          JudgeError: A judge raised something else, or returned what is no verdict.
        """
        verdicts = []
        for place, (name, weight, judge) in enumerate(self._judges):
            mine = (*key, place) if place else key
            try:
                verdict = yield from _guarded(name, judge, evidence, mine, usage)
            except (JudgeError, SimulatorError):
                if not weight:
                    continue  # It counts for nothing.
                raise
            verdicts.append(JudgeVerdict(name, weight, verdict))
        if len(self._judges) == 1:
            return verdicts[0].verdict
        return Verdict("weighted", judges=tuple(verdicts))


def _guarded(
    name: str, judge: Judge, evidence: Evidence, key: Key, usage: Usage | None
) -> Generator[Request, Completion, Verdict]:
    """Runs a judge to its verdict; what it raises is a JudgeError."""
    try:
        verdict = yield from judge.judge(evidence, key, usage)
        if not isinstance(verdict, Verdict) or not -1 <= verdict.reward <= 1:
            raise ValueError(f"no verdict with a reward in [-1, 1]: {verdict!r:.100}")
    # A judge may be a user's program: anything can go wrong in it, sys.exit included.
    except (SimulatorError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise JudgeError(f"{name}: {_in_words(error)}") from error
    return verdict


def _in_words(error: BaseException) -> str:
    """What was raised and where, on one line."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    where = pathlib.PurePath(frame.f_code.co_filename).name
    return without_surrogates(f"{one_line(error, _DETAIL)} ({where}, line {line})")
