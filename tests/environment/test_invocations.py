"""Functions in threads: order, deadlines, errors, and that engines never wait for them."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from test_driver import EchoEngine, request

from trustee_jax.environment import Stopped, run
from trustee_jax.environment.invocations import (
    Invocation,
    InvocationError,
    InvocationPool,
)
from trustee_jax.errors import one_line


def ask(function, deadline=30.0):
    try:
        return (yield Invocation(function, deadline))
    except InvocationError as error:
        return str(error)


def raising(error):
    def function():
        raise error

    return function


def test_results_and_errors_reach_their_coroutines():
    functions = [lambda: 7, raising(ValueError("no\nway")), raising(SystemExit(3)), lambda: None]
    found = run([ask(f) for f in functions], {"policy": EchoEngine()}, threads=2)
    assert found == [7, "ValueError: no way", "SystemExit: 3", None]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseException("x"), GeneratorExit()])
def test_whatever_is_raised_is_the_end_of_one_call(error):
    assert run([ask(raising(error))], {"policy": EchoEngine()}) == [one_line(error)]


def test_what_is_over_goes_on_in_the_order_of_submission():
    """The later ones end first, all of them within one step of the engine."""
    begin, ended = threading.Event(), [threading.Event() for _ in range(5)]
    others, order = set(threading.enumerate()), []

    def function(i):
        (ended[i + 1] if i < 4 else begin).wait(30)
        ended[i].set()
        return i

    def coroutine(i):
        found = yield Invocation(lambda: function(i), 60)
        order.append(found)

    class Patient(EchoEngine):
        def step(self):
            begin.set()
            while set(threading.enumerate()) - others:  # they have handed in their results
                time.sleep(0.001)
            return super().step()

    def other():
        yield request(1)

    run([*map(coroutine, range(5)), other()], {"policy": Patient()}, threads=5)
    assert order == [0, 1, 2, 3, 4]


def test_engines_do_not_wait_for_threads():
    """The invocation ends only when the engine has served everybody else."""
    served = threading.Event()

    def others():
        for i in range(50):
            yield request(i)
        served.set()

    found = run([ask(lambda: served.wait(20)), others()], {"policy": EchoEngine(1)})
    assert found == [True, None]


def test_at_most_so_many_at_once_and_no_fewer():
    lock, running, most = threading.Lock(), 0, 0
    full = threading.Event()

    def function():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 8:
                full.set()
        full.wait(5)
        time.sleep(0.01)
        with lock:
            running -= 1

    run([ask(function) for _ in range(40)], {"policy": EchoEngine()}, threads=8)
    assert most == 8


def test_past_its_deadline_a_call_is_given_up_and_its_place_is_free():
    release, late = threading.Event(), []

    def hangs():
        release.wait(30)
        late.append(1)
        return "too late"

    start = time.monotonic()
    found = run(
        [ask(hangs, 0.25), ask(hangs, 0.25), ask(lambda: "ok")], {"policy": EchoEngine()}, threads=1
    )
    assert found == ["timed out after 0.25 s"] * 2 + ["ok"]
    assert time.monotonic() - start < 10
    release.set()


def test_waiting_for_a_place_does_not_count():
    found = run(
        [ask(lambda: time.sleep(0.2), 5), ask(lambda: "ok", 0.15)], {"policy": EchoEngine()}
    )
    assert found == [None, "ok"]


def test_a_result_that_is_late_is_late_though_nobody_looked():
    """The driver was at work in an engine when the deadline passed."""
    pool = InvocationPool(1)
    pool.submit(Invocation(lambda: time.sleep(0.2), 0.05))
    time.sleep(0.5)
    ((ticket, outcome),) = pool.step()
    assert ticket == 0 and isinstance(outcome, InvocationError)
    assert pool.idle


def test_stop_is_heard_while_only_threads_are_at_work():
    release = threading.Event()
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > 2

    engine = EchoEngine()
    with pytest.raises(Stopped):
        run([ask(lambda: release.wait(60), 60)], {"policy": engine}, should_stop=should_stop)
    assert engine.cancelled
    release.set()


def test_without_a_thread_to_be_had_the_call_fails(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    found = run([ask(lambda: 1), ask(lambda: 2)], {"policy": EchoEngine()})
    assert found == ["RuntimeError: can't start new thread"] * 2


def test_without_a_thread_to_be_had_a_long_queue_fails_too(monkeypatch):
    """One call is under way until its deadline; then no thread is to be had for the others."""
    release, pool = threading.Event(), InvocationPool(1)
    pool.submit(Invocation(lambda: release.wait(30), 0.05))
    for _ in range(3000):
        pool.submit(Invocation(lambda: 1, 30))

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    time.sleep(0.1)
    found = [str(outcome) for _, outcome in pool.step()]
    assert found == ["timed out after 0.05 s"] + ["RuntimeError: can't start new thread"] * 3000
    assert pool.idle
    release.set()


def test_requests_and_invocations_of_one_coroutine_alternate():
    def both(start):
        value = start
        for _ in range(3):
            value = yield Invocation(lambda value=value: value + 10, 5)
            completion = yield request(value)
            value = int(completion.tokens[0])
        return value

    assert run([both(100 * i) for i in range(9)], {"policy": EchoEngine(2)}, threads=3) == [
        100 * i + 33 for i in range(9)
    ]


def test_a_hanging_call_does_not_keep_the_process():
    program = (
        "import time\n"
        "from trustee_jax.environment.invocations import Invocation, InvocationPool\n"
        "pool = InvocationPool(1)\n"
        "pool.submit(Invocation(lambda: time.sleep(600), 0.01))\n"
        "pool.wait(1)\n"
        "print(pool.step()[0][1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip() == b"timed out after 0.01 s"


def test_zero_arrays_are_results_like_any():
    (found,) = run([ask(lambda: np.zeros(2))], {"policy": EchoEngine()})
    assert found.tolist() == [0, 0]
