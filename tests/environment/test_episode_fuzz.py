"""Whatever policy and environment write, an episode ends, typed, and never by an exception.

The table of all outcomes of 10,080 episodes:
pytest tests/environment/test_episode_fuzz.py -m slow -s -k ten_thousand
"""

import collections
import dataclasses
import functools
import itertools
import json
import time

import llguidance.hf
import numpy as np
import pytest
from environments import environment_of
from scripted_engine import ScriptedEngine, role_of, walk

from trustee_jax.engine.types import RequestError
from trustee_jax.environment import (
    INVALID_CAUSES,
    REJECTIONS,
    PolicyConfig,
    RecentTasks,
    Task,
    World,
    WorldConfig,
    generate_task,
    run,
    run_episode,
)
from trustee_jax.simulator import Failure, RoleConfig
from trustee_jax.simulator.simulator import Problem
from trustee_jax.toolsets import Tool

PIECES = [
    "<tool_call>", "</tool_call>", "<think>", "</think>", "<|im_end|>", "<|im_start|>user\n",
    '{"name": "find_hotels", "arguments": {"city": "Lyon"}}', '{"name": "book", "arguments": ',
    '{"hotel": 1, "nights": [[]]}}', '{"name": "find_hotels", "arguments": {"city": "\\ud800"}}',
    '{"name": "fly\\n", "arguments": {"x": NaN}}', '{"name": 7}', "null", "[" * 80, "{}", "}", '"',
    "\x00\x07", "\u2028", "é", "😀", "\ufffd", "words words", "\n", "1" * 5000, ";",
    '{"name": "find_hotels", "name": "book", "arguments": {"city": 1, "city": 2}}',
    "</tool_response><tool_response>", "412.50 or BK-2041x, 5-star, 1,250,000, 1.2.3", "\\ud83d",
]  # fmt: skip
CALLS = [
    '{"name": "find_hotels", "arguments": {"city": "Lyon"}}',
    '{"name": "find_hotels", "arguments": {"city": "\\udc00 \\u0000 </tool_call>"}}',
    '{"name": "book", "arguments": {"hotel": "a", "nights": 1e400}}',
    '{"name": "book", "arguments": {"hotel": "H1", "nights": 2}}',
    '{"name": "book", "arguments": {"hotel": "H1", "nights": ' + "9" * 4000 + "}}",
    '{"name": "book", "arguments": {"hotel": "H1", "nights": -0.0}}',
    '{"name": "measure", "arguments": {"length": ' + "7" * 400 + "}}",
    '{"name": "measure", "arguments": {"length": 1.5, "day": "2026-05-12", "tags": ["a", "b"]}}',
    '{"name": "measure", "arguments": {"length": 1.5, "day": "\u0662026-05-12", "tags": [[], []]}}',
    '{"name": "measure", "arguments": {"length": true, "unit": "mm", "to": {"x": {"x": {}}}}}',
    '{"name": "measure", "arguments": {"length": 2, "unit": "m", "to": {"x": 1}}}',
    '{"name": "measure", "arguments": ' + '{"to":' * 60 + "1" + "}" * 60 + "}",
    '{"name": "measure", "arguments": ' + "[" * 2000 + "]" * 2000 + "}",
    '{"name": "ping", "arguments": {}}',
    '{"name": "ping", "arguments": "{}"}',
    '{"name": "ping"}',
    '{"name": "../../ping", "arguments": {"": ""}}',
]  # fmt: skip
FLOODS = [
    "w" * 12_000,
    " ".join(str(n) for n in range(1000, 3000)),
    " ".join(f"AB-{n}x" for n in range(1000, 2000)),
    "<tool_call>" + CALLS[0] + "</tool_call>",
    "<tool_call>{</tool_call>" * 150,
    "é😀" * 2000,
]
FLOODS[3] *= 150
WORLD = {
    "hotels": [{"id": "H1", "name": "Ibis \u2028 </tool_response>", "free": 1e9}, {"id": "H2"}],
    "bookings": [],
}
CHANGES = [
    {"operation": "remove", "collection": "hotels", "id": "H1"},
    {"operation": "update", "collection": "hotels", "id": "H1", "fields": {"free": -1e9}},
    {"operation": "update", "collection": "hotels", "id": "H3", "fields": {"free": 1}},
    {"operation": "add", "collection": "hotels", "id": "H1", "fields": {"a": "b"}},
    {"operation": "add", "collection": "bookings", "id": "B1", "fields": {"id": "other"}},
    {"operation": "add", "collection": "bookings", "id": "B2", "fields": {"x": float("nan")}},
    {"operation": "add", "collection": "bookings", "id": "B3", "fields": {"x": float("inf")}},
    {"operation": "add", "collection": "bookings", "id": "B4", "fields": {"x": 10**400}},
    {"operation": "add", "collection": "bookings", "id": "B5", "fields": {"x": [{"y": 1}]}},
    {"operation": "add", "collection": "__class__", "id": "\ud800", "fields": {"x": "\ud800"}},
    {"operation": "add", "collection": "bookings", "id": "B" * 5000, "fields": {}},
    {"operation": "drop", "collection": "bookings", "id": "B1"},
    {"operation": "remove", "collection": None, "id": None},
    {},
]
ANSWERS = [
    '{"message": "\\ud800 <|im_end|>"}',
    '{"message": "' + "long " * 3000 + '"}',
    '{"error": "\\ud800"}',
    '{"number": NaN}',
    '{"number": -Infinity}',
    '{"number": 1e999}',
    '{"number": ' + "9" * 5000 + "}",
    '{"line": 0, "met": true}',
    '{"line": 999999, "met": false}',
    '{"line": 1, "met": true} {"line": 1, "met": true}',
    '{"reasoning": "x", "line": 1, "met": null}',
    "[" * 3000,
    '{"a":' * 500 + "1" + "}" * 500,
    "[]",
    "",
    "\x00",
    "true",
]


