"""Load, clients that go away, engines that fail, and what is kept of conversations."""

import asyncio
import http.client
import json
import os
import signal
import threading
import time

import httpx
import numpy as np
import pytest
from spoken_engine import SpokenEngine, running, served

from trustee_jax.engine import Sampling
from trustee_jax.engine.types import NoRoomError
from trustee_jax.serving.app import ServeLimits, Server
from trustee_jax.serving.errors import ApiError
from trustee_jax.serving.generation import HeldCalls, Writing, write
from trustee_jax.serving.models import ServedModels
from trustee_jax.serving.recording import Recorder
from trustee_jax.serving.server import listen, serve
from trustee_jax.serving.worker import EngineWorker

ASKED = {"model": "mine", "messages": [{"role": "user", "content": "Hi"}]}
LONG = "word " * 400


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_queue_is_told_to_come_back(format):
    engine = SpokenEngine(format, lambda *_: LONG, pace=1, delay=0.005)
    with running(served(format, engine), limits=ServeLimits(queue=2)) as url:
        answers = []

        def ask():
            answers.append(httpx.post(f"{url}/v1/chat/completions", json=ASKED, timeout=60))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(engine.requests) == 2)
        tool = {"type": "function", "function": {"name": "find"}}
        must_call = {"tools": [tool], "tool_choice": "required"}
        for more in ({}, {"stream": True}, {"stream": True} | must_call):
            refused = httpx.post(f"{url}/v1/chat/completions", json=ASKED | more)
            assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "queue_full"
        assert "trustee_requests_under_way 2.0" in httpx.get(f"{url}/metrics").text
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200, 200]
        again = httpx.post(f"{url}/v1/chat/completions", json=ASKED, timeout=60)
        assert again.status_code == 200


def test_an_answer_that_has_begun_goes_on_though_the_queue_is_full(format):
    """Between a held call and what follows it, the engine has nothing of the answer."""
    call = '{"name": "find", "arguments": {}}'
    engine = SpokenEngine(format, lambda request, _: call if request.schema else "Found it.")
    model = served(format, engine)
    free = Writing(np.arange(9, dtype=np.int32), 40, Sampling(0.0), (0, 0))
    held = Writing(
        np.arange(9, dtype=np.int32),
        400,
        Sampling(0.0),
        (0, 0),
        calls=HeldCalls({"type": "object"}, first=True, several=True),
    )

    async def check():
        worker = EngineWorker([engine], 1)
        begun = write(worker, model, held)
        text = ""
        while not text.endswith("</tool_call>"):
            text += (await anext(begun)).text
        engine.delay = 0.1
        waits = asyncio.create_task(anext(write(worker, model, free)))
        while not worker.under_way:
            await asyncio.sleep(0)
        with pytest.raises(ApiError, match="1 requests are under way"):
            await anext(write(worker, model, free))
        async for piece in begun:
            text += piece.text
        await waits
        worker.close(10)
        return text

    assert asyncio.run(check()).endswith("</tool_call>Found it.")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fits", [0, 1])
