"""Batched generation: KV cache, prefill and decoding, continuous batching, JSON schemas."""

from trustee_jax.engine.config import EngineConfig
from trustee_jax.engine.engine import Engine
from trustee_jax.engine.types import Completion, EngineStats, Request, RequestError, Role, Sampling

__all__ = [
    "Completion",
    "Engine",
    "EngineConfig",
    "EngineStats",
    "Request",
    "RequestError",
    "Role",
    "Sampling",
]
