"""Every random number of the package: who draws, and from where.

A stream follows from a seed, the purpose that it serves and a place (step, task, attempt, ...).
The purpose and the length of the place are part of what is hashed, so that no two purposes, and no
two places of different lengths, share a stream. A number never depends on what was drawn before it
elsewhere, so a resumed run draws the same ones again.
"""

from __future__ import annotations

import enum
import random
import secrets

import jax
import numpy as np


class Purpose(enum.IntEnum):
    """What is drawn. Numbers are never used twice: that would repeat the streams of another."""

    ADAPTER = 1
    """LoRA factors before the first step; place: the parameter's number."""
    ASPECTS = 2
    """A task's aspects; place: step, task, draw."""
    TOOLS = 3
    """A task's tools; place: step, task, draw."""
    TASK = 4
    """Tokens of the task's author; place: step, task, draw, attempt."""
    WORLD = 5
    """Tokens of the author of its records; place: step, task, draw, attempt."""
    POLICY = 6
    """Tokens of the policy; place: step, task, episode, turn, attempt."""
    USER = 7
    """Tokens of the user; place: step, task, episode, message, attempt."""
    TOOL = 8
    """Tokens of the tools; place: step, task, episode, call, attempt."""
    VERIFIER = 9
    """Tokens of the verifier; place: step, task, episode, criterion, attempt."""
    AUDIT = 10
    """Tokens of an audited verifier; place: mode, sample, episode, variant, criterion, attempt."""
    FAULT = 11
    """What a planted fault looks like; place: episode, the fault's name."""
    SYNTHESIS = 12
    """Tokens of a tool's author; place: the command's seed, domain, request, attempt."""
    RANDOM_MODEL = 13
    """Weights of a random model; place: the parameter's name."""
    BENCHMARK = 14
    """What is measured with; place: the prompt's length and row, or none."""
    PROBE = 15
    """Tools of a probe's questions; place: question, attempt. Their answers; place: question."""
    EVALUATION = 16
    """Tokens of an evaluated policy; place: category, case, turn, step. Within the place of another
    purpose, an episode that is evaluated: training step, task, episode."""
    COMPARISON = 17
    """Resampled cases of evaluations; place: the category's name, or those of tasks."""
    EVALUATION_TASKS = 18
    """Tools, aspects and tokens of the tasks of a set; place: difficulty, task, draw."""
    SHUFFLE = 19
    """Who gets whose reward in a control run; place: step."""
    DEMONSTRATION = 20
    """Tools and arguments of demonstrations; place: step, task, episode, number, attempt."""
    SERVING = 21
    """Tokens of an answer to a client; place: its seed, the choice, the request."""


def chance_seed() -> int:
    """A seed from 0 below 2**32 that nobody can repeat: of a client that names none."""
    return secrets.randbits(32)


def chance_id() -> str:
    """24 hexadecimal digits that nobody can guess."""
    return secrets.token_hex(12)


def request_key(seed: int, key: tuple[int, ...]) -> np.ndarray:
    """The threefry key of an engine's request.

    Args:
      seed: The engine's, from 0.
      key: The request's: a purpose, then the place.

    Returns:
      uint32[2].

    Raises:
      ValueError: A number does not lie in [0, 2**32).
    """
    return _sequence(seed, *key).generate_state(2)


def token_key(key: jax.Array, count: jax.Array) -> jax.Array:
    """The key of one token of a request.

    Args:
      key: uint32[2], see `request_key`.
      count: int32[], tokens that were drawn before it.

    Returns:
      A threefry key.
    """
    return jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), count)


def generator(purpose: Purpose, seed: int, *place: int | str) -> np.random.Generator:
    """A generator for arrays and for choices among tools and aspects.

    Raises:
      ValueError: A number does not lie in [0, 2**32).
    """
    return np.random.default_rng(_sequence(seed, purpose, *place))


def choices(purpose: Purpose, seed: int, *place: int | str) -> random.Random:
    """A generator for choices among Python's objects.

    Raises:
      ValueError: A number does not lie in [0, 2**32).
    """
    words = _sequence(seed, purpose, *place).generate_state(8)
    return random.Random(words.tobytes())


def _sequence(seed: int, *parts: int | str) -> np.random.SeedSequence:
    """Hashes seed and parts, each of them in words of its own, their number first."""
    words = [len(parts)]
    for part in parts:
        if isinstance(part, str):
            data = part.encode()
            words += [len(data), *data]
        else:
            words.append(int(part))
    for number in (seed, *words):
        # Larger ones would be cut into several words and could be taken for another place.
        if not 0 <= number < 2**32:
            raise ValueError(f"{number} in the key of a random stream: it must lie in [0, 2**32)")
    # A spawn key is hashed after the seed, which is filled up with zeros; mixed in as they are,
    # [1] and [1, 0] would be the same.
    return np.random.SeedSequence(seed, spawn_key=tuple(words))
