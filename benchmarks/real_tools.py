"""Episodes that call real tools: all at once against one after another.

    python benchmarks/real_tools.py [--episodes=64] [--seconds=0.5] [--threads=64]

Code plays policy, user and verifier; each episode makes one call of a function that sleeps. What is
measured is what the driver adds to the tools themselves.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from trustee_jax.chat import ChatFormat
from trustee_jax.curriculum import Aspects
from trustee_jax.engine import Completion, Request
from trustee_jax.environment import (
    Environment,
    EnvironmentConfig,
    Task,
    load_judges,
    run,
    run_episode,
)
from trustee_jax.environment.tools.python import PythonTool
from trustee_jax.simulator import Simulator, SimulatorConfig
from trustee_jax.toolsets import Tool
from trustee_jax.weights import open_checkpoint

CALL = '<tool_call>{"name": "look_up", "arguments": {}}</tool_call>'


class Players:
    """An engine: the policy calls and then ends, the user is content, all criteria are met."""

    def __init__(self, format: ChatFormat):
        self.format = format
        self.done: list[tuple[int, Completion]] = []
        self.tickets = 0

    @property
    def idle(self) -> bool:
        return not self.done

    def cancel(self) -> None:
        self.done.clear()

    def submit(self, request: Request) -> int:
        if request.schema is None:
            text = CALL if request.key[-2] == 0 else "Done."
        else:
            names = request.schema["properties"]
            values = {"message": "", "reasoning": "Seen.", "line": 1, "met": True}
            text = json.dumps({name: values.get(name, True) for name in names})
        ids = self.format.encode(text)
        if request.schema is None:
            ids = np.append(ids, np.int32(request.stop_ids[0]))
        self.tickets += 1
        logits = np.zeros((len(ids), len(request.report_logits_of)), np.float32)
        completion = Completion(ids, np.zeros(len(ids), np.float32), "stop", logits)
        self.done.append((self.tickets, completion))
        return self.tickets

    def step(self) -> list[tuple[int, Completion]]:
        done, self.done = self.done, []
        return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=EnvironmentConfig().tool_threads)
    options = parser.parse_args()

    format = ChatFormat(open_checkpoint("random:qwen2").tokenizer())
    config = EnvironmentConfig()
    simulator = Simulator(format, SimulatorConfig(), 30_000, config.roles)
    backend = PythonTool(lambda: time.sleep(options.seconds), 60.0)
    judge = load_judges(config)(simulator)
    environment = Environment(config, simulator, format, 30_000, judge, {"look_up": backend})
    schema = {"type": "object", "properties": {}}
    aspects = Aspects(0.0, 1, 1, 1, 1, 1, 5, 0, user_turns=2, assistant_turns=4, tool_turns=2)
    task = Task((Tool("look_up", "Looks it up.", schema),), aspects, "Ada", "It", (), "Look it up.")

    def play(count: int, first: int, threads: int) -> float:
        coroutines = [run_episode(environment, task, (0, 0, first + i)) for i in range(count)]
        players = Players(format)
        start = time.monotonic()
        episodes = run(coroutines, {"policy": players, "simulator": players}, threads=threads)
        assert all(episode.calls[0].answer == "null" for episode in episodes)
        return time.monotonic() - start

    play(1, 0, 1)  # what is compiled once
    at_once = play(options.episodes, 1, options.threads)
    in_turn = sum(play(1, 1 + i, 1) for i in range(options.episodes))
    result = {
        "episodes": options.episodes,
        "seconds_of_the_tool": options.seconds,
        "threads": options.threads,
        "seconds_at_once": round(at_once, 2),
        "seconds_one_after_another": round(in_turn, 2),
        "times_faster": round(in_turn / at_once, 1),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
