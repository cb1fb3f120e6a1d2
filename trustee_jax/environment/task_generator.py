"""The task generator: tools and aspects -> persona, expected calls, intent, first query, world."""

import collections
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from trustee_jax.curriculum import Aspects, CurriculumConfig
from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment.config import EnvironmentConfig
from trustee_jax.environment.environment import Environment
from trustee_jax.environment.novelty import RecentTasks, similarity
from trustee_jax.environment.query_faults import QueryFault, find_query_fault
from trustee_jax.environment.solvability import missing_values, needed_values, unfit_values
from trustee_jax.environment.task import Task
from trustee_jax.environment.world import Records, unique_records
from trustee_jax.errors import ConfigError
from trustee_jax.simulator.prompts import EXAMPLE_TASK
from trustee_jax.simulator.schemas import planned_task_schema, task_schema, world_schema
from trustee_jax.simulator.simulator import (
    Failure,
    Key,
    SimulatorError,
    Usage,
    tool_fields,
)
from trustee_jax.streams import Purpose
from trustee_jax.toolsets import Tool, ToolRepository

_TURNS_TO_ASK = 3  # of the assistant: to ask, to call, to tell

# What a small model falls into: A10101010101010. A million has as many zeros, but is shorter.
_LOOP = re.compile(r"(.{1,24}?)\1{4,}", re.DOTALL)
_LOOP_LENGTH = 12  # characters

Rejection = Literal[
    "blank",
    "loop",
    "names_tool",
    "missing_value",
    "unfit_value",
    "unsaid_value",
    QueryFault,
    "near_copy",
]
REJECTIONS: tuple[Rejection, ...] = get_args(Rejection)
"""Why a task that was written is refused: blank, a text is empty; loop, a text repeats a piece of
itself over and over; names_tool, the query names a tool; missing_value, the intent lacks a value
that an expected call needs; unfit_value, its tool takes no such value; unsaid_value, the query
lacks one, although it is to be clear or nobody has a turn to ask for it; assistant_voice and
other_wish, see `find_query_fault`; near_copy, it repeats a recent task or the prompt's example."""


def check_tools(repository: ToolRepository, curriculum: CurriculumConfig) -> None:
    """Whether `draw_tools` has what every task of a curriculum asks for.

    Raises:
      ConfigError: Irrelevant tools are asked for, and there is no other category to take them from.
    """
    if curriculum.irrelevance and len(repository.categories) < 2:
        fix = "give tools of two or more categories, or 0: irrelevant tools are of another one"
        raise ConfigError("curriculum.irrelevance", curriculum.irrelevance, fix)


def draw_tools(
    repository: ToolRepository, rng: np.random.Generator, aspects: Aspects
) -> tuple[tuple[Tool, ...], tuple[Tool, ...]]:
    """Draws the tools that a task is written about, and those that the policy is offered.

    They are the same unless the task has irrelevant tools: then the policy is offered tools of
    another category (function masking, arXiv 2410.04587, takes the right one away; what is left of
    its category may still do).

    Args:
      repository: Where they are drawn from.
      rng: The only source of randomness.
      aspects: How many, and whether they are relevant.

    Raises:
      ValueError: There is no other category; see `check_tools`.
      ToolError: A stored repository is damaged where a drawn tool lies.
    """
    tools = repository.sample(rng, aspects.tools)
    if not aspects.irrelevant:
        return tools, tools
    return tools, repository.sample(rng, aspects.tools, unlike=tools[0].category)


