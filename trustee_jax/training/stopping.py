"""Ctrl-C and SIGTERM as a question that the loop asks, so that it can save and leave cleanly."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils


class Stopper:
    """Catches SIGINT and SIGTERM while it is entered; calling it says whether to stop.

    A second signal of the same kind acts as if nobody caught it. Once true, it stays true.

    After `jax.distributed.initialize`, all processes must call it equally often, in the same order
    of their work: JAX's preemption service, which listens for SIGTERM, lets all of them stop at the
    same call, no matter which one got the signal.
    """

    def __init__(self) -> None:
        self._stop = False
        self._calls = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether the run should save and end."""
        if not self._stop and jax.distributed.is_initialized():
            self._calls += 1
            self._stop = multihost_utils.reached_preemption_sync_point(self._calls)
        return self._stop

    def __enter__(self) -> Self:
        # The preemption service has its own handler of SIGTERM, which must stay.
        distributed = jax.distributed.is_initialized()
        for number in (signal.SIGINT,) if distributed else (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(
                number, self._forward if distributed else self._set
            )
        return self

    def __exit__(self, *error: object) -> None:
        for number in list(self._previous):
            self._restore(number)

    def _set(self, number: int, frame: FrameType | None) -> None:
        self._stop = True
        self._acknowledge(signal.Signals(number))

    def _forward(self, number: int, frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        self._acknowledge(signal.Signals(number))

    def _acknowledge(self, number: signal.Signals) -> None:
        # Not print: a handler can interrupt one.
        os.write(2, f"\nstopping ({number.name}); once more ends it at once\n".encode())
        self._restore(number)

    def _restore(self, number: signal.Signals) -> None:
        signal.signal(number, self._previous.pop(number))
