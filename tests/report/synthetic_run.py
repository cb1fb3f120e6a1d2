"""A made-up run with everything that the report shows, and hostile text where a policy writes."""

import json
import math
import pathlib
import random
from typing import Any

from trustee_jax.simulator.transcript import events

CATEGORIES = ("hotels", "banking", "calendar", "music", "car_rental")
CAUSES = (
    "user_malformed",
    "tool_malformed",
    "verifier_length",
    "prompt_too_long",
    "world_conflict",
)
REASONS = ("missing_value", "near_copy", "unknown_call")
CRITERIA = ("intent_met", "correct_calls", "no_hallucination", "no_redundancy", "concise")
INJECTION = "</script><script>document.title='owned'</script><img src=x onerror=\"alert(1)\">"
WORDS = [
    "the",
    "a",
    "room",
    "booking",
    "guest",
    "night",
    "price",
    "change",
    "please",
    "status",
    "confirm",
    "cancel",
    "window",
    "late",
    "early",
    "customer",
    "Leeds",
    "York",
    "Bath",
    "two",
    "three",
    "number",
    "card",
    "update",
    "find",
    "record",
    "open",
    "because",
    "however",
    "asked",
    "then",
    "result",
    "returned",
    "user",
    "wants",
    "exactly",
    "should",
    "call",
    "tool",
    "argument",
    "missing",
    "again",
    "check",
    "before",
    "after",
    "total",
    "available",
    "date",
    "Friday",
    "Monday",
    "April",
    "breakfast",
    "parking",
    "single",
    "double",
    "suite",
    "transfer",
]
STRANGE = f"{INJECTION} \ud800 lone \u202e right-to-left \x00 null <b>bold</b> &amp; \u2028"