def test_a_call_for_which_no_room_is_left(format, stream, fits):
    """The first one is refused; a later one ends an answer that has begun as its limit does."""
    call = '{"name": "find", "arguments": {}}'

    def say(request, prompt):
        if request.schema is None:
            return "So. <tool_call>"
        if prompt.rpartition("Hi")[2].count("</tool_call>") == fits:
            raise NoRoomError("max_new_tokens=9 may not hold the shortest answer")
        return call

    tool = {"type": "function", "function": {"name": "find"}}
    body = ASKED | {"tools": [tool], "tool_choice": "required", "stream": stream}
    with running(served(format, SpokenEngine(format, say))) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    if not fits:
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "max_tokens_too_small"
        return
    assert answer.status_code == 200 and "error" not in answer.text
    assert answer.text.count('"finish_reason":"length"') == 1
    assert answer.text.count('"name":"find"') == 1 and "So." in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_outlast_the_drain_end_with_an_error(format, stream):
    engine = SpokenEngine(format, lambda *_: LONG, pace=1, delay=0.05)
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/chat/completions"
    answers = []

    def ask():
        answers.append(httpx.post(url, json=ASKED | {"stream": stream}, timeout=60))

    def stop():
        until(lambda: engine.requests)
        os.kill(os.getpid(), signal.SIGTERM)

    threads = [threading.Thread(target=ask), threading.Thread(target=stop)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    serve(Server(ServedModels([served(format, engine)])), listening, drain=0.5)
    assert time.monotonic() - start < 5
    for thread in threads:
        thread.join()
    assert answers[0].status_code == (200 if stream else 503)
    last = answers[0].text.strip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "stopping"
    assert engine.cancelled


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_the_engine(format, stream):
    engine = SpokenEngine(format, lambda *_: LONG, pace=1, delay=0.01)
    with running(served(format, engine)) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        body = json.dumps(ASKED | {"stream": stream, "n": 2})
        connection.request("POST", "/v1/chat/completions", body)
        until(lambda: len(engine.requests) == 2)
        if stream:
            connection.getresponse().read(100)
        connection.close()
        connection.sock = None
        until(lambda: len(engine.cancelled) == 2)
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        until(lambda: "under_way 0.0" in httpx.get(f"{url}/metrics").text)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_ends(format, stream):
    engine = SpokenEngine(format, lambda *_: LONG, pace=1, delay=0.05)
    with running(served(format, engine), limits=ServeLimits(deadline=0.5)) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED | {"stream": stream})
        text = answer.text.strip().rpartition("data: ")[2]
        assert json.loads(text)["error"]["code"] == "deadline_exceeded"
        assert answer.status_code == (200 if stream else 504)
        until(lambda: engine.cancelled)


def test_a_failing_engine_fails_its_requests_and_goes_on(format):
    failures = [RuntimeError("no memory")]
    engine = SpokenEngine(format, lambda *_: failures.pop() if failures else "Fine.")
    with running(served(format, engine)) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED)
        assert answer.status_code == 500 and "no memory" in answer.json()["error"]["message"]
        answer = httpx.post(f"{url}/v1/chat/completions", json=ASKED)
        assert answer.json()["choices"][0]["message"]["content"] == "Fine."


def test_bodies_of_any_kind_are_answered(format):
    engine = SpokenEngine(format, lambda *_: "Fine.")
    deep = b'{"model":"mine","messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    lone = json.dumps(ASKED | {"messages": [{"role": "user", "content": "\ud800 <|im_end|>"}]})
    bodies = [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"null", 400),
        (deep, 400),
        (b'{"model":"mine","messages":[{"role":"user","content":"a"}],"temperature":NaN}', 400),
        (json.dumps(ASKED | {"n": True}).encode(), 400),
        (json.dumps(ASKED | {"messages": {"role": "user"}}).encode(), 400),
        (b" " * 5000, 413),
        (lone.encode(), 400),  # JSON can spell what no text can hold
    ]
    with running(served(format, engine), limits=ServeLimits(body=4000)) as url:
        for body, status in bodies:
            answer = httpx.post(f"{url}/v1/chat/completions", content=body)
            expected = 413 if len(body) > 4000 else status
            assert answer.status_code == expected, (body[:60], answer.text)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        for method, place, status in (
            ("GET", "/v1/chat/completions", 405),
            ("GET", "/nothing", 404),
            ("GET", "/v1/models/other", 404),
        ):
            answer = httpx.request(method, f"{url}{place}")
            assert answer.status_code == status and answer.json()["error"]["message"]


def test_conversations_are_recorded_to_the_token(format, tmp_path):
    engine = SpokenEngine(format, lambda *_: "Fine.")
    recorder = Recorder(tmp_path / "kept" / "said.jsonl")
    with running(served(format, engine), recorder=recorder) as url:
        for stream in (False, True):
            httpx.post(f"{url}/v1/chat/completions", json=ASKED | {"stream": stream})
        ids = httpx.post(
            f"{url}/v1/chat/completions", json=ASKED | {"return_token_ids": True}
        ).json()
    lines = [json.loads(line) for line in (tmp_path / "kept" / "said.jsonl").open()]
    assert len(lines) == 3
    for line in lines:
        assert line["prompt_token_ids"] == engine.requests[0].tokens.tolist()
        (choice,) = line["choices"]
        assert format.decode(choice["token_ids"]) == "Fine."
        assert len(choice["logprobs"]) == len(choice["token_ids"])
        assert choice["message"]["content"] == "Fine."
    assert ids["choices"][0]["token_ids"] == lines[2]["choices"][0]["token_ids"]
    assert ids["prompt_token_ids"] == lines[2]["prompt_token_ids"]
