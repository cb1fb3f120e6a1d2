"""Agents of frameworks that others wrote, against a model that says what the test wants."""

import json

import agent_frameworks
import pytest
from spoken_engine import SpokenEngine, running, served

pytestmark = pytest.mark.slow  # it installs the frameworks


def speak(request, prompt):
    """Calls for one city after another, and says what came."""
    tasks = agent_frameworks.TASKS.values()
    request_text, cities = next(task for task in tasks if task[0] in prompt)
    _, _, since = prompt.rpartition(request_text)
    heard = since.count(" degrees\n</tool_response>")
    if heard == len(cities):
        return "It has 21 degrees."
    call = json.dumps({"name": "get_weather", "arguments": {"city": cities[heard]}})
    if request.schema:  # of a tool that the framework declares strict
        return call
    # Behind a call that was held, nothing more.
    return "" if since.count("</tool_call>") > heard else f"<tool_call>\n{call}\n</tool_call>"


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    return tmp_path_factory.mktemp("frameworks")


@pytest.mark.parametrize("framework", agent_frameworks.FRAMEWORKS)
def test_a_framework_calls_its_function_and_says_what_came(format, environments, framework):
    engine = SpokenEngine(format, speak)
    with running(served(format, engine)) as url:
        found = agent_frameworks.run(framework, environments, f"{url}/v1", "none", "mine")
    expected = [
        {"task": task, "streamed": streamed, "fulfilled": True}
        | {"called": cities, "said": "It has 21 degrees.", "error": ""}
        for task, (_, cities) in agent_frameworks.TASKS.items()
        for streamed in (False, True)
    ]
    assert found == expected