def generate_task(
    environment: Environment,
    tools: Sequence[Tool],
    aspects: Aspects,
    key: Key,
    *,
    offered: Sequence[Tool] | None = None,
    recent: RecentTasks | None = None,
    rejections: collections.Counter[str] | None = None,
    usage: Usage | None = None,
) -> Generator[Request, Completion, Task | Failure]:
    """Coroutine that writes one task, and the records behind its tools.

    Args:
      environment: Its options, and the simulator that writes.
      tools: The tools that it is written about, all of one category.
      aspects: What the task shall be like.
      key: (step, task, attempt); the same triple may be used for an episode, not for another task.
      offered: Those of the policy where they are others (`draw_tools`).
      recent: Tasks that this one must not repeat; only read.
      rejections: Is added to: tasks that were written and refused, by reason (`REJECTIONS`).
      usage: Is added to.

    Returns:
      The task, or why there is none: draw anew and ask under another key.
    """
    config, simulator = environment.config, environment.simulator
    text_limit = simulator.config.text_limit
    rejections = rejections if rejections is not None else collections.Counter()
    names = tuple(tool.name for tool in tools)
    values = {tool.name: needed_values(tool) for tool in tools} if config.check_tasks else None

    def check(answer: dict[str, Any]) -> str | None:
        found = _rejection(answer, tools, aspects, config, recent)
        if found is None:
            return None
        rejections[found[0]] += 1
        return found[1]

    try:
        answer = yield from simulator.ask(
            "task",
            {
                "tools": tool_fields(tools),
                "category": tools[0].category,
                "values": values,
                "example": _example(values is not None),
            }
            | aspects.requested,
            task_schema(names, aspects.calls, text_limit)
            if values is None
            else planned_task_schema(values, aspects.calls, text_limit),
            (Purpose.TASK, *key),
            check=check,
            usage=usage,
        )
        world = None
        # What real tools find nobody has to make up.
        simulated = [tool for tool in tools if tool.name not in environment.backends]
        if config.world.enabled and simulated and not aspects.irrelevant:
            world = yield from _write_world(environment, simulated, answer, key, usage)
    except SimulatorError as error:
        return error.failure
    calls = () if aspects.irrelevant else answer["expected_calls"]
    planned = [call for call in calls if isinstance(call, dict)]
    return Task(
        tools=tuple(offered or tools),
        aspects=aspects,
        persona=answer["persona"].strip(),
        intent=answer["intent"].strip(),
        expected_calls=tuple(_call_name(call) for call in calls),
        query=answer["query"].strip(),
        expected_values=tuple(dict(call["values"]) for call in planned),
        world=world,
    )


def _write_world(
    environment: Environment,
    tools: Sequence[Tool],
    task: Mapping[str, Any],
    key: Key,
    usage: Usage | None,
) -> Generator[Request, Completion, Records]:
    options = environment.config.world
    names = {tool.name for tool in tools}
    answer = yield from environment.simulator.ask(
        "world",
        {
            "tools": tool_fields(tools),
            "intent": task["intent"],
            "expected_calls": [c for c in task["expected_calls"] if _call_name(c) in names],
            "collections": options.collections,
            "records": options.records,
        },
        world_schema(options.collections, options.records, options.fields, 48),
        (Purpose.WORLD, *key),
        usage=usage,
    )
    return unique_records(answer)


def _call_name(call: Any) -> str:
    return str(call["name"] if isinstance(call, dict) else call)


def _example(planned: bool) -> dict[str, Any]:
    calls = EXAMPLE_TASK["expected_calls"]
    return EXAMPLE_TASK | {"expected_calls": calls if planned else [c["name"] for c in calls]}


def _rejection(
    answer: Mapping[str, Any],
    tools: Sequence[Tool],
    aspects: Aspects,
    config: EnvironmentConfig,
    recent: RecentTasks | None,
) -> tuple[Rejection, str] | None:
    """What is wrong with a task that fits its schema: the reason's name and its text."""
    for field in ("persona", "intent", "query"):
        if not answer[field].strip():
            return "blank", f"the {field} is blank"
        if (loop := _LOOP.search(answer[field])) and len(loop[0]) >= _LOOP_LENGTH:
            return "loop", f"the {field} repeats {loop[1]!r}"
    for tool in tools:
        # A name like "search" is also a word; one like "search_hotels" no user would write.
        if not re.fullmatch(r"[A-Za-z]?[a-z]*", tool.name) and re.search(
            rf"(?<!\w){re.escape(tool.name)}(?!\w)", answer["query"], re.IGNORECASE
        ):
            return "names_tool", f"the query names the tool {tool.name!r}"
    planned = answer["expected_calls"] if config.check_tasks else []
    if lacking := missing_values(planned, answer["intent"]):
        return "missing_value", f"the intent lacks {', '.join(lacking)}"
    if unfit := unfit_values(planned, tools):
        return "unfit_value", "; ".join(unfit)
    if config.check_queries:
        clear = aspects.ambiguity == 0
        if found := find_query_fault(answer["query"], answer["intent"], planned, clear=clear):
            return found
        askable = not clear and aspects.reachable_turns >= _TURNS_TO_ASK
        if not askable and (unsaid := missing_values(planned, answer["query"])):
            return "unsaid_value", f"the query lacks {', '.join(unsaid)}"
    if recent is not None and recent.size:
        text = f"{answer['intent']}\n{answer['query']}"
        example = f"{EXAMPLE_TASK['intent']}\n{EXAMPLE_TASK['query']}"
        if max(recent.nearest(text), similarity(text, example)) >= recent.threshold:
            return "near_copy", "it repeats a recent task or the prompt's example"
    return None
