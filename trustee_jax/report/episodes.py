"""Recorded episodes in the one form that the page reads, whatever their age or damage.

A record may lack fields (older files) and may hold anything where the policy wrote it. Here every
field gets its type, so that the page has one form to show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from trustee_jax.chat import attempts

Json = dict[str, Any]


def normalise(record: Mapping[str, Any], number: int) -> Json:
    """One line of episodes.jsonl with every field present and of its type.

    Args:
      record: The line.
      number: Of the line, from 1; stands in for a missing key.

    Returns:
      The fields of the record, with these differences: `key` is text ("1-0-3"); messages have
      `reasoning`, `calls` [{id, name, arguments, line}], `malformed` [{text, problem, place, line}]
      and `unmarked` [name], the tools that the text calls without the form of a call; `line` is an
      event's line in the verifier's transcript, from 1, or None if the record does not say.
    """
    key = record.get("key")
    parts = key if isinstance(key, list) and key else [f"line{number}"]
    reward = record.get("reward")
    cause = record.get("cause")
    valid = record.get("valid", cause is None and reward is not None)
    return {
        "key": "-".join(_text(part) for part in parts),
        "step": record["step"] if isinstance(record.get("step"), int) else 0,
        "reward": _number(reward),
        "cause": None if valid else _text(cause) or "unknown",
        "detail": _text(record.get("detail")),
        "ended": _text(record["ended"]) if record.get("ended") is not None else None,
        "task": _task(_object(record.get("task"))),
        "messages": _messages(record.get("messages"), _lines(record.get("lines"))),
        "world": _world(record.get("world")),
        "changes": [_change(change) for change in _objects(record.get("changes"))],
        "verdict": _verdict(record.get("verdict")),
        "segments": _segments(record.get("segments")),
        "counts": _numbers(record.get("counts")),
    }


def _task(task: Json) -> Json:
    return {
        "category": _text(task.get("category")),
        "tools": [
            {
                "name": _text(tool.get("name")),
                "description": _text(tool.get("description")),
                "parameters": tool.get("parameters"),
            }
            for tool in _objects(task.get("tools"))
        ],
        "aspects": {
            name: value
            for name, value in _object(task.get("aspects")).items()
            if isinstance(value, bool | int | float | str)
        },
        "persona": _text(task.get("persona")),
        "intent": _text(task.get("intent")),
        "expected_calls": [_text(name) for name in _list(task.get("expected_calls"))],
        "expected_values": [
            {name: _text(value) for name, value in values.items()}
            for values in _objects(task.get("expected_values"))
        ],
        "query": _text(task.get("query")),
        "world": _world(task.get("world")),
    }


def _lines(events: Any) -> dict[tuple[Any, ...], int]:
    """Where an event stands in the transcript: see `simulator.transcript.events`."""
    return {tuple(map(str, _list(event))): line for line, event in enumerate(_list(events), 1)}


def _messages(messages: Any, lines: Mapping[tuple[Any, ...], int]) -> list[Json]:
    result = []
    for index, message in enumerate(_list(messages)):
        if not isinstance(message, dict):
            continue
        role = _text(message.get("role"))
        content = _content(message.get("content"))
        calls = [_call(call) for call in _objects(message.get("tool_calls"))]
        malformed = [_malformed(call) for call in _objects(message.get("malformed_calls"))]
        made = attempts({"tool_calls": calls, "malformed_calls": malformed})
        line = lines.get((str(index), str(None)))
        shown: Json = {"role": role, "content": content, "line": line}
        for place, call in enumerate(made):
            call["line"] = lines.get((str(index), str(place)))
        optional = {
            "reasoning": _text(message.get("reasoning_content")),
            "calls": calls,
            "malformed": malformed,
            "unmarked": [_text(name) for name in _list(message.get("unmarked_calls"))],
            "name": _text(message.get("name")),
            "answers": _text(message.get("tool_call_id")),
        }
        result.append(shown | {name: value for name, value in optional.items() if value})
    return result


def _call(call: Json) -> Json:
    function = _object(call.get("function"))
    return {
        "id": _text(call.get("id")),
        "name": _text(function.get("name")),
        "arguments": _text(function.get("arguments")),
    }


def _malformed(call: Json) -> Json:
    place = call.get("place")
    shown = {"text": _text(call.get("text")), "problem": _text(call.get("problem"))}
    return shown | ({"place": place} if isinstance(place, int) and place >= 0 else {})


def _content(content: Any) -> str:
    if isinstance(content, list):
        parts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return "".join(map(_text, parts))
    return _text(content)


def _verdict(verdict: Any) -> Json | None:
    """The verdict by parts; an older one, which has only criteria, becomes parts as well.

    That of several judges has each of their verdicts, with judge, weight and reward, in `judges`.
    """
    if not isinstance(verdict, dict):
        return None
    judges = [
        {
            "judge": _text(one.get("judge")),
            "weight": _number(one.get("weight")),
            "reward": _number(one.get("reward")),
            **_graded(one),
        }
        for one in _objects(verdict.get("judges"))
    ]
    graded = _graded(verdict, older=not judges)
    return graded | ({"judges": judges} if judges else {})


def _graded(verdict: Json, *, older: bool = False) -> Json:
    """What one judge found."""
    criteria = {
        name: met for name, met in _object(verdict.get("criteria")).items() if met is not None
    }
    parts: list[Json] = [
        {
            "criterion": _text(part.get("criterion")),
            "met": bool(part.get("met")),
            "probability": _number(part.get("probability")),
            "line": part["line"] if isinstance(part.get("line"), int) else None,
            "reasoning": _text(part.get("reasoning")),
            "recites": bool(part.get("recites")),
        }
        for part in _objects(verdict.get("parts"))
    ]
    if older and not parts:
        alone = {"probability": None, "line": None, "reasoning": "", "recites": False}
        parts = [{"criterion": name, "met": bool(met), **alone} for name, met in criteria.items()]
    score = _number(verdict.get("score"))
    return {
        "mode": _text(verdict.get("mode")),
        "reasoning": _text(verdict.get("reasoning")),
        "parts": parts,
        "vetoes": [
            {name: _text(veto.get(name)) for name in ("criterion", "check", "reason")}
            for veto in _objects(verdict.get("vetoes"))
        ],
        "criteria": {name: bool(met) for name, met in criteria.items()}
        or {part["criterion"]: part["met"] for part in parts},
    } | ({} if score is None else {"score": score})


def _segments(sequences: Any) -> list[list[list[Any]]] | None:
    if not isinstance(sequences, list):
        return None
    return [
        [
            [int(_number(segment[0]) or 0), segment[1] if isinstance(segment[1], str) else None]
            for segment in _list(sequence)
            if isinstance(segment, list) and len(segment) == 2
        ]
        for sequence in sequences
    ]


def _world(world: Any) -> dict[str, list[Json]] | None:
    if not isinstance(world, dict):
        return None
    return {name: _objects(rows) for name, rows in world.items()}


def _change(change: Json) -> Json:
    texts = {name: _text(change.get(name)) for name in ("call", "operation", "collection", "id")}
    return texts | {"record": _object(change.get("record"))}


def _numbers(values: Any) -> dict[str, float]:
    numbers = {name: _number(value) for name, value in _object(values).items()}
    return {name: value for name, value in numbers.items() if value is not None}


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Json]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