def write_run(
    folder: pathlib.Path, *, steps: int = 25, tasks: int = 5, group: int = 8, seed: int = 0
) -> pathlib.Path:
    """A run of steps * tasks * group episodes; the first episode of each step is hostile."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    (folder / "config.json").write_text(json.dumps(config(steps)))
    metrics, episodes = [], []
    for step in range(1, steps + 1):
        made = []
        for task in range(tasks):
            made_task = _task(rng, step)
            for number in range(group):
                hostile = task == 0 and number == 0
                made.append(_episode(rng, (step, task, number), steps, made_task, hostile))
        episodes += made
        metrics.append({"step": step, **_metrics(rng, step, steps, made)})
    _write(folder / "metrics.jsonl", metrics)
    _write(folder / "episodes.jsonl", episodes)
    return folder


def config(steps: int) -> dict[str, Any]:
    return {
        "seed": 0,
        "tools": "starter",
        "model": {"source": "hub:Qwen/Qwen3-8B", "simulator": None, "lora_rank": 16},
        "learner": {"learning_rate": 1e-6, "kl_coef": 0.001},
        "training": {"steps": steps, "group_size": 8},
    }


def prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words)) + "."


def _write(path: pathlib.Path, lines: list[dict[str, Any]]) -> None:
    # ASCII, because a lone surrogate has no other spelling.
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _tool(category: str, action: str) -> dict[str, Any]:
    return {
        "name": f"{action}_{category}",
        "description": f"{action.capitalize()}s records of {category.replace('_', ' ')}, by id or "
        "by any combination of fields; at most twenty are returned.",
        "parameters": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "Identifier of the record"},
                "city": {"type": "string", "description": "City, e.g. Leeds"},
                "guests": {"type": "integer", "description": "How many people", "minimum": 1},
                "status": {"enum": ["open", "confirmed", "cancelled"], "description": "State"},
            },
            "required": ["id"],
        },
    }


def _task(rng: random.Random, step: int) -> dict[str, Any]:
    category = rng.choice(CATEGORIES)
    actions = rng.sample(("find", "update", "cancel", "create", "list"), k=rng.randint(2, 4))
    rooms = [
        {"id": f"r{i}", "city": rng.choice(("Leeds", "York", "Bath")), "guests": rng.randint(1, 5),
         "status": "open", "price": round(rng.uniform(40, 300), 2)}
        for i in range(1, 6)
    ]  # fmt: skip
    return {
        "category": category,
        "tools": [_tool(category, action) for action in actions],
        "aspects": {
            "difficulty": float(1 + 3 * (step // 2)), "tools": len(actions), "calls": 2,
            "persona": step % 3, "ambiguity": 1, "turns": 1, "criteria": 3, "system_prompt": 0,
            "user_turns": 2, "assistant_turns": 4, "tool_turns": 2, "redrawn": step % 2 == 0,
        },
        "persona": "Tom, a nurse after a night shift, types without capitals and in a hurry.",
        "intent": "Change the booking r2 in Leeds to three guests, and cancel r4 if it costs more "
        "than 120 a night. The card ends in 4417.",
        "expected_calls": [f"{actions[0]}_{category}", f"{actions[1]}_{category}"],
        "expected_values": [{"id": "r2", "guests": "three"}, {"id": "r4"}],
        "query": f"hi, can you sort out my bookings in {rng.choice(('Leeds', 'York'))}? "
        f"there are three of us now, number {rng.randint(100, 999)}",
        "world": {"bookings": rooms, "customers": [{"id": "c1", "name": "Tom Ashe", "vip": False}]},
    }  # fmt: skip


def _episode(
    rng: random.Random,
    key: tuple[int, int, int],
    steps: int,
    task: dict[str, Any],
    hostile: bool,
) -> dict[str, Any]:
    step = key[0]
    skill = step / steps
    cause = rng.choice(CAUSES) if rng.random() < 0.12 * (1 - 0.6 * skill) else None
    name = task["expected_calls"][0]
    change = {"id": "r2", "city": "Leeds", "guests": 3, "status": "confirmed", "price": 120.5}
    call = {"id": "r2", "guests": 3, "note": STRANGE if hostile else "window seat"}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are an assistant that helps a user with tools. " * 12},
        {"role": "user", "content": task["query"]},
        {
            "role": "assistant",
            "reasoning_content": STRANGE if hostile else prose(rng, 90),
            "content": STRANGE if hostile else "Let me change that for you.",
            "tool_calls": [
                {"id": "call_0", "type": "function",
                 "function": {"name": name, "arguments": json.dumps(call)}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "name": name,
         "content": json.dumps({"booking": change, "note": STRANGE if hostile else "ok"})},
        {
            "role": "assistant", "content": "",
            "malformed_calls": [{"text": '{"name": "cancel", "arguments": {' + STRANGE,
                                 "problem": "no closing </tool_call>"}],
        },
        {"role": "tool", "tool_call_id": "call_1", "name": "",
         "content": '{"error":"the call could not be read: no closing </tool_call>"}'},
        {"role": "assistant", "content": "Done: r2 is for 3 guests now. " + prose(rng, 30)},
    ]  # fmt: skip
    if not hostile and rng.random() < 0.7:
        del messages[4:6]
    if key[2] == 1:  # malformed first, then a call
        messages[2]["malformed_calls"] = [{"id": "call_0", "place": 0, "text": "{", "problem": "p"}]
        messages[2]["tool_calls"][0]["id"] = messages[3]["tool_call_id"] = "call_1"
    if key[2] == 2:
        fenced = f"```json\n{json.dumps({'name': name, 'arguments': call})}\n```"
        messages[2] |= {"content": fenced, "unmarked_calls": [name]}
        del messages[2]["tool_calls"], messages[3]
    if hostile and step == 1:
        messages[-1]["content"] = "long " + "x" * 1_000_000
    ended = {
        "bookings": [change if r["id"] == "r2" else r for r in task["world"]["bookings"][:-1]]
        + [{"id": "r9", "city": "Bath", "guests": 1, "status": "open", "price": 80.0}],
        "customers": task["world"]["customers"],
    }
    met = {name: rng.random() < 0.35 + 0.55 * skill for name in CRITERIA[:3]}
    veto = cause is None and met["no_hallucination"] and rng.random() < 0.15
    parts = [
        {"criterion": criterion, "met": value, "line": line,
         "probability": round(0.5 + (0.49 if value else -0.49) * rng.random(), 4),
         "reasoning": prose(rng, 25) if value else STRANGE}
        for line, (criterion, value) in enumerate(met.items(), start=2)
    ]  # fmt: skip
    if veto:
        met["no_hallucination"] = False
    share = sum(met.values()) / len(met)
    verdict = {
        "mode": rng.choice(("logprobs", "reasoned")),
        "parts": parts,
        "vetoes": [{"criterion": "no_hallucination", "check": "invented_id",
                    "reason": "the id r77 was returned by no tool"}] if veto else [],
        "criteria": met,
    }  # fmt: skip
    reward = None if cause else 1.0 if share == 1 else 0.0 if share >= 0.5 else -1.0
    return {
        "step": step, "key": list(key), "reward": reward, "valid": cause is None, "cause": cause,
        "detail": f"the {cause} after 3 tries" if cause else "",
        "ended": None if cause else rng.choice(("user", "assistant_turns", "length")),
        "task": task, "messages": messages, "lines": list(events(messages)), "world": ended,
        "changes": [
            {"call": f"{name}({json.dumps(call)})", "operation": "update",
             "collection": "bookings", "id": "r2", "record": change},
            {"call": f"{name}({{}})", "operation": "remove", "collection": "bookings", "id": "r5",
             "record": {}},
            {"call": f"{name}({{}})", "operation": "add", "collection": "bookings", "id": "r9",
             "record": {"id": "r9", "city": "Bath"}},
        ],
        "verdict": None if cause else verdict,
        "segments": [[[412, None], [38, messages[2]["reasoning_content"] + json.dumps(call)],
                      [96, None], [21, messages[-1]["content"]]]],
        "counts": {"assistant_turns": sum(m["role"] == "assistant" for m in messages),
                   "user_turns": 0, "tool_turns": 1,
                   "calls": sum("tool_calls" in m for m in messages), "valid_calls": 1,
                   "unmarked_calls": sum("unmarked_calls" in m for m in messages),
                   "malformed_calls": sum("malformed_calls" in m for m in messages),
                   "policy_tokens": rng.randint(40, 400), "context_tokens": rng.randint(500, 1500)},
    }  # fmt: skip


def _metrics(
    rng: random.Random, step: int, steps: int, episodes: list[dict[str, Any]]
) -> dict[str, float]:
    valid = [episode for episode in episodes if episode["valid"]]
    rewards = [episode["reward"] for episode in valid]
    skill = step / steps
    scalars: dict[str, float] = {
        "episodes/played": float(len(episodes)),
        "episodes/valid": len(valid) / len(episodes),
        "tasks/written": 5.0, "tasks/failed": 1.0, "tasks/failed_task_length": step % 2.0,
        "groups/trainable": 3.0 + step % 2, "groups/zero_variance": 1.0, "groups/insufficient": 0.0,
        "groups/refills": float(step % 3),
        "reward/mean": sum(rewards) / len(rewards),
        "reward/positive": rewards.count(1.0) / len(rewards),
        "reward/zero": rewards.count(0.0) / len(rewards),
        "reward/negative": rewards.count(-1.0) / len(rewards),
        "reward/no_call": 0.05,
        "curriculum/difficulty": float(1 + 3 * (step // 2)),
        "curriculum/frontier_tools": 1 + 4 * skill,
        "learner/updates": 4.0, "learner/kl": 1e-4 * step,
        "learner/clip_fraction": 0.01 * rng.random(),
        "learner/grad_norm": math.exp(rng.gauss(0, 0.6)), "learner/loss": rng.gauss(0, 0.1),
        "learner/logprob_difference": 2e-3 * rng.random(),
        "learner/logprob_difference_max": 0.2 * rng.random(),
        "seconds/tasks": 10 + rng.random(), "seconds/episodes": 40 + 10 * rng.random(),
        "seconds/learning": 20 + rng.random(), "seconds/step": 75.0,
        "tokens_per_second/episodes": 2000 + 300 * rng.random(),
        "tokens_per_second/learning": 9000.0,
        "ended/user": 0.5, "ended/assistant_turns": 0.3, "ended/length": 0.2,
        "cache/episodes_prefilled_share": 0.2,
    }  # fmt: skip
    for cause in CAUSES:
        count = sum(e["cause"] == cause for e in episodes)
        if count:
            scalars[f"episodes/invalid_{cause}"] = float(count)
    for reason in REASONS:
        scalars[f"tasks/rejected_{reason}"] = float(rng.randint(0, 2))
    for criterion in CRITERIA[:3]:
        scalars[f"reward/{criterion}"] = min(1.0, 0.35 + 0.5 * skill + 0.1 * rng.random())
    for name in ("tools", "calls", "persona", "ambiguity", "turns", "criteria", "system_prompt"):
        scalars[f"curriculum/{name}"] = 1 + math.floor(3 * skill)
    for name in episodes[0]["counts"]:
        counts = [episode["counts"][name] for episode in valid]
        scalars[f"counts/{name}"] = sum(counts) / len(counts)
    return scalars
