"""A user's function as judge."""

from __future__ import annotations

import copy
import inspect
import numbers
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment.judges.evidence import Evidence
from trustee_jax.environment.verdict import CriterionVerdict, Verdict
from trustee_jax.errors import ConfigError
from trustee_jax.simulator.simulator import Key, Usage
from trustee_jax.text import without_surrogates

Grader = Callable[..., Any]
"""`grade(task, messages, calls)`; see `PythonJudge`."""

_BOOLEAN = (bool, np.bool_)


class PythonJudge:
    """Calls `grade(task, messages, calls)`, a function of a user's file, at the end of an episode.

    It receives copies of the `Task`, of the messages in the OpenAI form (list[dict]; an assistant's
    `reasoning_content` are its private thoughts) and of the calls (list[`CallRecord`]: name,
    arguments, the text that came back, whether the call fits its tool and succeeded). It returns

    * True for a reward of 1, False for -1; or
    * a number in [-1, 1], the reward; or
    * a dict criterion -> bool, not empty: 1 if all are met, 0 if at least half are, else -1.

    All else that it returns, and whatever it raises, makes the episode invalid. It is called in the
    loop's own thread, which waits for it, and on several hosts by each of them, which must be given
    the same answer.
    """

    def __init__(self, function: Grader):
        """Takes the function; `check_grader` says whether it can be called."""
        self._function = function

    def judge(
        self, evidence: Evidence, key: Key, usage: Usage | None = None
    ) -> Generator[Request, Completion, Verdict]:
        """Coroutine that asks no engine; see `Judge.judge`."""
        yield from ()
        # What it changes must reach neither the record nor another episode of the task.
        given = copy.deepcopy((evidence.task, list(evidence.messages), list(evidence.calls)))
        return _verdict(self._function(*given))


def check_grader(function: Grader, value: str, field: str) -> None:
    """Checks that a function can be called as a judge.

    Args:
      function: The user's.
      value: The option's value that names it, for the error.
      field: The option's dotted name.

    Raises:
      ConfigError: It is no plain function, or takes other arguments.
    """
    form = "define it as grade(task, messages, calls)"
    kinds = (
        *(inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction),
        inspect.isclass,
    )
    if any(is_kind(function) for is_kind in kinds):
        raise ConfigError(field, value, f"it is no plain function; {form}")
    try:
        inspect.signature(function).bind(None, None, None)
    except (TypeError, ValueError) as error:
        fix = f"it cannot be called with three arguments ({error}); {form}"
        raise ConfigError(field, value, fix) from None


def _verdict(answer: object) -> Verdict:
    """The verdict that an answer stands for.

    Raises:
      ValueError: It stands for none.
    """
    if isinstance(answer, _BOOLEAN):
        return Verdict("python", score=1.0 if answer else -1.0)
    if isinstance(answer, numbers.Real) and -1 <= float(answer) <= 1:
        return Verdict("python", score=float(answer))
    if isinstance(answer, Mapping) and answer:
        met = answer.values()
        if all(isinstance(one, _BOOLEAN) for one in met) and all(type(n) is str for n in answer):
            parts = (
                CriterionVerdict(without_surrogates(name), bool(one))
                for name, one in answer.items()
            )
            return Verdict("python", tuple(parts))
    raise ValueError(f"returned {answer!r:.100}: no bool, number in [-1, 1] or dict str -> bool")
