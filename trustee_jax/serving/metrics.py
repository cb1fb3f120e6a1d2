"""What an operator watches, for Prometheus."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trustee_jax.engine import Engine
from trustee_jax.serving.worker import EngineWorker

_FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_REQUEST = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self, worker: EngineWorker, engines: list[Engine]) -> None:
        """Takes what is watched.

        Args:
          worker: Its requests under way.
          engines: Their caches.
        """
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "trustee_requests",
            "Answers, by HTTP status.",
            ["path", "status"],
            registry=self._registry,
        )
        self.prompt_tokens = Counter(
            "trustee_prompt_tokens", "Tokens of prompts.", registry=self._registry
        )
        self.answer_tokens = Counter(
            "trustee_answer_tokens",
            "Tokens of answers; their rate is tokens a second.",
            registry=self._registry,
        )
        self.first_token = Histogram(
            "trustee_time_to_first_token_seconds",
            "From a request to the first token of its answer.",
            buckets=_FIRST_TOKEN,
            registry=self._registry,
        )
        self.token = Histogram(
            "trustee_time_per_token_seconds",
            "Mean time of each token of an answer after the first.",
            buckets=_TOKEN,
            registry=self._registry,
        )
        self.duration = Histogram(
            "trustee_request_seconds",
            "From a request to the end of its answer.",
            buckets=_REQUEST,
            registry=self._registry,
        )
        under_way = Gauge(
            "trustee_requests_under_way", "Waiting and running.", registry=self._registry
        )
        under_way.set_function(lambda: worker.under_way)
        used = Gauge(
            "trustee_cache_tokens_used",
            "Tokens whose keys and values running requests hold.",
            registry=self._registry,
        )
        used.set_function(lambda: sum(engine.cache_use[0] for engine in engines))
        held = Gauge(
            "trustee_cache_tokens_held",
            "Tokens of the pages that requests hold.",
            registry=self._registry,
        )
        held.set_function(lambda: sum(engine.cache_use[1] for engine in engines))
        room = Gauge(
            "trustee_cache_tokens",
            "Tokens that all caches can hold.",
            registry=self._registry,
        )
        room.set(sum(engine.config.pages * engine.config.page_size for engine in engines))

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return prometheus_client.generate_latest(self._registry)

    @property
    def content_type(self) -> str:
        """Of that text."""
        return prometheus_client.CONTENT_TYPE_LATEST
