"""The simulated environment with one model in every role: what is valid, what fails, what it costs.

    python benchmarks/environment.py --config=configs/quickstart.py --episodes=100 [--output=DIR]

The config's base model plays policy and simulators, without training, at the config's first
difficulty. With --policy=expected code plays the policy: it makes the calls that the task expects,
the first of them twice, and passes on the result, so that tools, world and verifier have something
to do whatever the model can. Episodes and a summary are written to the output folder; episodes have
the form of a run's, so that `trustee report` and `trustee audit` read them.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import platform
import re
import time
from collections.abc import Generator, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from trustee_jax import streams
from trustee_jax.build import build_simulator
from trustee_jax.chat import ChatFormat
from trustee_jax.config import Config, parse
from trustee_jax.curriculum import Curriculum
from trustee_jax.engine import Completion, Request
from trustee_jax.environment import (
    INVALID_CAUSES,
    REJECTIONS,
    Environment,
    Episode,
    RecentTasks,
    Task,
    generate_task,
    load_judges,
    run,
    run_episode,
)
from trustee_jax.environment.tools.sources import OfferedTools, open_tools
from trustee_jax.simulator import Failure
from trustee_jax.streams import Purpose


class ExpectedPolicy:
    """Answers policy requests by code: the expected calls of the task, then their last result."""

    def __init__(self, format: ChatFormat, tasks: Sequence[Task]):
        self.format, self.tasks = format, tasks
        self.done: list[tuple[int, Completion]] = []
        self.tickets = 0

    @property
    def idle(self) -> bool:
        return not self.done

    def cancel(self) -> None:
        self.done.clear()

    def submit(self, request: Request) -> int:
        _, _, index, _, turn, _ = request.key
        task = self.tasks[index]
        if turn == 0:
            calls = [_expected_call(task, i) for i in range(len(task.expected_calls))]
            text = "".join(f"<tool_call>\n{json.dumps(c)}\n</tool_call>" for c in calls[:1] + calls)
        else:
            context = self.format.decode(request.tokens)
            results = re.findall(r"<tool_response>\s*(.*?)\s*</tool_response>", context, re.DOTALL)
            text = f"Done. The result: {results[-1] if results else 'none'}"
        ids = [*self.format.encode(text)[: request.max_new_tokens - 1], request.stop_ids[0]]
        tokens = np.array(ids, np.int32)
        self.tickets += 1
        completion = Completion(tokens, np.zeros(len(tokens), np.float32), "stop")
        self.done.append((self.tickets, completion))
        return self.tickets

    def step(self) -> list[tuple[int, Completion]]:
        done, self.done = self.done, []
        return done


def _expected_call(task: Task, index: int) -> dict[str, Any]:
    """A call with the values that the task's author gave; the rest is filled in plainly."""
    name = task.expected_calls[index]
    schema = next(tool.parameters for tool in task.tools if tool.name == name)
    values = task.expected_values[index] if task.expected_values else {}
    plain = {"string": "unknown", "integer": 1, "number": 1.0, "boolean": True, "array": []}
    arguments: dict[str, Any] = {}
    for parameter in schema.get("required", ()):
        kind = schema["properties"][parameter]
        value: Any = values.get(parameter) or plain.get(kind.get("type"), {})
        if kind.get("type") in ("integer", "number"):
            value = float(value) if kind["type"] == "number" else int(float(value))
        arguments[parameter] = kind["enum"][0] if "enum" in kind else value
    return {"name": name, "arguments": arguments}


class Game:
    """Engine, simulator and tools of a config, without anything that is trained."""

    def __init__(self, config: Config, tools: OfferedTools):
        self.config = config
        options = config.environment
        make_judge = load_judges(options)
        simulator, self.engine = build_simulator(config, options.roles)
        self.environment = Environment(
            options,
            simulator,
            simulator.format,
            config.engine.max_length,
            make_judge(simulator),
            tools.backends,
        )
        self.repository = tools.repository
        self.curriculum = Curriculum(config.curriculum)
        self.recent = RecentTasks(options.recent_tasks, options.near_copy)
        self.written = 0
        self.rejections: collections.Counter[str] = collections.Counter()
        self.failures: collections.Counter[str] = collections.Counter()

    def drive(
        self,
        coroutines: Sequence[Generator[Request, Completion, Any]],
        what: str,
        policy: Any = None,
    ) -> list:
        start = time.perf_counter()

        def show(done: int, total: int) -> None:
            print(f"  {what} {done}/{total}  {time.perf_counter() - start:.0f} s", flush=True)

        engines = {"policy": policy or self.engine, "simulator": self.engine}
        threads = self.config.environment.tool_threads
        return run(coroutines, engines, threads=threads, on_progress=show)  # type: ignore[arg-type]

    def tasks(self, count: int) -> list[Task]:
        """Up to `count` tasks; those that could not be had are missing."""

        def generate(index: int) -> Generator[Request, Completion, Task | None]:
            for draw in range(self.config.training.max_task_attempts):
                seed, place = self.config.seed, (1, index, draw)
                aspects = self.curriculum.aspects(streams.generator(Purpose.ASPECTS, seed, *place))
                rng = streams.generator(Purpose.TOOLS, seed, *place)
                tools = self.repository.sample(rng, aspects.tools)
                task = yield from generate_task(
                    self.environment,
                    tools,
                    aspects,
                    place,
                    recent=self.recent,
                    rejections=self.rejections,
                )
                if isinstance(task, Task):
                    self.written += 1
                    self.recent.add(task.text)
                    return task
                assert isinstance(task, Failure)
                self.failures[task.cause] += 1
            return None

        found = self.drive([generate(i) for i in range(count)], "tasks")
        return [task for task in found if task is not None]


