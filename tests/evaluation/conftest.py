import pathlib
import sys

import pytest

from trustee_jax.chat import ChatFormat
from trustee_jax.evaluation.checker import Checker
from trustee_jax.weights import open_checkpoint

FAKE_WORKER = pathlib.Path(__file__).with_name("fake_worker.py")


@pytest.fixture(scope="session")
def chat_format() -> ChatFormat:
    return ChatFormat(open_checkpoint("random:qwen2").tokenizer())


@pytest.fixture
def fake_checker():
    """The protocol, spoken by three small cases; a request may take a second."""
    with Checker(pathlib.Path(sys.executable), FAKE_WORKER, timeout=1.0) as checker:
        yield checker
