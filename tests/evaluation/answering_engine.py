"""An engine whose answers a function of the request makes up, as text."""

from collections.abc import Callable

import numpy as np

from trustee_jax.chat import ChatFormat
from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.streams import Purpose


class AnsweringEngine:
    """Completes the youngest `width` requests first, so that nothing can lean on their order."""

    def __init__(
        self, format: ChatFormat, write: Callable[[Request], str], max_length: int = 1 << 20
    ):
        self.format, self.write, self.max_length = format, write, max_length
        self.requests: list[Request] = []
        self.pending: list[tuple[int, Completion]] = []
        self.width = 3
        self.cancelled = False

    @property
    def idle(self) -> bool:
        return not self.pending

    def cancel(self) -> None:
        self.pending.clear()
        self.cancelled = True

    def submit(self, request: Request) -> int:
        assert request.key not in {earlier.key for earlier in self.requests[-500:]}
        assert request.key[0] == Purpose.EVALUATION
        if len(request.tokens) + request.max_new_tokens > self.max_length:
            raise RequestError("too long")
        ids = self.format.encode(self.write(request))
        ids = np.append(ids, np.int32(request.stop_ids[0]))
        self.requests.append(request)
        completion = Completion(ids, np.zeros(len(ids), np.float32), "stop")
        self.pending.append((len(self.requests), completion))
        return len(self.requests)

    def step(self) -> list[tuple[int, Completion]]:
        done, self.pending = self.pending[-self.width :], self.pending[: -self.width]
        return done[::-1]
