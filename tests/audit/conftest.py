import pytest

from trustee_jax.audit.recorded import GOLD, read_recorded
from trustee_jax.chat import ChatFormat
from trustee_jax.environment import EnvironmentConfig, JudgeConfig, ModelJudge
from trustee_jax.simulator import RoleConfig, Simulator, SimulatorConfig
from trustee_jax.weights import open_checkpoint


@pytest.fixture(scope="session")
def chat_format() -> ChatFormat:
    return ChatFormat(open_checkpoint("random:qwen2").tokenizer())


@pytest.fixture
def simulator(chat_format):
    return Simulator(chat_format, SimulatorConfig(verifier=RoleConfig(tries=1)), 30_000)


@pytest.fixture
def make_judge(simulator):
    def make(mode: str) -> ModelJudge:
        return ModelJudge(simulator, EnvironmentConfig(judge=JudgeConfig(mode=mode)))

    return make


@pytest.fixture(scope="session")
def gold():
    return read_recorded(GOLD)
