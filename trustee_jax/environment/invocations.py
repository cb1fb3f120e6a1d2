"""Functions that coroutines want called: in threads, each with a deadline."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trustee_jax.errors import one_line


@dataclass(frozen=True, eq=False)
class Invocation:
    """A function that a coroutine yields in order to have it called.

    Attributes:
      function: Is called in a thread; what it returns is sent into the coroutine.
      deadline: Seconds from the start of the call after which nobody waits for it any more.
    """

    function: Callable[[], Any]
    deadline: float


class InvocationError(Exception):
    """An invocation raised something, or took too long; the message is one line."""


class InvocationPool:
    """Calls functions in threads of its own, in the order of submission.

    It has the methods of an engine. A thread past its deadline is left alone: Python cannot end it.
    Its place in the pool is free again, and it does not keep the process from ending.
    """

    def __init__(self, threads: int):
        """Starts no thread before the first invocation.

        Args:
          threads: Most functions under way at a time, those that were given up not counted.
        """
        self._threads = threads
        self._tickets = itertools.count()
        self._queue: deque[tuple[int, Invocation]] = deque()
        self._running: dict[int, tuple[float, Invocation]] = {}  # with the time of its deadline
        self._done: dict[int, Any] = {}
        self._changed = threading.Condition()

    def submit(self, invocation: Invocation) -> int:
        """Takes an invocation and returns its ticket."""
        with self._changed:
            ticket = next(self._tickets)
            self._queue.append((ticket, invocation))
            self._start()
        return ticket

    def step(self) -> list[tuple[int, Any]]:
        """Returns what is over, by ticket: a result, or the InvocationError to raise."""
        with self._changed:
            now = time.monotonic()
            for ticket in [t for t, (end, _) in self._running.items() if now >= end]:
                self._end(ticket, None)
            self._start()
            done, self._done = sorted(self._done.items(), key=lambda item: item[0]), {}
        return done

    def wait(self, seconds: float) -> None:
        """Returns when there is something to return, but not later than after that time."""
        with self._changed:
            ends = [end - time.monotonic() for end, _ in self._running.values()]
            self._changed.wait_for(lambda: self._done, max(0.0, min([seconds, *ends])))

    def cancel(self) -> None:
        """Forgets all invocations; those under way run on unheard."""
        with self._changed:
            self._queue.clear()
            self._running.clear()
            self._done.clear()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to wait for."""
        with self._changed:
            return not (self._queue or self._running or self._done)

    def _start(self) -> None:
        while self._queue and len(self._running) < self._threads:
            ticket, invocation = self._queue.popleft()
            self._running[ticket] = (time.monotonic() + invocation.deadline, invocation)
            thread = threading.Thread(target=self._call, args=(ticket, invocation), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many that were given up
                self._end(ticket, InvocationError(one_line(error)))

    def _call(self, ticket: int, invocation: Invocation) -> None:
        try:
            outcome = invocation.function()
        # Not even SystemExit is more than the end of this one call.
        except BaseException as error:
            outcome = InvocationError(one_line(error))
        with self._changed:
            self._end(ticket, outcome)
            self._start()

    def _end(self, ticket: int, outcome: Any) -> None:
        """Keeps the outcome of a call that was not given up, unless it comes too late."""
        if ticket not in self._running:
            return
        end, invocation = self._running.pop(ticket)
        if time.monotonic() >= end:
            outcome = InvocationError(f"timed out after {invocation.deadline:g} s")
        self._done[ticket] = outcome
        self._changed.notify_all()
