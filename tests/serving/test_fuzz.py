"""Bodies that no client means to send: each gets an answer, and none leaves anything behind."""

import copy
import json
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spoken_engine import SpokenEngine, running, served

from trustee_jax.serving.app import ServeLimits

TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds.",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CHAT = {
    "model": "mine",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "{}"},
    ],
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "n": 1,
    "seed": 1,
    "temperature": 1.0,
    "top_p": 0.9,
    "stop": ["x"],
    "max_tokens": 16,
    "logprobs": True,
    "top_logprobs": 2,
    "stream": False,
    "stream_options": {"include_usage": True},
}
TEXT = {"model": "mine", "prompt": "Hi", "n": 1, "logprobs": 1, "echo": True, "stop": "x"}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from(["<|im_end|>", "\ud800", "required", "json_object", "mine", "stream", ""]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def bodies(draw):
    """A valid body with some of its parts replaced, removed or added; or anything at all."""
    path, whole = draw(st.sampled_from([("chat/completions", CHAT), ("completions", TEXT)]))
    if draw(st.integers(0, 9)) == 0:
        return path, draw(st.binary(max_size=60))
    body = copy.deepcopy(whole)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(list(places(body))))
        value = draw(VALUES)
        if not place:
            continue
        inner = body
        for key in place[:-1]:
            inner = inner[key]
        if isinstance(inner, dict) and draw(st.booleans()) and draw(st.booleans()):
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
    return path, json.dumps(body).encode()


@pytest.fixture(scope="module")
def client(format):
    def say(request, prompt):
        return '{"name":"find","arguments":{}}' if request.schema else "Hello <tool_call>{"

    engine = SpokenEngine(format, say, pace=8)
    with (
        running(served(format, engine), limits=ServeLimits(body=20_000)) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client
        # Whatever was asked, nothing is left of it.
        end = time.monotonic() + 10
        while "under_way 0.0" not in client.get("/metrics").text:
            assert time.monotonic() < end
        assert engine.idle


def check(client, path, body):
    answer = client.post(f"/v1/{path}", content=body)
    assert answer.status_code in (200, 400, 404, 413), (body, answer.text)
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    elif answer.headers["content-type"].startswith("application/json"):
        assert answer.json()["choices"]
    else:
        events = answer.text.strip().split("\n\n")
        assert events[-1] == "data: [DONE]" or "error" in json.loads(events[-1][6:])
        assert "server_error" not in answer.text


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies())
def test_any_body_is_answered(client, sent):
    check(client, *sent)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies())
def test_ten_thousand_bodies_are_answered(client, sent):
    check(client, *sent)
