"""Moves many coroutines forward as engines and threads complete what they asked for."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

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
    return _Run(coroutines, engines, threads, on_progress, should_stop).results()


class _Run(Generic[T]):
    """Coroutines, and what each of them waits for."""

    def __init__(
        self,
        coroutines: Sequence[Generator[Request | Invocation, Any, T]],
        engines: Mapping[Role, SupportsRequests],
        threads: int,
        on_progress: Callable[[int, int], None] | None,
        should_stop: Callable[[], bool] | None,
    ):
        self._coroutines = coroutines
        self._engines = list(dict.fromkeys(engines.values()))
        self._numbers = {role: self._engines.index(engine) for role, engine in engines.items()}
        self._pool = InvocationPool(threads)
        self._on_progress, self._should_stop = on_progress, should_stop
        # Index of the coroutine, by the number of its engine and the ticket there.
        self._waiting: dict[tuple[int, int], int] = {}
        self._results: dict[int, T] = {}

    def results(self) -> list[T]:
        """Runs all coroutines; see `run`."""
        try:
            for index in range(len(self._coroutines)):
                self._advance(index, None)
            while self._waiting:
                self._step()
        except BaseException:
            for coroutine in self._coroutines:
                coroutine.close()
            for engine in self._engines:
                engine.cancel()
            self._pool.cancel()
            raise
        return [self._results[index] for index in range(len(self._coroutines))]

    def _step(self) -> None:
        """Takes what threads have ready and a step of each engine; waits if none has work."""
        for ticket, outcome in self._pool.step():
            self._advance(self._waiting.pop((_POOL, ticket)), outcome)
        busy = False
        for number, engine in enumerate(self._engines):
            if engine.idle:
                continue
            self._check_stop()
            busy = True
            for ticket, completion in engine.step():
                self._advance(self._waiting.pop((number, ticket)), completion)
        if self._waiting and not busy:
            if self._pool.idle:
                lost = len(self._waiting)
                raise RuntimeError(f"{lost} requests were lost: the engines are idle")
            self._check_stop()
            self._pool.wait(_POLL)

    def _advance(self, index: int, outcome: Any) -> None:
        """Sends a coroutine what it waited for, until it waits again or has ended."""
        coroutine = self._coroutines[index]
        place: tuple[int, int] | None = None
        while place is None:
            try:
                if isinstance(outcome, RequestError | InvocationError):
                    wanted = coroutine.throw(outcome)
                else:
                    wanted = coroutine.send(outcome)
            except StopIteration as stop:
                self._results[index] = stop.value
                if self._on_progress is not None:
                    self._on_progress(len(self._results), len(self._coroutines))
                return
            try:
                place = self._submit(wanted)
            except RequestError as refusal:
                outcome = refusal
        self._waiting[place] = index

    def _submit(self, wanted: Request | Invocation) -> tuple[int, int]:
        """Returns what is waited for: the number of the engine, and the ticket there."""
        if isinstance(wanted, Invocation):
            return _POOL, self._pool.submit(wanted)
        number = self._numbers[wanted.role]
        return number, self._engines[number].submit(wanted)

    def _check_stop(self) -> None:
        if self._should_stop is not None and self._should_stop():
            raise Stopped
