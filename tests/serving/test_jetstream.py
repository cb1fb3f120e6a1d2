"""JetStream's own server and client, with our engine behind them."""

import concurrent.futures
import socket
import subprocess
import sys

import numpy as np
import pytest
from spoken_engine import served

from trustee_jax.build import plain_config
from trustee_jax.engine import Request, Sampling
from trustee_jax.serve import open_models
from trustee_jax.serving import jetstream

pytestmark = pytest.mark.slow  # it installs the wheel

PROMPTS = [f"{word} " * (3 + i) for i, word in enumerate(["Hello", "one two", "{", "Lyon is"] * 4)]


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """JetStream without its dependencies, which are TensorFlow and what the test extra has."""
    folder = tmp_path_factory.mktemp("jetstream")
    wheel = "google-jetstream==0.2.2"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, wheel]
    subprocess.run(command, check=True)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def decode(port, tokens, **content):
    """What a client of JetStream's receives: ids, and texts."""
    import grpc
    from jetstream.core.proto import jetstream_pb2, jetstream_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = jetstream_pb2_grpc.OrchestratorStub(channel)
        request = jetstream_pb2.DecodeRequest(max_tokens=tokens)
        if "text" in content:
            request.text_content.text = content["text"]
        else:
            request.token_content.token_ids.extend(content["ids"])
        samples = [part.stream_content.samples[0] for part in stub.Decode(request)]
    ids = [id for sample in samples for id in sample.token_ids]
    return ids, "".join(sample.text for sample in samples)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_greedy_answers_of_the_engine_sixteen_at_once():
    models = open_models(
        plain_config("random:qwen2"), "mine", None, {}, slots=5, max_length=300, temperature=0.0
    )
    model = models["mine"]
    engine, format = model.engine, model.format
    prompts = [format.encode(text) for text in PROMPTS]
    greedy = Sampling(temperature=0.0)
    expected = [
        engine.run([Request(ids, 24, (0, i), "policy", greedy, format.stop_ids)])[0]
        for i, ids in enumerate(prompts)
    ]
    port = free_port()
    with (
        jetstream.running(model, "127.0.0.1", port),
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        by_text = list(pool.map(lambda text: decode(port, 24, text=text), PROMPTS))
        by_ids = list(pool.map(lambda ids: decode(port, 24, ids=ids.tolist()), prompts))
    for (ids, text), (same, _), answer in zip(by_text, by_ids, expected, strict=True):
        wanted = [id for id in answer.tokens.tolist() if id not in format.stop_ids]
        assert ids == same == wanted
        raw = format.decode(np.array(wanted))
        assert text.replace("\ufffd", "") == raw.replace("\ufffd", "") or "\ufffd" in raw


def test_a_context_that_is_too_short(installed):
    class Engine:
        max_length = 16

    with pytest.raises(jetstream.JetStreamError, match="max_length"):
        jetstream.make_engine(served(None, Engine()), None)
