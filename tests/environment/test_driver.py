import json
import time

import numpy as np
import pytest
from scripted_engine import ScriptedEngine

from trustee_jax.engine.types import Completion, Request, RequestError
from trustee_jax.environment import Stopped, run


def request(number: int, role="policy") -> Request:
    return Request(tokens=np.array([number], np.int32), max_new_tokens=1, key=(number,), role=role)


class EchoEngine:
    """Completes the oldest `width` requests a step with their own token plus one."""

    def __init__(self, width: int = 64, refuse=lambda request: False):
        self.width, self.refuse = width, refuse
        self.queue: list[tuple[int, Request]] = []
        self.log: list[tuple[int, ...]] = []
        self.cancelled = False

    @property
    def idle(self) -> bool:
        return not self.queue

    def cancel(self) -> None:
        self.cancelled = True

    def submit(self, request: Request) -> int:
        if self.refuse(request):
            raise RequestError("refused")
        self.log.append(request.key)
        self.queue.append((len(self.log), request))
        return len(self.log)

    def step(self):
        done, self.queue = self.queue[: self.width], self.queue[self.width :]
        zero = np.zeros(1, np.float32)
        return [(ticket, Completion(r.tokens + 1, zero, "stop")) for ticket, r in done]


def counter(start: int, turns: int, role="policy"):
    value = start
    for _ in range(turns):
        completion = yield request(value, role)
        value = int(completion.tokens[0])
    return value


def test_results_in_order_whatever_the_batch():
    expected = [10 * i + i % 5 for i in range(40)]
    for width in (1, 3, 64):
        engine = EchoEngine(width)
        coroutines = [counter(10 * i, i % 5) for i in range(40)]
        assert run(coroutines, {"policy": engine, "simulator": engine}) == expected


def test_two_engines():
    engines = {"policy": EchoEngine(2), "simulator": EchoEngine(3)}

    def both(i):
        a = yield from counter(i, 3, "policy")
        return (yield from counter(a, 2, "simulator"))

    assert run([both(i) for i in range(10)], engines) == [i + 5 for i in range(10)]
    assert (len(engines["policy"].log), len(engines["simulator"].log)) == (30, 20)


def test_order_of_requests_repeats():
    logs = []
    for _ in range(2):
        engine = EchoEngine(7)
        run([counter(100 * i, 1 + i % 4) for i in range(30)], {"policy": engine})
        logs.append(engine.log)
    assert logs[0] == logs[1]


def test_refusal_is_thrown_into_its_coroutine():
    def patient(start):
        refused = 0
        for value in (start, 1000 + start, start + 1):
            try:
                yield request(value)
            except RequestError:
                refused += 1
        return refused

    engine = EchoEngine(refuse=lambda r: r.key[0] >= 1000)
    assert run([patient(10 * i) for i in range(5)], {"policy": engine}) == [1] * 5
    with pytest.raises(RequestError):
        run([counter(1000, 1)], {"policy": engine})
    assert engine.cancelled


def test_progress_counts_every_coroutine():
    seen = []
    run(
        [counter(100 * i, i) for i in range(4)],
        {"policy": EchoEngine()},
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert run([], {"policy": EchoEngine()}) == []


def test_stop_is_clean():
    closed = []

    def watched(i):
        try:
            return (yield from counter(i, 100))
        finally:
            closed.append(i)

    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > 3

    engine = EchoEngine()
    with pytest.raises(Stopped):
        run([watched(i) for i in range(5)], {"policy": engine}, should_stop=should_stop)
    assert sorted(closed) == list(range(5)) and engine.cancelled
    assert len(engine.log) == 5 * 4


def test_lost_request_is_an_error():
    engine = EchoEngine()
    engine.step = engine.queue.clear
    engine.submit = lambda request: 1
    with pytest.raises(RuntimeError, match="idle"):
        run([counter(0, 1)], {"policy": engine})


def test_many_coroutines_take_linear_time():
    def seconds(count):
        start = time.process_time()
        run([counter(0, 5) for _ in range(count)], {"policy": EchoEngine(64)})
        return time.process_time() - start

    seconds(100)
    few, many = min(seconds(500) for _ in range(3)), min(seconds(4000) for _ in range(3))
    assert many < 8 * 4 * few


def test_scripted_engine_checks_schemas(chat_format):
    """The scripted engine of these tests refuses what the real one cannot hold."""
    engine = ScriptedEngine(chat_format, lambda *_: "{}")
    bad = {"type": "object", "propertyNames": {"pattern": "^a$"}}
    with pytest.raises(AssertionError):
        engine.submit(
            Request(
                np.array([5], np.int32),
                5,
                (1,),
                role="simulator",
                schema=json.loads(json.dumps(bad)),
            )
        )
