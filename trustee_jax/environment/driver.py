"""Moves many coroutines forward as the engines complete what they asked for."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, TypeVar

from trustee_jax.engine.types import Completion, Request, RequestError, Role

T = TypeVar("T")


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
    coroutines: Sequence[Generator[Request, Completion, T]],
    engines: Mapping[Role, SupportsRequests],
    *,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[T]:
    """Runs coroutines to their ends, in one thread.

    The order of requests depends on nothing but the coroutines and the engines, so that a run can
    be repeated bit for bit. A refused request is thrown into its coroutine as `RequestError`.

    Args:
      coroutines: not yet started; each has one request under way at a time.
      engines: the engine of each role; the same engine may serve several.
      on_progress: called with (finished, all) when a coroutine has finished.
      should_stop: asked before every engine step.

    Returns:
      The coroutines' results, in their order.

    On any exception the coroutines are closed and the engines cancelled.

    Raises:
      Stopped: `should_stop` said so.
      RuntimeError: an engine is idle while a coroutine waits for it.
    """
    distinct = list({id(engine): engine for engine in engines.values()}.values())
    numbers = {role: distinct.index(engine) for role, engine in engines.items()}
    waiting: dict[tuple[int, int], int] = {}
    results: dict[int, T] = {}

    def advance(index: int, completion: Completion | None) -> None:
        coroutine, error = coroutines[index], None
        while True:
            try:
                if error is not None:
                    request = coroutine.throw(error)
                elif completion is None:
                    request = next(coroutine)
                else:
                    request = coroutine.send(completion)
            except StopIteration as stop:
                results[index] = stop.value
                if on_progress is not None:
                    on_progress(len(results), len(coroutines))
                return
            number = numbers[request.role]
            try:
                ticket = distinct[number].submit(request)
            except RequestError as refusal:
                error = refusal
            else:
                waiting[number, ticket] = index
                return

    try:
        for index in range(len(coroutines)):
            advance(index, None)
        while waiting:
            busy = False
            for number, engine in enumerate(distinct):
                if engine.idle:
                    continue
                if should_stop is not None and should_stop():
                    raise Stopped
                busy = True
                for ticket, completion in engine.step():
                    advance(waiting.pop((number, ticket)), completion)
            if not busy:
                raise RuntimeError(f"{len(waiting)} requests were lost: the engines are idle")
    except BaseException:
        for coroutine in coroutines:
            coroutine.close()
        for engine in distinct:
            engine.cancel()
        raise
    return [results[index] for index in range(len(coroutines))]
