"""The paged cache: answers do not depend on it in any bit, and nothing is lost when it is full."""

import dataclasses
import threading

import jax
import numpy as np
import pytest

from trustee_jax.engine import Engine, EngineConfig, Request, Sampling
from trustee_jax.engine.pages import PagePool
from trustee_jax.models import LoRAParam

CONFIG = EngineConfig(
    slots=6, max_length=256, page_size=16, prefill_rows=4, prefill_tokens=16, decode_steps=4
)


def _engine(tiny, model, **changes):
    return Engine(model, tiny.mesh, dataclasses.replace(CONFIG, **changes), None, seed=3)


def _episodes(count, turns=3, seed=0):
    """Requests of several turns: each context goes on from a shared prompt and the answer before.

    Yields what `_play` needs: the prompt, and what is added after each answer.
    """
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, 320, 50)
    return [
        (
            np.concatenate([shared[: 50 - i % 3 * 20], rng.integers(0, 320, 1 + 3 * i % 7)]),
            [rng.integers(0, 320, 2 + (i + turn) % 5) for turn in range(turns)],
        )
        for i in range(count)
    ]


def _play(engine, episodes, between=lambda: None):
    """Answers of all turns, each turn's requests at once."""
    contexts = [prompt for prompt, _ in episodes]
    answers = []
    for turn in range(len(episodes[0][1])):
        requests = [
            Request(
                context,
                9 + i % 4,
                (i, turn),
                "simulator" if i % 3 == 2 else "policy",
                Sampling(1.0, top_p=0.95 if i % 2 else 1.0),
            )
            for i, context in enumerate(contexts)
        ]
        completions = engine.run(requests)
        answers.append([(c.tokens.tolist(), c.logprobs.tobytes()) for c in completions])
        contexts = [
            np.concatenate([request.tokens, completion.tokens, episodes[i][1][turn]])
            for i, (request, completion) in enumerate(zip(requests, completions, strict=True))
        ]
        between()
    return answers


@pytest.fixture(scope="module")
def played(tiny):
    model = tiny.with_lora("qwen3-untied-1e4")
    return model, _play(_engine(tiny, model), _episodes(7))


@pytest.mark.parametrize(
    "changes",
    [
        {"prefill_budget": 1},
        {"cache_tokens": 256},
        {"cache_tokens": 512},
    ],
    ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items()),
)
def test_answers_do_not_depend_on_budget_or_capacity(changes, played, tiny):
    model, expected = played
    engine = _engine(tiny, model, **changes)
    assert _play(engine, _episodes(7)) == expected
    if changes.get("cache_tokens") == 256:
        assert engine.stats.restarts > 0


def test_answers_do_not_depend_on_what_is_cached(played, tiny):
    model, expected = played
    engine = _engine(tiny, model)
    assert _play(engine, _episodes(7), between=engine.reset) == expected
    _play(engine, _episodes(7))
    cold = engine.stats.prefilled_tokens
    assert _play(engine, _episodes(7)) == expected
    # Of what was there before, only the ends of prompts are computed again.
    assert 0 < engine.stats.prefilled_tokens - cold < cold / 2


def test_answers_do_not_depend_on_company(played, tiny):
    model, expected = played
    engine = _engine(tiny, model)
    episodes = _episodes(7)
    for i, episode in enumerate(episodes):
        strangers = [engine.submit(Request(np.arange(9 + i), 30, (99, i), "policy"))]
        del strangers
        contexts = episode[0]
        for turn, more in enumerate(episode[1]):
            request = Request(
                contexts,
                9 + i % 4,
                (i, turn),
                "simulator" if i % 3 == 2 else "policy",
                Sampling(1.0, top_p=0.95 if i % 2 else 1.0),
            )
            (completion,) = engine.run([request])
            assert (completion.tokens.tolist(), completion.logprobs.tobytes()) == expected[turn][i]
            contexts = np.concatenate([contexts, completion.tokens, more])
