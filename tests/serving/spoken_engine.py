"""An engine that says what a test wants, and a server around it."""

import collections
import contextlib
import dataclasses
import threading
import time

import numpy as np

from trustee_jax.engine import EngineConfig, RequestError, Sampling
from trustee_jax.engine.types import NewTokens
from trustee_jax.serving.app import Server
from trustee_jax.serving.models import ServedModel, ServedModels
from trustee_jax.serving.server import listen
from trustee_jax.serving.server import running as running_server


class SpokenEngine:
    """Answers with `say(request, prompt)`, a few tokens a step, up to the request's limit.

    A text that is an exception fails the engine's step. Log-probabilities are minus the place.
    """

    def __init__(self, format, say, *, pace=3, max_length=4096, delay=0.0):
        self.format, self.say, self.pace, self.delay = format, say, pace, delay
        self.max_length = max_length
        self.config = EngineConfig(slots=4, max_length=max_length, top_logprobs=20)
        self.requests = []
        self.cancelled = []
        self._waiting = collections.OrderedDict()
        self._lock = threading.Lock()
        self._tickets = 0

    cache_use = (0, 0)

    def submit(self, request, on_tokens=None):
        if len(request.tokens) + request.max_new_tokens > self.max_length:
            raise RequestError("max_new_tokens: too many")
        text = self.say(request, self.format.decode(request.tokens))
        ids = [] if isinstance(text, Exception) else self.format.encode(text).tolist()
        if not request.schema and request.stop_ids:
            ids.append(request.stop_ids[0])
        with self._lock:
            self._tickets += 1
            self.requests.append(request)
            self._waiting[self._tickets] = [request, ids, 0, on_tokens, text]
            return self._tickets

    def cancel(self, ticket=None):
        with self._lock:
            self.cancelled += [ticket] if ticket is not None else list(self._waiting)
            for one in [ticket] if ticket is not None else list(self._waiting):
                self._waiting.pop(one, None)

    @property
    def idle(self):
        return not self._waiting

    def step(self):
        time.sleep(self.delay)
        with self._lock:
            listed = list(self._waiting.items())
        for ticket, job in listed:
            request, ids, start, on_tokens, text = job
            if isinstance(text, Exception):
                raise text
            end = min(start + self.pace, len(ids), request.max_new_tokens)
            finish = None
            if end == len(ids):
                finish = "stop"
            elif end == request.max_new_tokens:
                finish = "length"
            new = ids[start:end]
            tops = [np.arange(request.top_logprobs) + 40 for _ in new]
            values = [-np.arange(request.top_logprobs, dtype=np.float32) for _ in new]
            logprobs = [-float(start + place) for place in range(len(new))]
            job[2] = end
            if finish:
                with self._lock:
                    self._waiting.pop(ticket, None)
            if request.top_logprobs:
                on_tokens(NewTokens(new, logprobs, tops, values, finish))
            else:
                on_tokens(NewTokens(new, logprobs, (), (), finish))
        return []


def served(format, engine, name="mine", **changes):
    """A model for a server."""
    model = ServedModel(
        name=name,
        engine=engine,
        role="policy",
        format=format,
        max_length=engine.max_length,
        thinking=True,
        sampling=Sampling(1.0),
        fingerprint="abc",
    )
    return dataclasses.replace(model, **changes)


@contextlib.contextmanager
def running(*models, limits=None, recorder=None):
    """A server at an address of its own; yields the URL of its root."""
    models = ServedModels(models)
    server = Server(models, limits, recorder=recorder)
    with running_server(server, listen("127.0.0.1", 0)) as url:
        yield url
