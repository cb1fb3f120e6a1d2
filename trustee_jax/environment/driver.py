"""Moves many coroutines forward as engines and threads complete what they asked for."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from trustee_jax.engine.types import Completion, Request, RequestError, Role
from trustee_jax.environment.invocations import Invocation, InvocationError, InvocationPool

T = TypeVar("T")
# How often it is asked whether to stop while only threads are at work, in seconds.
_POLL = 0.1
# In place of an engine's number.
_POOL = -1


class Stopped(Exception):
    """The run was asked to stop: there are no results."""


class SupportsRequests(Protocol):
    """What the driver needs of an engine."""

    def submit(self, request: Request) -> int:
        """Takes a request and returns its ticket; raises RequestError if it cannot be served."""

    def step(self) -> list[tuple[int, Completion]]:
        """Does a piece of work; returns what was completed, in a reproducible order."""

    def cancel(self) -> None:
        """Drops all requests."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""


def run(
    coroutines: Sequence[Generator[Request | Invocation, Any, T]],
    engines: Mapping[Role, SupportsRequests],
    *,
    threads: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[T]:
    """Runs coroutines to their ends, in one thread; what they invoke runs in others.

    Without invocations the order of requests depends on nothing but the coroutines and the engines,
    so that a run can be repeated bit for bit. A refused request is thrown into its coroutine as
    `RequestError`, a failed invocation as `InvocationError`. Invocations that are over between two
    engine steps go on in the order in which they were made; only when no engine has anything to do
    is there a wait for them.

    Args:
      coroutines: Not yet started; each has one request or invocation under way at a time.
      engines: The engine of each role; the same engine may serve several.
      threads: Most invocations under way at a time.
      on_progress: Called with (finished, all) when a coroutine has finished.
      should_stop: Asked before every engine step, and while only invocations are waited for.

    Returns:
      The coroutines' results, in their order.

    On any exception the coroutines are closed, the engines cancelled and invocations forgotten.

    Raises:
      Stopped: `should_stop` said so.
      RuntimeError: An engine is idle while a coroutine waits for it.
    """
    distinct = list(dict.fromkeys(engines.values()))
    numbers = {role: distinct.index(engine) for role, engine in engines.items()}
    pool = InvocationPool(threads)
    waiting: dict[tuple[int, int], int] = {}
    results: dict[int, T] = {}

    def advance(index: int, outcome: Any) -> None:
        coroutine = coroutines[index]
        while True:
            try:
                if isinstance(outcome, RequestError | InvocationError):
                    wanted = coroutine.throw(outcome)
                else:
                    wanted = coroutine.send(outcome)
            except StopIteration as stop:
                results[index] = stop.value
                if on_progress is not None:
                    on_progress(len(results), len(coroutines))
                return
            if isinstance(wanted, Invocation):
                waiting[_POOL, pool.submit(wanted)] = index
                return
            number = numbers[wanted.role]
            try:
                ticket = distinct[number].submit(wanted)
            except RequestError as refusal:
                outcome = refusal
            else:
                waiting[number, ticket] = index
                return

    def check_stop() -> None:
        if should_stop is not None and should_stop():
            raise Stopped

    try:
        for index in range(len(coroutines)):
            advance(index, None)
        while waiting:
            for ticket, outcome in pool.step():
                advance(waiting.pop((_POOL, ticket)), outcome)
            busy = False
            for number, engine in enumerate(distinct):
                if engine.idle:
                    continue
                check_stop()
                busy = True
                for ticket, completion in engine.step():
                    advance(waiting.pop((number, ticket)), completion)
            if waiting and not busy:
                if pool.idle:
                    raise RuntimeError(f"{len(waiting)} requests were lost: the engines are idle")
                check_stop()
                pool.wait(_POLL)
    except BaseException:
        for coroutine in coroutines:
            coroutine.close()
        for engine in distinct:
            engine.cancel()
        pool.cancel()
        raise
    return [results[index] for index in range(len(coroutines))]
