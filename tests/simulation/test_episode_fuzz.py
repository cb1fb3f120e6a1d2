"""Whatever policy and simulator write, an episode ends, typed, and never by an exception."""

import collections
import itertools
import json

import llguidance.hf
import numpy as np
import pytest
from scripted_engine import ScriptedEngine, walk

from trustee_jax.engine.types import RequestError
from trustee_jax.simulation import (
    INVALID_CAUSES,
    PolicyConfig,
    SimulatorConfig,
    VerifierConfig,
    World,
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


WORLD = {
    "hotels": [{"id": "H1", "name": "Ibis \u2028 </tool_response>", "free": 1e9}, {"id": "H2"}],
    "bookings": [],
}
CHANGES = [
    {"operation": "remove", "collection": "hotels", "id": "H1"},
    {"operation": "update", "collection": "hotels", "id": "H3", "fields": {"free": 1}},
    {"operation": "add", "collection": "hotels", "id": "H1", "fields": {"a": "b"}},
    {"operation": "add", "collection": "bookings", "id": "B1", "fields": {"id": "other"}},
    {"operation": "drop", "collection": "bookings", "id": "B1"},
]


class Chaos:
    """A policy and simulators that write whatever breaks things, in seeded proportions."""

    def __init__(self, seed: int, tokenizer):
        self.rng = np.random.default_rng(seed)
        self.tokenizer = tokenizer

    def __call__(self, role, request, prompt):
        rng = self.rng
        if role == "policy":
            finish = "length" if rng.random() < 0.05 else "stop"
            return "".join(rng.choice(PIECES, rng.integers(0, 7))), finish
        kind = rng.choice(7, p=[0.5, 0.05, 0.05, 0.05, 0.05, 0.05, 0.25])
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
        if kind == 6 and role == "tool":
            changes = list(rng.choice(CHANGES, rng.integers(0, 4)))  # type: ignore[arg-type]
            result = {"error": "no"} if rng.random() < 0.2 else {"ok": True}
            return json.dumps({"result": result, "changes": changes})
        return walk(self.tokenizer, request.schema, rng, 10_000).decode("utf-8", "replace")


@pytest.fixture(scope="module")
def tokenizer(chat_format):
    return llguidance.hf.from_tokenizer(chat_format.tokenizer)


def simulate(make_simulator, make_task, chat_format, tokenizer, episodes, seed):
    """Plays episodes under all combinations of the switches; returns the outcomes' counts."""
    outcomes = collections.Counter()
    kinds = list(
        itertools.product(
            (WORLD, None), ("reasoned", "logprobs", "joint"), (True, False), (True, False)
        )
    )
    share = -(-episodes // len(kinds))
    for number, (world, mode, check_calls, vetoes) in enumerate(kinds):
        simulator = make_simulator(
            policy=PolicyConfig(max_tokens=6000),
            text_limit=64,
            tool_result_limit=64,
            check_calls=check_calls,
            vetoes=vetoes,
            user=SimulatorConfig(tries=2),
            tool=SimulatorConfig(tries=2),
            verifier=VerifierConfig(tries=2, mode=mode),
        )
        engine = ScriptedEngine(chat_format, Chaos(seed + number, tokenizer))
        coroutines = [
            run_episode(
                simulator,
                make_task(world=world, criteria=1 + i % 5, assistant_turns=2 + i % 5),
                chat_format,
                (1, number, i),
                15_000,
            )
            for i in range(share)
        ]
        for episode in run(coroutines, {"policy": engine, "simulator": engine}):
            check(episode, check_calls)
            outcome = f"ended {episode.ended}" if episode.valid else f"invalid {episode.cause}"
            outcomes[outcome] += 1
            outcomes[f"reward {episode.reward}"] += 1
    return outcomes


def check(episode, check_calls):
    counts, limits = episode.counts, episode.task.aspects
    if episode.valid:
        assert episode.reward in (-1.0, 0.0, 1.0) and episode.ended is not None
        called = counts.valid_calls if check_calls else counts.calls
        assert (episode.verdict is None) == (called == 0)
    else:
        assert episode.cause in INVALID_CAUSES
        assert episode.reward is None and episode.verdict is None
    assert 1 <= counts.assistant_turns <= limits.assistant_turns
    assert counts.user_turns <= limits.user_turns and counts.tool_turns <= limits.tool_turns
    assert counts.executed_calls <= 3 * counts.tool_turns + 3
    assert counts.policy_tokens == sum(s.sampled.sum() for s in episode.sequences)
    trained = sum(n for runs in episode.segments for n, text in runs if text is not None)
    assert trained == counts.policy_tokens
    assert (episode.world is None) == (episode.task.world is None)
    if episode.world is not None:
        # The recorded changes lead from the first records to the last.
        replayed = World(episode.task.world)
        for change in episode.changes:
            fields = {k: v for k, v in change.record.items() if k != "id"}
            entry = {"collection": change.collection, "id": change.id, "fields": fields}
            replayed.change([{"operation": change.operation, **entry}], change.call)
        assert replayed.records == episode.world
    json.dumps(episode.to_json(), ensure_ascii=False, allow_nan=False).encode()


def test_chaos(make_simulator, make_task, chat_format, tokenizer):
    outcomes = simulate(make_simulator, make_task, chat_format, tokenizer, 240, seed=0)
    assert sum(n for name, n in outcomes.items() if name.startswith("reward")) == 240


@pytest.mark.slow
def test_chaos_ten_thousand(make_simulator, make_task, chat_format, tokenizer):
    outcomes = simulate(make_simulator, make_task, chat_format, tokenizer, 10_008, seed=100)
    for name, count in sorted(outcomes.items()):
        print(f"{count:6d}  {name}")
    assert sum(n for name, n in outcomes.items() if name.startswith("reward")) == 10_008
    # Whatever can go wrong did.
    seen = {name.removeprefix("invalid ") for name in outcomes if name.startswith("invalid")}
    assert {f"{role}_malformed" for role in ("user", "tool", "verifier")} <= seen
