import dataclasses

import chat_formats
import pytest
from environments import environment_of

from trustee_jax.chat import ChatFormat
from trustee_jax.curriculum import Aspects
from trustee_jax.environment import Environment, Task
from trustee_jax.toolsets import Tool


@pytest.fixture(scope="session")
def chat_format() -> ChatFormat:
    return chat_formats.plain()


@pytest.fixture(scope="session")
def thinking_format() -> ChatFormat:
    return chat_formats.thinking()


@pytest.fixture
def make_environment(chat_format):
    def make(**options) -> Environment:
        return environment_of(chat_format, **options)

    return make


def tool(name: str, **parameters: dict) -> Tool:
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return Tool(name, f"Does {name}.", schema, "travel")


@pytest.fixture
def tools() -> tuple[Tool, ...]:
    city = {"type": "string", "description": "City."}
    return (tool("find_hotels", city=city), tool("book", hotel=city, nights={"type": "integer"}))


@pytest.fixture
def aspects() -> Aspects:
    return Aspects(
        difficulty=100.0,
        tools=2,
        calls=2,
        persona=1,
        ambiguity=1,
        turns=2,
        criteria=5,
        system_prompt=0,
        user_turns=3,
        assistant_turns=6,
        tool_turns=3,
    )


@pytest.fixture
def make_task(tools, aspects):
    def make(world=None, **changes) -> Task:
        return Task(
            tools=tools,
            aspects=dataclasses.replace(aspects, **changes),
            persona="Ada, a baker.",
            intent="Two nights in Lyon at the cheapest hotel.",
            expected_calls=("find_hotels", "book"),
            query="I need a place to sleep.",
            world=world,
        )

    return make
