"""What a client of the load makes of answers, right and wrong ones."""

import asyncio
import collections
import json
import pathlib

import httpx
import pytest
import serving_requests
from serving_requests import KINDS, Ask, Mix, Told, send, summary

TOOLS = pathlib.Path(__file__).parents[2] / "configs" / "quickstart_tools.json"
USAGE = {"choices": [], "usage": {"completion_tokens": 3}}
ERROR = {"error": {"type": "server_error", "code": "deadline_exceeded"}}


def chunk(ids=(), finish=None):
    choice = {"index": 0, "delta": {"content": "a" * len(ids)}, "finish_reason": finish}
    return {"choices": [choice | {"token_ids": list(ids)}]}


def told(ask, *events, status=200):
    """What becomes of a request that is answered by events, or by a JSON body."""
    lines = "".join(f"data: {json.dumps(one) if one else '[DONE]'}\n\n" for one in events)
    stream = {"content": lines, "headers": {"content-type": "text/event-stream"}}

    def answer(request):
        if status != 200:
            return httpx.Response(status, json=events[0], headers={"retry-after": "1"})
        return httpx.Response(200, **stream)

    async def run():
        one = Told()
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            await send(http, "http://served/", ask, one)
        return one

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("events", "outcome", "fault"),
    [
        ([chunk([1]), chunk([2, 3], "stop"), USAGE, None], "200", None),
        ([chunk([1]), chunk([2], "stop"), USAGE, None], "200", "2 tokens came, the usage says 3"),
        ([chunk([1, 2, 3], "stop"), None], "200", "the stream has no usage"),
        ([chunk([1, 2, 3]), USAGE, None], "200", "a choice ended with None"),
        ([USAGE | {"usage": {"completion_tokens": 0}}, None], "200", "1 choices were asked for"),
        ([chunk([1]), chunk([2, 3], "stop"), USAGE], "lost: the stream has no end", "lost: "),
        ([chunk([1]), ERROR], "200, then server_error deadline_exceeded", None),
        ([{"error": {"type": "server_error"}}], "200, then server_error", "200, then"),
    ],
)
def test_streams(events, outcome, fault):
    one = told(Ask("stream", b""), *events)
    assert one.outcome == outcome and one.complete == (not outcome.startswith("lost"))
    assert (one.fault is None) == (fault is None) and (one.fault or "").startswith(fault or "")


def test_refusals_are_expected_or_not():
    busy = {"error": {"code": "queue_full"}}
    one = told(Ask("stream", b""), busy, status=429)
    assert (one.outcome, one.fault, one.retry_after) == ("429 queue_full", None, 1)
    assert told(Ask("stream", b""), {"error": {"code": None}}, status=500).fault == "500"


def test_a_client_that_leaves_and_the_times_of_one_that_stays():
    leaves = Ask("stream", b"", frozenset({"cancelled in the stream"}), leaves_after=1)
    left = told(leaves, chunk([1]), chunk([2, 3], "stop"), USAGE, None)
    assert (left.outcome, left.fault, left.tokens) == ("cancelled in the stream", None, 1)
    stays = told(Ask("stream", b""), chunk([1]), chunk([2, 3], "stop"), USAGE, None)
    assert (stays.tokens, stays.after_first) == (3, 2)
    stays.start, stays.first, stays.last = 10.0, 10.5, 12.5
    found = summary([left, stays], 6)
    assert found["output_tokens_per_second"] == 0.5 and found["streams"] == 1
    assert found["seconds_to_first_token"]["p50"] == 0.5
    assert found["seconds_per_output_token"]["p95"] == 1.0


def test_the_mix_has_every_kind_and_is_the_same_again():
    asks = [Mix("a", TOOLS).ask(number) for number in range(400)]
    assert set(collections.Counter(ask.kind for ask in asks)) == set(KINDS)
    assert asks == [Mix("a", TOOLS).ask(number) for number in range(400)]
    assert asks != [Mix("b", TOOLS).ask(number) for number in range(400)]
    for ask in asks:
        if ask.kind == "too_long":
            words = json.loads(ask.body)["messages"][0]["content"].split()
            assert len(words) == serving_requests.TOO_MANY_WORDS
