"""Tools that the frozen model plays, kept consistent by the records of the episode's world."""

from collections.abc import Container, Generator
from typing import Any

from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.config import EnvironmentConfig
from trustee_jax.environment.tools.backend import Answer, CallContext
from trustee_jax.environment.world import ImpossibleChange, World, apply_changes
from trustee_jax.simulator.schemas import changing_result_schema, result_schema
from trustee_jax.simulator.simulator import Simulator, tool_fields
from trustee_jax.simulator.transcript import is_error
from trustee_jax.streams import Purpose


class SimulatedTools:
    """Any tool, by its description."""

    def __init__(self, simulator: Simulator, config: EnvironmentConfig, real: Container[str] = ()):
        """Takes the players.

        Args:
          simulator: The frozen model.
          config: The options that say what it is told.
          real: Names of tools that others answer.
        """
        self._simulator = simulator
        self._config = config
        self._real = real

    def answer(
        self, call: CallRecord, context: CallContext
    ) -> Generator[Request, Completion, Answer]:
        """Coroutine that answers one call; see `ToolBackend`.

        A read that is repeated while nothing has changed gets the earlier result.
        """
        world, limit = context.world, self._config.tool_result_limit
        if world is not None and (known := world.recall(call.name, call.arguments)) is not None:
            context.counts.repeated_reads += 1
            return known
        schema = result_schema(limit)
        if world is not None:
            options = self._config.world
            ids = {name: [row["id"] for row in rows] for name, rows in world.records.items()}
            schema = changing_result_schema(limit, ids, options.changes, options.fields)
        answer = yield from self._simulator.ask(
            "tool",
            {
                "tools": tool_fields(context.task.tools),
                "intent": context.task.intent if self._config.show_intent else None,
                "world": world.lines() if world is not None else None,
                "real": [tool.name for tool in context.task.tools if tool.name in self._real],
                "call": call.text,
            },
            schema,
            (Purpose.TOOL, *context.key, context.number),
            messages=context.messages,
            check=lambda answer: _object(world, answer),
            usage=context.usage,
        )
        if world is None:
            return answer
        result: dict[str, Any] = answer["result"]
        before = len(world.changes)
        world.change(answer["changes"], call.text)
        if len(world.changes) == before:
            world.remember(call.name, call.arguments, result)
        return result


def _object(world: World | None, answer: dict[str, Any]) -> str | None:
    """What is wrong with an answer that says nothing, or with changes the world does not allow."""
    result = answer if world is None else answer["result"]
    if set(result) == {"error"} and not is_error(result):
        # Small models like to fail a call without saying why: {"error": []}.
        return "an error has a reason"
    if world is None:
        return None
    if is_error(result) and answer["changes"]:
        return "a failed call changes nothing"
    try:
        apply_changes(world.records, answer["changes"])
    except ImpossibleChange as error:
        return str(error)
    return None
