"""Whatever policy and simulator write, an episode ends, typed, and never by an exception."""

import json

import llguidance.hf
import numpy as np
import pytest
from scripted_engine import ScriptedEngine, role_of, walk

from trustee_jax.engine.types import RequestError
from trustee_jax.simulation import (
    INVALID_CAUSES,
    PolicyConfig,
    SimulatorConfig,
    VerifierConfig,
    run,
    run_episode,
)

PIECES = [
    "<tool_call>", "</tool_call>", "<think>", "</think>", "<|im_end|>", "<|im_start|>user\n",
    '{"name": "find_hotels", "arguments": {"city": "Lyon"}}', '{"name": "book", "arguments": ',
    '{"hotel": 1, "nights": [[]]}}', '{"name": "find_hotels", "arguments": {"city": "\\ud800"}}',
    '{"name": "fly\\n", "arguments": {"x": NaN}}', '{"name": 7}', "null", "[" * 80, "{}", "}", '"',
    "\x00\x07", "\u2028", "é", "😀", "\ufffd", "words words", "\n", "1" * 5000, ";",
    '<tool_call>{"name": "find_hotels", "arguments": {"city": "Lyon"}}</tool_call>',
    '<tool_call>{"name": "book", "arguments": {"hotel": "a", "nights": 1e400}}</tool_call>',
]  # fmt: skip


class Chaos:
    def __init__(self, seed: int, tokenizer, chat_format):
        self.rng = np.random.default_rng(seed)
        self.tokenizer, self.format = tokenizer, chat_format

    def __call__(self, role, request, prompt):
        rng = self.rng
        if role == "policy":
            finish = "length" if rng.random() < 0.05 else "stop"
            return "".join(rng.choice(PIECES, rng.integers(0, 7))), finish
        kind = rng.choice(6, p=[0.7, 0.06, 0.06, 0.06, 0.06, 0.06])
        if kind == 1:
            return RequestError("refused")
        if kind == 2:
            return '{"message": "cu', "length"
        if kind == 3:
            return "".join(rng.choice(PIECES, 3))
        if kind == 4:
            return '{"message": "\\ud800 <|im_end|>"}'
        if kind == 5:
            return '{"error": "\\ud800"}' if role == "tool" else "[]"
        return walk(self.tokenizer, request.schema, rng, 10_000).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def tokenizer(chat_format):
    return llguidance.hf.from_tokenizer(chat_format.tokenizer)


def test_chaos(make_simulator, make_task, chat_format, tokenizer):
    simulator = make_simulator(
        policy=PolicyConfig(max_tokens=6000),
        text_limit=64,
        tool_result_limit=64,
        user=SimulatorConfig(tries=2),
        tool=SimulatorConfig(tries=2),
        verifier=VerifierConfig(tries=2),
    )
    engine = ScriptedEngine(chat_format, Chaos(0, tokenizer, chat_format))
    tasks = [make_task(criteria=1 + i % 5, assistant_turns=2 + i % 5) for i in range(60)]
    coroutines = [
        run_episode(simulator, task, chat_format, (1, 2, i), 15_000) for i, task in enumerate(tasks)
    ]
    episodes = run(coroutines, {"policy": engine, "simulator": engine})
    for episode in episodes:
        counts, limits = episode.counts, episode.task.aspects
        if episode.valid:
            assert episode.reward in (-1.0, 0.0, 1.0) and episode.ended is not None
            assert (episode.verdict is None) == (counts.valid_calls == 0)
        else:
            assert episode.cause in INVALID_CAUSES
            assert episode.reward is None and episode.verdict is None
        assert 1 <= counts.assistant_turns <= limits.assistant_turns
        assert counts.user_turns <= limits.user_turns and counts.tool_turns <= limits.tool_turns
        assert counts.executed_calls <= 3 * counts.tool_turns + 3
        assert counts.policy_tokens == sum(s.sampled.sum() for s in episode.sequences)
        json.dumps(episode.to_json(), ensure_ascii=False).encode()
    assert any(role_of(r) == "tool" for r in engine.requests)
    # The fuzz reaches what it is meant to reach.
    assert len({e.cause for e in episodes}) >= 6
    assert {"assistant_turns", "length", "empty"} <= {e.ended for e in episodes}
    assert len({e.reward for e in episodes}) >= 3
