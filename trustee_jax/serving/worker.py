"""Engines in a thread of their own, asked from an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

from trustee_jax.engine import Engine, Request, RequestError
from trustee_jax.engine.types import NewTokens, NoRoomError
from trustee_jax.errors import one_line
from trustee_jax.serving.errors import NO_ROOM, ApiError, bad_request

_BUSY_FOR = 1  # seconds after which a client that found the queue full may try again


class Generation:
    """One request to an engine, of which tokens come as they are drawn.

    Attributes:
      engine: What serves it.
      ended: Whether nothing more will come of it: it is complete, failed or was cancelled.
    """

    def __init__(self, engine: Engine) -> None:
        """Is made by `EngineWorker.generate`."""
        self.engine = engine
        self.ended = False
        self._ticket: int | None = None
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[NewTokens | Exception] = asyncio.Queue()

    @property
    def submitted(self) -> bool:
        """Whether the engine has it."""
        return self._ticket is not None

    def submit(self, request: Request) -> None:
        """Queues the request, unless it was cancelled before. In any thread.

        Raises:
          RequestError: It can never be served.
        """
        self._ticket = self.engine.submit(request, self.tell)
        if self.ended:
            self.engine.cancel(self._ticket)

    def tell(self, event: NewTokens | Exception) -> None:
        """Takes what the engine has, or why it will have no more. In any thread."""
        if isinstance(event, Exception) or event.finish:
            self.ended = True
        # A server that was killed has closed its loop.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    def cancel(self) -> None:
        """Drops the request, if it is still under way."""
        if not self.ended:
            self.ended = True
            if self._ticket is not None:
                self.engine.cancel(self._ticket)

    async def __aiter__(self) -> AsyncIterator[NewTokens]:
        """Yields what the answer gains, up to its end.

        Raises:
          ApiError: The engine failed, or the worker was told to stop.
        """
        while True:
            event = await self._events.get()
            if isinstance(event, ApiError):
                raise event
            if isinstance(event, Exception):
                raise ApiError(500, f"the engine failed: {one_line(event)}") from event
            yield event
            if event.finish:
                return


class EngineWorker:
    """Steps engines in a thread of its own, those in turn that have something to do."""

    def __init__(self, engines: Sequence[Engine], most_requests: int) -> None:
        """Starts the thread.

        Args:
          engines: Nobody else may use them.
          most_requests: Requests under way and waiting, over all engines; further ones are refused.
        """
        self._engines = list(engines)
        self._most = most_requests
        self._changed = threading.Condition()
        self._live: set[Generation] = set()
        self._stopped: ApiError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def under_way(self) -> int:
        """Requests that wait or run."""
        with self._changed:
            return sum(not one.ended for one in self._live)

    @property
    def alive(self) -> bool:
        """Whether requests are served."""
        return self._thread.is_alive()

    async def generate(
        self, engine: Engine, request: Request, *, goes_on: bool = False
    ) -> Generation:
        """Queues a request; whoever asks must iterate over what it returns, or cancel it.

        Args:
          engine: One of the worker's.
          request: What is asked for.
          goes_on: Whether it is the rest of an answer that has begun, which is always let in.

        Raises:
          ApiError: Too many are under way, the engine can never serve this one, or the worker was
            told to stop.
        """
        with self._changed:
            if self._stopped is not None:
                raise self._stopped
            self._live = {one for one in self._live if not one.ended}
            if len(self._live) >= self._most and not goes_on:
                raise ApiError(
                    429,
                    f"{self._most} requests are under way, which is the limit: try again",
                    code="queue_full",
                    retry_after=_BUSY_FOR,
                )
            generation = Generation(engine)
            self._live.add(generation)
        try:
            # A grammar may take a while to compile; the loop serves others meanwhile.
            await asyncio.to_thread(generation.submit, request)
        except RequestError as error:
            generation.cancel()
            code = NO_ROOM if isinstance(error, NoRoomError) else None
            raise bad_request(str(error), code=code) from error
        except BaseException:
            generation.cancel()
            raise
        with self._changed:
            self._changed.notify()
        return generation

    def stop(self, error: ApiError) -> None:
        """Ends all that is under way with an error, and refuses with it what comes later."""
        with self._changed:
            self._stopped = error
            live = [one for one in self._live if not one.ended]
        for generation in live:
            generation.cancel()
            generation.tell(error)

    def close(self, timeout: float) -> None:
        """Ends the thread after the step that it is in, for at most so many seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or not self._idle())
                if self._closing:
                    return
            for engine in self._engines:
                if not engine.idle:
                    self._step(engine)

    def _idle(self) -> bool:
        return all(engine.idle for engine in self._engines)

    def _step(self, engine: Engine) -> None:
        try:
            engine.step()
        except Exception as error:
            # Whatever it was, those who wait must hear of it, and the next one may fare better.
            engine.cancel()
            with self._changed:
                lost = [one for one in self._live if one.engine is engine and one.submitted]
            for generation in lost:
                if not generation.ended:
                    generation.tell(error)
