import chat_formats
import pytest

from trustee_jax.chat import ChatFormat


@pytest.fixture(scope="session")
def format() -> ChatFormat:
    return chat_formats.plain()


@pytest.fixture(scope="session")
def thinking_format() -> ChatFormat:
    return chat_formats.thinking()
