import pytest

from trustee_jax.audit.recorded import GOLD, read_recorded
from trustee_jax.chat import ChatFormat
from trustee_jax.environment import SimulationConfig, VerifierConfig
from trustee_jax.simulator import Simulator
from trustee_jax.weights import open_checkpoint


@pytest.fixture(scope="session")
def chat_format() -> ChatFormat:
    return ChatFormat(open_checkpoint("random:qwen2").tokenizer())


@pytest.fixture
def make_simulator(chat_format):
    def make(mode: str) -> Simulator:
        options = SimulationConfig(verifier=VerifierConfig(mode=mode, tries=1))
        return Simulator(chat_format, options, 30_000)

    return make


@pytest.fixture(scope="session")
def gold():
    return read_recorded(GOLD)
