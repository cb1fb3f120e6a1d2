"""`trustee serve` as a process: from a checkpoint to answers, and to its end."""

import dataclasses
import functools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from trustee_jax.commands import main as cli
from trustee_jax.engine import Request, Sampling
from trustee_jax.errors import ConfigError
from trustee_jax.players import build_policy
from trustee_jax.run import read_config, restore_trained
from trustee_jax.serve import BASE, open_models

MODEL = "random:qwen3+calls"


@pytest.fixture
def serving(tmp_path):
    """A server's process and URL."""
    started = []

    def start(*words):
        environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
        process = subprocess.Popen(
            [sys.executable, "-m", "trustee_jax", "serve", *words, "--port=0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        for line in process.stdout:
            if "serving on" in line:
                return process, line.split()[-1]
        raise AssertionError("it did not start")

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_what_was_accepted_is_answered_after_sigterm(serving, tmp_path):
    kept = tmp_path / "kept.jsonl"
    process, url = serving(f"--model={MODEL}", "--name=mine", "--slots=2", f"--record={kept}")
    assert [one["id"] for one in httpx.get(f"{url}/v1/models").json()["data"]] == ["mine"]
    body = {
        "model": "mine",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 200,
        "stream": True,
        "seed": 1,
    }
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=120) as answer:
        events = answer.iter_lines()
        next(events)
        process.send_signal(signal.SIGTERM)
        said = [line for line in events if line]
    assert said[-1] == "data: [DONE]"
    assert json.loads(said[-2][6:])["choices"][0]["finish_reason"]
    assert process.wait(60) == 0
    assert len(kept.read_text().splitlines()) == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "a RUN or --model"),
        ([f"--model={MODEL}", "runs/x"], "one of both"),
        ([f"--model={MODEL}", "--step=3"], "--step needs a RUN"),
        ([f"--model={MODEL}", "--adapters=a=b"], "--adapters needs a RUN"),
        (["runs/x", "--adapters=a"], "NAME=RUN"),
        (["runs/x"], "runs/x"),
        ([f"--model={MODEL}", "--host=256.1.1.1"], "256.1.1.1"),
    ],
)
def test_bad_input_is_one_line(capsys, words, fault):
    assert cli.main(["serve", *words]) == 2
    err = capsys.readouterr().err
    assert fault in err and err.count("\n") == 1


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", f"--model={MODEL}", f"--port={port}"]) == 2
    out, err = capsys.readouterr()
    assert f"127.0.0.1:{port}" in err and "loading" not in out


def test_a_run_is_served_beside_its_base_and_another_adapter(tmp_path):
    """Each name answers as its own engine does."""
    debug = pathlib.Path(__file__).parents[2] / "configs" / "debug.py"
    runs = {}
    for name, seed in (("one", 0), ("two", 1)):
        runs[name] = tmp_path / name
        words = [f"--workdir={runs[name]}", f"--config.seed={seed}", "--config.training.steps=1"]
        assert cli.main(["train", f"--config={debug}", *words]) == 0
    config = read_config(runs["one"])
    models = open_models(config, "one", runs["one"], {"two": runs["two"]})
    assert list(models) == ["one", "two", BASE] and len(models.engines) == 2
    format = models["one"].format
    request = Request(
        format.encode("Hello there"), 24, (0, 1), "policy", Sampling(0.0), format.stop_ids
    )

    answers = {}
    for name, model in models.items():
        (found,) = model.engine.run([dataclasses.replace(request, role=model.role)])
        answers[name] = found.tokens.tolist()
    for name, run in (("one", runs["one"]), ("two", runs["two"]), (BASE, None)):
        reader = functools.partial(restore_trained, run, step=None) if run else None
        alone = build_policy(config, seed=config.seed, restore=reader)
        (found,) = alone.engine.run([request])
        assert found.tokens.tolist() == answers[name], name
    with pytest.raises(ConfigError, match="lora_rank"):
        other = dataclasses.replace(config, model=dataclasses.replace(config.model, lora_rank=8))
        open_models(other, "one", runs["one"], {"two": runs["two"]})
    with pytest.raises(ConfigError, match="name"):
        open_models(config, BASE, runs["one"], {})