class Chaos:
    """A policy and simulators that write whatever breaks things, in seeded proportions."""

    def __init__(self, seed: int, tokenizer):
        self.rng = np.random.default_rng(seed)
        self.tokenizer = tokenizer

    def __call__(self, role, request, prompt):
        if role == "policy":
            return self.turn()
        rng = self.rng
        kind = rng.choice(6, p=[0.65, 0.03, 0.04, 0.05, 0.08, 0.15])
        if kind == 1:
            return RequestError("refused")
        if kind == 2:
            return '{"message": "cu', "length"
        if kind == 3:
            return "".join(rng.choice(PIECES, 3))
        if kind == 4:
            return self.pick(ANSWERS)
        if kind == 5 and role == "user":
            return self.pick(['{"message":""}', '{"message":"Your wish: a boat."}'])
        if kind == 5 and role == "tool":
            changes = [self.pick(CHANGES) for _ in range(rng.integers(0, 4))]
            result = {"error": "no"} if rng.random() < 0.2 else {"ok": True}
            return json.dumps({"result": result, "changes": changes})
        answer = walk(self.tokenizer, request.schema, rng, 10_000).decode("utf-8", "replace")
        thinks = request.think_end_id is not None and rng.random() < 0.9
        return "I think.</think>" + answer if thinks else answer

    def turn(self):
        rng = self.rng
        kind = rng.choice(5, p=[0.5, 0.3, 0.16, 0.03, 0.01])
        if kind == 4:
            return RequestError("no such adapter")
        if kind == 3:
            return self.pick(FLOODS)
        if kind == 2:
            return str(rng.choice(["Which city?", "Done.", "It costs 412 euros."]))
        if kind == 1:
            thought = str(rng.choice(["", "<think>\nWell.\n</think>\n\n", "Hm.</think>"]))
            calls = [self.pick(CALLS) for _ in range(rng.integers(1, 6))]
            text = thought + "".join(f"<tool_call>{call}</tool_call>" for call in calls)
        else:
            text = "".join(rng.choice(PIECES, rng.integers(0, 7)))
        return text, "length" if rng.random() < 0.05 else "stop"

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]


class ChaosEngine(ScriptedEngine):
    """Its logits may be anything, too."""

    def step(self):
        done = super().step()
        for _, completion in done:
            kind = self.script.rng.integers(8)
            if kind < 3 and completion.reported_logits.size:
                completion.reported_logits[...] = (np.nan, -np.inf, np.inf)[kind]
        return done


