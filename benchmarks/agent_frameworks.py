"""Agents of frameworks that others wrote, on any server of OpenAI's chat completions.

    trustee serve RUN --temperature=0
    python benchmarks/agent_frameworks.py --url=http://127.0.0.1:8000/v1 --model=NAME [--key=KEY]
        [--frameworks=openai-agents,pydantic-ai] [--env=FOLDER] [--output=FILE.json]

Each framework is installed unmodified in an environment of its own (120 MB). There it gets a Python
function, `get_weather`, and two requests, of which one takes two calls; each streamed and not.
Shown are the cities for which the function was called, and the last words. A request is fulfilled
if those cities are the ones it takes, each once, and the last words have the warmest's degrees.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

FRAMEWORKS = {
    "openai-agents": "openai-agents==0.24.0",
    "pydantic-ai": "pydantic-ai-slim[openai]==2.68.0",
}
INSTRUCTIONS = "Use the tool for anything about the weather, then answer in one sentence."
DEGREES = {"Lyon": 21, "Lille": 13}
TASKS = {  # a request, and the cities that it takes
    "one call": ("What is the weather in Lyon?", ["Lyon"]),
    "two calls": ("How many degrees has the warmer one of Lyon and Lille?", ["Lyon", "Lille"]),
}
MOST_TURNS = 8

Tool = Callable[[str], str]
Ask = Callable[[str, str, str, str, Tool, bool], Awaitable[str]]


async def ask_openai_agents(
    url: str, key: str, model: str, request: str, tool: Tool, streamed: bool
) -> str:
    import agents
    import openai

    agents.set_tracing_disabled(True)
    client = openai.AsyncOpenAI(base_url=url, api_key=key)
    agent = agents.Agent(
        name="weather",
        instructions=INSTRUCTIONS,
        model=agents.OpenAIChatCompletionsModel(model=model, openai_client=client),
        tools=[agents.function_tool(tool)],
    )
    if not streamed:
        result: Any = await agents.Runner.run(agent, request, max_turns=MOST_TURNS)
    else:
        result = agents.Runner.run_streamed(agent, request, max_turns=MOST_TURNS)
        async for _ in result.stream_events():
            pass
    return result.final_output


async def ask_pydantic_ai(
    url: str, key: str, model: str, request: str, tool: Tool, streamed: bool
) -> str:
    from pydantic_ai import Agent, UsageLimits
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    served = OpenAIChatModel(model, provider=OpenAIProvider(base_url=url, api_key=key))
    agent = Agent(served, instructions=INSTRUCTIONS, tools=[tool])
    limits = UsageLimits(request_limit=MOST_TURNS)
    if not streamed:
        return (await agent.run(request, usage_limits=limits)).output
    async with agent.run_stream(request, usage_limits=limits) as result:
        return await result.get_output()


ASK: dict[str, Ask] = {"openai-agents": ask_openai_agents, "pydantic-ai": ask_pydantic_ai}


def weather_tool(called: list[str]) -> Tool:
    """The function; it notes for which cities it is called."""

    def get_weather(city: str) -> str:
        """Returns the weather of a city.

        Args:
            city: Name of the city.
        """
        called.append(city)
        return f"{DEGREES[city]} degrees" if city in DEGREES else "unknown city"

    return get_weather


async def play(framework: str, url: str, key: str, model: str) -> list[dict[str, Any]]:
    """What came of each request, in the framework's environment."""
    found = []
    for task, (request, cities) in TASKS.items():
        for streamed in (False, True):
            called: list[str] = []
            said = error = ""
            try:
                tool = weather_tool(called)
                said = await ASK[framework](url, key, model, request, tool, streamed)
            except Exception as caught:  # of the framework, e.g. a model that goes on calling
                error = f"{type(caught).__name__}: {caught}"
            warmest = max(DEGREES[city] for city in cities)
            fulfilled = sorted(called) == sorted(cities) and str(warmest) in said
            one = {"task": task, "streamed": streamed, "fulfilled": fulfilled}
            found.append(one | {"called": called, "said": said, "error": error})
    return found


def run(
    framework: str, environments: pathlib.Path, url: str, key: str, model: str
) -> list[dict[str, Any]]:
    """What came of each request, asked in a process of the framework's environment."""
    # Only here: in the framework's environment there is nothing of ours.
    from trustee_jax.evaluation.installing import Requirements, default_folder, ensure_environment

    package = FRAMEWORKS[framework]
    version = package.partition("==")[2]
    needed = Requirements(framework, version, (package,), True, flag="--env", room="120 MB")
    python = ensure_environment(default_folder(environments, needed), needed)
    command = [python, "-I", pathlib.Path(__file__).absolute(), f"--url={url}", f"--key={key}"]
    command += [f"--model={model}", f"--worker={framework}"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", default="none")
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--env", type=pathlib.Path, default="agent-frameworks")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--worker", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    server = arguments.url, arguments.key, arguments.model
    if arguments.worker:
        print(json.dumps(asyncio.run(play(arguments.worker, *server))))
        return
    report: dict[str, Any] = {"model": arguments.model, "frameworks": {}}
    for framework in arguments.frameworks.split(","):
        found = run(framework, arguments.env.absolute(), *server)
        report["frameworks"][FRAMEWORKS[framework]] = found
        for one in found:
            how = "streamed" if one["streamed"] else "whole"
            verdict = "fulfilled" if one["fulfilled"] else "not fulfilled"
            print(f"{framework}, {one['task']}, {how}: {verdict}", flush=True)
            print(f"  called {one['called']}, said {one['said']!r} {one['error']}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
