"""What the clients of a load on a server ask, and what becomes of it."""

from __future__ import annotations

import asyncio
import collections
import json
import pathlib
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

MODEL = "served"
WORDS = """the a of in with about please tell me what which town river weather bakery museum alarm
list shop train light morning evening small old open near cheap today find check write"""
TOO_MANY_WORDS = 3000
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 16}, "open": {"type": "boolean"}},
    "required": ["city", "open"],
    "additionalProperties": False,
}
KINDS = {
    "stream": 40,
    "stream_that_must_call": 8,
    "whole": 14,
    "two_choices": 8,
    "json_schema": 8,
    "leaves_in_stream": 8,
    "leaves_soon": 4,
    "broken": 6,
    "too_long": 4,
}
"""How often each kind is drawn."""
BUSY = frozenset(
    {"429 queue_full", "504 deadline_exceeded", "200, then server_error deadline_exceeded"}
)
"""What a server under load may answer to any request."""
LOST = "lost: "
"""Begins the outcome of a request that got no whole answer."""


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
      kind: One of `KINDS`.
      body: What is sent.
      expected: Outcomes that are right, besides those of a server that is busy.
      choices: How many answers it asks for.
      leaves_after: Chunks of the stream after which the client goes away; None: it stays.
      patience: Seconds after which it goes away; None: it stays.
    """

    kind: str
    body: bytes
    expected: frozenset[str] = frozenset({"200"})
    choices: int = 1
    leaves_after: int | None = None
    patience: float | None = None


@dataclass
class Told:
    """What became of a request; times are those of `time.monotonic`.

    Attributes:
      kind: Of the request; empty before it is made.
      start: When it was made.
      sent: When its last byte was; None if it never was.
      end: When the answer ended, or the client left.
      outcome: The status, with the code of an error if it has one; or how it was cancelled or lost.
      fault: What is wrong with the answer; None if nothing is.
      first: When the first token came; None if none came, or not as a stream.
      last: When the last one came.
      tokens: Of the answer, from its usage; of one that was cut, those that had come.
      after_first: Of a stream, tokens that came after the first chunk with some.
      retry_after: Seconds to wait that a busy server names.
    """

    kind: str = ""
    start: float = field(default_factory=time.monotonic)
    sent: float | None = None
    end: float = 0.0
    outcome: str = ""
    fault: str | None = None
    first: float | None = None
    last: float = 0.0
    tokens: int = 0
    after_first: int = 0
    retry_after: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether the client got all of an answer, or a clear error."""
        return not self.outcome.startswith(LOST)


class Mix:
    """Draws requests, each from its number alone."""

    def __init__(self, seed: str, tools: pathlib.Path) -> None:
        """Takes what is drawn from.

        Args:
          seed: Another one, other requests.
          tools: A JSON file of categories of functions.
        """
        self._seed = seed
        self._tools = list(json.loads(tools.read_text(encoding="utf-8")).values())

    def ask(self, number: int) -> Ask:
        """A request."""
        rng = random.Random(f"{self._seed}/{number}")
        (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
        words = rng.randint(4, 20) if rng.random() < 0.5 else rng.randint(40, 100)
        body: dict[str, Any] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text(rng, words)}],
            "max_tokens": rng.randint(16, 64),  # 64 for grammars: what cannot fit is refused
            "temperature": rng.choice([0, 0.8]),
            "stream": kind.startswith(("stream", "leaves_in")) or rng.random() < 0.3,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        if kind in ("whole", "two_choices", "leaves_soon"):
            body["stream"] = kind == "two_choices" and body["stream"]
        if kind.startswith(("stream", "leaves")):
            offered = rng.choice(self._tools)
            functions = rng.sample(offered, min(3, len(offered)))
            body["tools"] = [{"type": "function", "function": one} for one in functions]
        if kind == "stream_that_must_call":
            body |= {"tool_choice": "required", "max_tokens": 64}
        if kind == "json_schema":
            schema = {"name": "answer", "schema": SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
            body["max_tokens"] = 64
        if kind == "two_choices":
            return Ask(kind, encoded(body | {"n": 2}), choices=2)
        if kind == "leaves_in_stream":
            outcomes = frozenset({"200", "cancelled in the stream"})
            return Ask(kind, encoded(body), outcomes, leaves_after=rng.randint(1, 4))
        if kind == "leaves_soon":
            outcomes = frozenset({"200", "cancelled while it waited"})
            return Ask(kind, encoded(body), outcomes, patience=rng.uniform(0.1, 5))
        if kind == "too_long":
            body["messages"] = [{"role": "user", "content": text(rng, TOO_MANY_WORDS)}]
            return Ask(kind, encoded(body), frozenset({"400 context_length_exceeded"}))
        if kind == "broken":
            return Ask(kind, *rng.choice(broken(body)))
        return Ask(kind, encoded(body))


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS.split(), k=words))


def encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def broken(body: dict[str, Any]) -> list[tuple[bytes, frozenset[str]]]:
    """Bodies that no server should serve, and how each is refused."""
    refused = frozenset({"400"})
    return [
        (encoded(body)[:-20], refused),
        (b"\xff" + encoded(body), refused),
        (encoded(body | {"max_tokens": "many"}), refused),
        (encoded(body | {"messages": "Hi"}), refused),
        (encoded(body | {"messages": []}), refused),
        (encoded(body | {"temperature": -1}), refused),
        (encoded(body | {"model": "another"}), frozenset({"404 model_not_found"})),
    ]