def repeated_reads(episodes: Sequence[Episode]) -> tuple[int, int]:
    """Calls that repeat one after which nothing changed: all, and those answered identically."""
    repeats = same = 0
    for episode in episodes:
        changing = {change.call for change in episode.changes}
        seen: dict[str, str] = {}
        for call in episode.calls:
            if call.answer is None or call.error:
                continue
            key = json.dumps([call.name, call.arguments], sort_keys=True)
            if call.text in changing:
                seen.clear()
            elif key in seen:
                repeats += 1
                same += seen[key] == call.answer
            seen.setdefault(key, call.answer)
    return repeats, same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument("--policy", choices=("model", "expected"), default="model")
    parser.add_argument("--output", type=pathlib.Path)
    arguments, overrides = parser.parse_known_args()
    values = flags.FlagValues()
    words = ["benchmark", f"--config={arguments.config}", *overrides]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    values(words)
    config = parse(values["config"].value)

    with open_tools(config.tools, config.environment) as tools:
        play(Game(config, tools), arguments)


def play(game: Game, arguments: argparse.Namespace) -> None:
    """Writes tasks, plays and grades their episodes, and reports."""
    config = game.config
    start = time.perf_counter()
    tasks = game.tasks(-(-arguments.episodes // arguments.group))
    task_seconds = time.perf_counter() - start
    coroutines = [
        run_episode(game.environment, task, (1000, index, episode))
        for index, task in enumerate(tasks)
        for episode in range(arguments.group)
    ][: arguments.episodes]
    start = time.perf_counter()
    policy = (
        ExpectedPolicy(game.environment.policy_format, tasks)
        if arguments.policy == "expected"
        else None
    )
    episodes: list[Episode] = game.drive(coroutines, "episodes", policy)
    seconds = time.perf_counter() - start

    repeats, same = repeated_reads(episodes)
    causes = collections.Counter(episode.cause for episode in episodes)
    written = game.written + game.rejections.total()
    summary = {
        "source": config.model.source,
        "policy": arguments.policy,
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "tasks_written": written,
        "tasks_accepted": game.written,
        "tasks_accepted_share": round(game.written / max(1, written), 3),
        "tasks_rejected": {name: game.rejections[name] for name in REJECTIONS},
        "tasks_failed": dict(game.failures),
        "seconds_per_accepted_task": round(task_seconds / max(1, len(tasks)), 2),
        "episodes": len(episodes),
        "valid": sum(episode.valid for episode in episodes),
        "invalid": {cause: causes[cause] for cause in INVALID_CAUSES if causes[cause]},
        "with_a_valid_call": sum(episode.counts.valid_calls > 0 for episode in episodes),
        "rewards": dict(collections.Counter(str(e.reward) for e in episodes)),
        "ended": dict(collections.Counter(str(e.ended) for e in episodes)),
        "executed_calls": sum(episode.counts.executed_calls for episode in episodes),
        "changes": sum(episode.counts.changes for episode in episodes),
        "repeated_reads": repeats,
        "repeated_reads_identical": same,
        "simulator_requests": sum(e.counts.simulator_requests for e in episodes),
        "simulator_retries": sum(e.counts.simulator_retries for e in episodes),
        "seconds": round(seconds, 1),
        "seconds_per_episode": round(seconds / max(1, len(episodes)), 2),
    }
    print(json.dumps(summary, indent=1))
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(summary, indent=1) + "\n"
        (arguments.output / "summary.json").write_text(text, encoding="utf-8")
        with open(arguments.output / "episodes.jsonl", "w", encoding="utf-8") as file:
            for episode in episodes:
                file.write(json.dumps({"step": 1, **episode.to_json()}) + "\n")


if __name__ == "__main__":
    main()
