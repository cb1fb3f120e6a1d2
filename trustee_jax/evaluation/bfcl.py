"""The Berkeley Function-Calling Leaderboard, answered by an engine and checked by official code."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from trustee_jax.chat import ChatFormat, ChatFormatError
from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment.driver import SupportsRequests, run
from trustee_jax.evaluation.cases import Case, limited, read_cases
from trustee_jax.evaluation.checker import BFCL_WORKER, Checker, CheckerError, RequestFailure
from trustee_jax.evaluation.installing import BFCL, BFCL_VERSION, ensure_environment
from trustee_jax.evaluation.play import (
    READINGS,
    Answer,
    AnswerOptions,
    Reading,
    Refused,
    Rules,
    answer,
    converse,
)
from trustee_jax.evaluation.results import Record, ResultsFolder, Verdict
from trustee_jax.progress import counted


@dataclass(frozen=True, eq=False)
class EvaluatedPolicy:
    """The model that is measured.

    Attributes:
      format: Its chat format.
      engine: Serves its requests.
      lanes: Cases under way at a time: as many as the engine answers at once. More would push each
        other's conversations out of the cache.
    """

    format: ChatFormat
    engine: SupportsRequests
    lanes: int


def open_checker(folder: pathlib.Path, *, timeout: float = 60.0) -> Checker:
    """Starts the official checkers, in an environment that is made if it is not there yet.

    Args:
      folder: Of the environment.
      timeout: Seconds that a request may take.

    Raises:
      InstallError: The environment cannot be made.
      CheckerError: It holds another version, or what it holds does not work.
    """
    checker = Checker(ensure_environment(folder, BFCL), BFCL_WORKER, timeout=timeout)
    if (version := checker.description["version"]) != BFCL_VERSION:
        checker.close()
        raise CheckerError(
            f"--bfcl_env: {folder} holds bfcl-eval {version}, not {BFCL_VERSION}; name another "
            "folder"
        )
    return checker


def evaluate(
    policy: EvaluatedPolicy,
    checker: Checker,
    folder: ResultsFolder,
    categories: Sequence[str],
    options: AnswerOptions,
    *,
    limit: int | None = None,
    console: Console | None = None,
    on_record: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Answers the cases that the folder does not have yet, category by category.

    What the model answers depends on nothing but the case, the options and the engine's seed: an
    evaluation that was broken off and goes on finds the same as one that was not.

    Args:
      policy: The model.
      checker: The official data and checkers.
      folder: Gets the results.
      categories: See `board.CATEGORIES`.
      options: How the model answers.
      limit: Cases of each category; None for all. See `cases.limited`.
      console: Where progress is shown; None is the standard output.
      on_record: Called after each case.
      should_stop: Asked between engine steps.

    Raises:
      Stopped: `should_stop` said so; what is done is in the folder.
      CheckerError: The cases cannot be loaded.
    """
    examiner = _Examiner(policy.format, checker, options)

    def lane(
        waiting: collections.deque[Case], done: Callable[[], None]
    ) -> Generator[Request, Completion, None]:
        while waiting:
            folder.add((yield from examiner.examine(waiting.popleft())))
            done()
            on_record()

    for category in categories:
        cases = examiner.load(category)
        folder.add_category(category, len(cases))
        chosen = limited(cases, limit)
        pending = [case for case in chosen if case.id not in folder.results.records]
        label = category if len(pending) == len(chosen) else f"{category}, what is left"
        with counted(label, len(pending), console) as advance:
            waiting = collections.deque(pending)
            lanes = min(policy.lanes, len(pending))
            run(
                [lane(waiting, advance) for _ in range(lanes)],
                {"policy": policy.engine},
                should_stop=should_stop,
            )


class _Examiner:
    """Has cases answered, and the answers checked."""

    def __init__(self, format: ChatFormat, checker: Checker, options: AnswerOptions) -> None:
        self._format, self._checker, self._options = format, checker, options
        prescribed = checker.description
        self._rules = Rules(prescribed["step_limit"], prescribed["added_tools_text"])

    def load(self, category: str) -> tuple[Case, ...]:
        try:
            return read_cases(category, self._checker.ask("load", category=category))
        except RequestFailure as error:
            raise CheckerError(f"the cases of {category} cannot be loaded ({error})") from None

    def examine(self, case: Case) -> Generator[Request, Completion, Record]:
        try:
            given = yield from self._play(case)
            verdicts = self._verdicts(case, given)
        except (Refused, ChatFormatError) as error:
            return self._lost(case, f"refused: {error}")
        except RequestFailure as error:
            return self._lost(case, f"checker: {error}")
        return Record(case.id, case.category, verdicts, given.texts, given.tokens)

    def _play(self, case: Case) -> Generator[Request, Completion, Answer]:
        if not case.multi_turn:
            return (yield from answer(case, self._format, self._options))

        def execute(case: str, steps: Sequence[Any]) -> Any:
            return self._checker.ask("execute", case=case, steps=steps)

        return (yield from converse(case, self._format, self._options, self._rules, execute))

    def _verdicts(self, case: Case, given: Answer) -> Mapping[Reading, Verdict]:
        method = "check_conversation" if case.multi_turn else "check"
        verdicts: dict[Reading, Verdict] = {}
        for reading, result in given.results.items():
            same = next((known for known in verdicts if given.results[known] == result), None)
            if same is None:
                found = self._checker.ask(method, case=case.id, result=result)
                verdicts[reading] = Verdict(**found)
            else:
                verdicts[reading] = verdicts[same]
        return verdicts

    def _lost(self, case: Case, error: str) -> Record:
        readings = (self._options.reading,) if case.multi_turn else READINGS
        return Record(
            case.id, case.category, dict.fromkeys(readings, Verdict(False, error)), error=error
        )