async def send(http: httpx.AsyncClient, url: str, ask: Ask, told: Told) -> None:
    """Asks, reads the answer as far as the client wants it, and checks its form.

    Args:
      http: Whose connections are used.
      url: Of the endpoint.
      ask: What is asked.
      told: Gets what becomes of it, while it does.
    """
    told.kind = ask.kind

    async def trace(event: str, info: Any) -> None:
        if event == "http11.send_request_body.complete":
            told.sent = time.monotonic()

    try:
        async with (
            asyncio.timeout(ask.patience),
            http.stream("POST", url, content=ask.body, extensions={"trace": trace}) as answer,
        ):
            await _read(answer, ask, told)
    except TimeoutError:
        told.outcome = "cancelled while it waited"
    except httpx.HTTPError as error:
        told.outcome = f"{LOST}{type(error).__name__}"
    told.end = time.monotonic()
    if told.outcome not in ask.expected | BUSY:
        told.fault = told.fault or told.outcome


async def _read(answer: httpx.Response, ask: Ask, told: Told) -> None:
    told.retry_after = float(answer.headers.get("retry-after", 0))
    if answer.headers["content-type"].startswith("text/event-stream"):
        await _read_stream(answer, ask, told)
        return
    body = json.loads(await answer.aread())
    told.outcome = _outcome(answer.status_code, body)
    if answer.status_code == 200:
        told.tokens = body["usage"]["completion_tokens"]
        told.fault = _wrong(
            ask,
            {
                choice["index"]: (choice["finish_reason"], choice["message"]["content"] or "")
                for choice in body["choices"]
            },
        )


@dataclass
class _Choice:
    finish: str | None = None
    content: list[str] = field(default_factory=list)


async def _read_stream(answer: httpx.Response, ask: Ask, told: Told) -> None:
    choices: dict[int, _Choice] = collections.defaultdict(_Choice)
    chunks, usage = 0, None
    told.outcome = f"{LOST}the stream has no end"
    async for line in answer.aiter_lines():
        if not line:
            continue
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            told.outcome = "200"
            break
        chunk = json.loads(data)
        if "error" in chunk:
            told.outcome = f"200, then {_outcome(chunk['error']['type'], chunk)}"
            return
        usage = chunk.get("usage") or usage
        fresh = 0
        for one in chunk["choices"]:
            choice = choices[one["index"]]
            choice.finish = one["finish_reason"] or choice.finish
            choice.content.append(one["delta"].get("content") or "")
            fresh += len(one.get("token_ids", ()))
        if fresh:
            now = time.monotonic()
            told.after_first += fresh if told.first else 0
            told.first, told.last = told.first or now, now
            told.tokens += fresh
        chunks += bool(fresh)
        if chunks and chunks == ask.leaves_after:
            told.outcome = "cancelled in the stream"
            return
    if told.outcome == "200":
        if usage is None:
            told.fault = "the stream has no usage"
        elif usage["completion_tokens"] != told.tokens:
            told.fault = f"{told.tokens} tokens came, the usage says {usage['completion_tokens']}"
        found = {index: (one.finish, "".join(one.content)) for index, one in choices.items()}
        told.fault = told.fault or _wrong(ask, found)


def _outcome(status: int | str, body: dict[str, Any]) -> str:
    return " ".join(filter(None, (str(status), (body.get("error") or {}).get("code"))))


def _wrong(ask: Ask, choices: dict[int, tuple[str | None, str]]) -> str | None:
    """What is wrong with the choices (how each ended, and its words), or None."""
    if sorted(choices) != list(range(ask.choices)):
        return f"{ask.choices} choices were asked for, {sorted(choices)} came"
    for finish, content in choices.values():
        if finish not in ("stop", "length", "tool_calls"):
            return f"a choice ended with {finish!r}"
        if ask.kind == "stream_that_must_call" and finish == "stop":
            return "an answer that must call did not"
        if ask.kind == "json_schema" and finish == "stop":
            try:
                right = sorted(json.loads(content)) == sorted(SCHEMA["required"])
            except (ValueError, TypeError):
                right = False
            if not right:
                return f"an answer is not of the schema: {content[:80]!r}"
    return None


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Of seconds, say; none of nothing."""
    found = list(values)
    if not found:
        return {}
    return {f"p{q}": float(f"{np.percentile(found, q):.4g}") for q in (50, 95)}


def summary(all_told: Iterable[Told], seconds: float) -> dict[str, Any]:
    """Counts, times and speed of a load that lasted so long."""
    all_told = list(all_told)
    streams = [one for one in all_told if one.first is not None and one.outcome == "200"]
    kinds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in all_told:
        kinds[one.kind][one.outcome] += 1
    faults = collections.Counter(f"{one.kind}: {one.fault}" for one in all_told if one.fault)
    tokens = sum(one.tokens for one in all_told if one.outcome == "200")
    return {
        "requests": len(all_told),
        "outcomes": dict(collections.Counter(one.outcome for one in all_told).most_common()),
        "outcomes_by_kind": {kind: dict(found.most_common()) for kind, found in kinds.items()},
        "streams": len(streams),
        "seconds_to_first_token": percentiles(one.first - one.start for one in streams),
        "seconds_per_output_token": percentiles(
            (one.last - one.first) / one.after_first for one in streams if one.after_first
        ),
        "output_tokens": tokens,
        "output_tokens_per_second": round(tokens / seconds, 2) if tokens else 0.0,
        "faults": dict(faults),
    }