@pytest.fixture(scope="module")
def formats(chat_format, thinking_format):
    """Chat formats with what llguidance needs to write answers in their tokens."""
    return [
        (format, llguidance.hf.from_tokenizer(format.tokenizer))
        for format in (chat_format, thinking_format)
    ]


def more_tools() -> tuple[Tool, ...]:
    nested = {"$ref": "#/$defs/point"}
    properties = {
        "length": {"type": "number", "multipleOf": 0.5, "maximum": 1e6},
        "day": {"type": "string", "format": "date"},
        "unit": {"anyOf": [{"enum": ["m", "km"]}, {"type": "null"}]},
        "tags": {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
        "to": nested,
    }
    point = {"type": "object", "properties": {"x": {"anyOf": [{"type": "integer"}, nested]}}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["length"],
        "$defs": {"point": point},
    }
    nothing = {"type": "object", "properties": {}}
    return (
        Tool("measure", "Measures.", schema, "travel"),
        Tool("ping", "Pings.", nothing, "travel"),
    )


OURS = set(INVALID_CAUSES) - {"judge_error"}
KINDS = list(
    itertools.product(
        (0, 1),  # format
        (WORLD, None),
        ("reasoned", "logprobs", "joint"),
        (True, False),  # check_calls
        (True, False),  # vetoes
    )
)


def make_environment(format, **options):
    little: dict = {"tries": 2, "think_budget": 32}
    roles = {role: RoleConfig(**little) for role in ("task", "user", "tool", "verifier")}
    roles["writer"] = RoleConfig(max_tokens=512, **little)
    return environment_of(format, text_limit=64, tool_result_limit=64, **roles, **options)


def simulate(make_task, formats, episodes, seed):
    """Plays episodes under all combinations of the switches; returns the outcomes' counts."""
    outcomes = collections.Counter()
    share = -(-episodes // len(KINDS))
    for number, (which, world, mode, check_calls, vetoes) in enumerate(KINDS):
        format, tokenizer = formats[which]
        environment = make_environment(
            format,
            # Short ones, so that prompts may not fit.
            max_length={0: 4_600, 1: 2_800, 2: 1_500}.get(number % 5, 30_000),
            policy=PolicyConfig(max_tokens=6000, history=("append", "strip")[number % 2]),
            check_calls=check_calls,
            rules=vetoes,
            mode=mode,
        )
        engine = ChaosEngine(format, Chaos(seed + number, tokenizer))
        coroutines = []
        for i in range(share):
            task = make_task(world=world, criteria=1 + i % 5, assistant_turns=2 + i % 5)
            task = dataclasses.replace(task, tools=(*task.tools, *more_tools()))
            context = 500 if i % 25 == 24 else 3_500 if i % 9 == 7 else 15_000
            coroutines.append(
                run_episode(
                    dataclasses.replace(environment, max_length=context), task, (1, number, i)
                )
            )
        for episode in run(coroutines, {"policy": engine, "simulator": engine}):
            check(episode, check_calls)
            outcomes += tally(episode)
    return outcomes


def tally(episode):
    """What happened in an episode, by group and name."""
    counts, found = episode.counts, collections.Counter()
    found["episodes", "valid" if episode.valid else "invalid"] += 1
    if episode.valid:
        found["ended by", episode.ended] += 1
        found["reward", f"{episode.reward:+.0f}"] += 1
    else:
        found["invalid", episode.cause] += 1
    if episode.verdict is not None:
        found["verdict", episode.verdict.mode] += 1
        for veto in episode.verdict.vetoes:
            found["vetoes", veto.check] += 1
    kinds = ("valid", "malformed", "unmarked", "executed", "unanswered")
    for name in (f"{kind}_calls" for kind in kinds):
        found["calls", name.removesuffix("_calls")] += getattr(counts, name)
    found["calls", "refused by code"] += counts.calls - counts.valid_calls
    found["calls", "repeated reads"] += counts.repeated_reads
    found["world", "changes"] += counts.changes
    found["simulator", "requests"] += counts.simulator_requests
    found["simulator", "retries"] += counts.simulator_retries
    found["policy", "turns"] += counts.assistant_turns
    found["policy", "tokens"] += counts.policy_tokens
    return found


def check(episode, check_calls):
    counts, limits = episode.counts, episode.task.aspects
    if episode.valid:
        assert episode.reward in (-1.0, 0.0, 1.0) and episode.ended is not None
        called = counts.valid_calls if check_calls else counts.calls
        assert (episode.verdict is None) == (called == 0)
    else:
        # None of our own judges fails.
        assert episode.cause in OURS
        assert episode.reward is None and episode.verdict is None
    assert counts.assistant_turns <= limits.assistant_turns
    assert counts.assistant_turns >= 1 or episode.cause in ("policy_refused", "prompt_too_long")
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
    if episode.verdict is not None:
        for part in episode.verdict.parts:
            assert part.probability is None or 0 <= part.probability <= 1
    json.dumps(episode.to_json(), ensure_ascii=False, allow_nan=False).encode()


def test_chaos(make_task, formats):
    outcomes = simulate(make_task, formats, 240, seed=0)
    assert sum(n for (group, _), n in outcomes.items() if group in ("reward", "invalid")) == 240


@pytest.mark.slow
def test_chaos_ten_thousand(make_task, formats):
    start = time.monotonic()
    outcomes = simulate(make_task, formats, 10_080, seed=100)
    print(f"\n{time.monotonic() - start:.0f} seconds")
    for (group, name), count in sorted(outcomes.items()):
        print(f"{group:<10}{name:<22}{count:>9,}")
    names = collections.defaultdict(set)
    for group, name in outcomes:
        names[group].add(name)
    assert sum(n for (group, _), n in outcomes.items() if group in ("reward", "invalid")) == 10_080
    # Whatever can go wrong did.
    assert names["invalid"] == OURS
    assert names["reward"] == {"-1", "+0", "+1"} and len(names["ended by"]) == 7


def test_task_chaos(formats, tools, aspects):
    """Whatever the task generator writes, there is a task that can be played, or a cause."""
    words = functools.partial(str.join, " ")
    texts = [" " * 9, "x" * 65, "find_hotels in Lyon", "A boat in Lyon.", "\\ud800\\u0000\\ud800"]
    outcomes, rejections = collections.Counter(), collections.Counter()
    for number, (which, planned, enabled) in enumerate(
        itertools.product((0, 1), (True, False), (True, False))
    ):
        format, tokenizer = formats[which]
        chaos = Chaos(number, tokenizer)

        def script(role, request, prompt, chaos=chaos, planned=planned):
            if role == "world" or chaos.rng.random() < 0.4:
                return chaos(role, request, prompt)
            text = [chaos.pick(texts) for _ in range(4)]
            city = chaos.pick(["Lyon", "Nice", "", "\\ud800"])
            calls = '[{"name":"find_hotels","values":{"city":"%s"}},{"name":"ping","values":{}}]'
            calls = calls % city if planned else '["find_hotels","ping"]'
            return (
                f'{{"persona":"Ada, {text[0]}","expected_calls":{calls},'
                f'"intent":"{words(text[1:3])[:64]}","query":"{text[3]}"}}'
            )

        environment = make_environment(
            format, check_tasks=planned, world=WorldConfig(enabled=enabled)
        )
        engine = ChaosEngine(format, script)
        engine.script.rng = chaos.rng
        recent = RecentTasks(4, 0.6)
        recent.add("A boat in Lyon. A boat in Lyon.\nA boat in Lyon.")
        offered = (*tools, *more_tools())
        coroutines = [
            generate_task(
                environment, offered, aspects, (1, number, i), recent=recent, rejections=rejections
            )
            for i in range(60)
        ]
        for result in run(coroutines, {"policy": engine, "simulator": engine}):
            if isinstance(result, Failure):
                assert result.role in ("task", "world") and result.problem in Problem.__args__
                outcomes[result.cause] += 1
                continue
            assert (result.world is not None) == enabled
            record = json.loads(json.dumps(result.to_json(), allow_nan=False))
            json.dumps(record, ensure_ascii=False).encode()
            assert Task.from_json(record).to_json() == record
            assert result.query and result.intent and result.persona
            outcomes["task"] += 1
        assert {role_of(request) for request in engine.requests} <= {"task", "world"}
    assert {"task", "task_malformed", "task_length", "task_refused", "world_malformed"} <= set(
        outcomes
    )
    assert set(rejections) <= set(REJECTIONS) and len(rejections) == 5
