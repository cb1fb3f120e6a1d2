"""The process of the checkers dies, hangs and is started again; one request is lost each time."""

import os
import pathlib
import signal
import sys
import time

import pytest

from trustee_jax.errors import InputError
from trustee_jax.evaluation.checker import Checker, CheckerError, RequestFailure

PYTHON = pathlib.Path(sys.executable)


def test_requests_are_answered_in_one_process(fake_checker):
    assert fake_checker.description["step_limit"] == 2
    value = {"text": 'é\n"', "list": [1, 2.5, None, True], "long": "x" * 300_000}
    assert fake_checker.ask("echo", value=value) == value
    assert fake_checker.restarts == 0


@pytest.mark.parametrize(
    ("case", "what", "restarts"),
    [
        ("die", "the process ended with status 3", 1),
        ("hang", "no answer within 1 s", 1),
        ("raise", "RuntimeError: checker is confused", 0),
    ],
)
def test_a_lost_request_costs_that_request(fake_checker, case, what, restarts):
    with pytest.raises(RequestFailure, match=what):
        fake_checker.ask("check", case=case, result=[])
    assert fake_checker.ask("echo", value="after") == "after"
    assert fake_checker.restarts == restarts


def test_a_process_killed_between_requests_is_started_again(fake_checker):
    os.kill(fake_checker._process.pid, signal.SIGKILL)
    with pytest.raises(RequestFailure):
        fake_checker.ask("echo", value=1)
    assert fake_checker.ask("echo", value=2) == 2


def test_an_interrupted_request_leaves_no_reply_to_the_next_one(fake_checker, monkeypatch):
    process = fake_checker._process

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(process.stdout, "readline", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        fake_checker.ask("echo", value="lost")
    assert process.poll() is not None
    assert fake_checker.ask("echo", value="kept") == "kept"


def test_close_ends_the_process(fake_checker):
    process = fake_checker._process
    fake_checker.close()
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("raise SystemExit(7)", "status 7"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
        (
            "import json, sys\nfor line in sys.stdin: print(json.dumps({'id': 1, 'error': "
            "'ModuleNotFoundError: bfcl_eval'}), flush=True)",
            "ModuleNotFoundError: bfcl_eval",
        ),
    ],
)
def test_checkers_that_do_not_start_are_one_error(tmp_path, script, what):
    worker = tmp_path / "worker.py"
    worker.write_text(script)
    start = time.monotonic()
    with pytest.raises(CheckerError, match=what) as caught:
        Checker(PYTHON, worker, timeout=1.0)
    assert isinstance(caught.value, InputError)
    assert str(PYTHON.parent.parent) in str(caught.value)
    assert time.monotonic() - start < 30


def test_a_missing_interpreter_is_one_error(tmp_path):
    with pytest.raises(CheckerError, match="do not start"):
        Checker(tmp_path / "bin" / "python")
