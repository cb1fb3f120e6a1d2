"""What answers a call: the seam between an episode and its tools."""

import copy
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trustee_jax.engine.types import Request
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.invocations import Invocation, InvocationError
from trustee_jax.environment.records import Counts
from trustee_jax.environment.task import Task
from trustee_jax.environment.world import World
from trustee_jax.simulator.simulator import Key, Usage
from trustee_jax.text import compact_json, without_surrogates

Answer = dict[str, Any] | str
"""The JSON object of an answer, or any answer as one line of JSON."""


@dataclass(eq=False)
class CallContext:
    """What a backend may know of the episode, and adds to.

    Attributes:
      task: The task.
      key: What the episode's samples depend on: (step, task, episode).
      messages: The dialogue so far, in the OpenAI form, with the turn that calls.
      world: The records behind the simulated tools; None where there are none.
      counts: The episode's numbers.
      usage: What the simulator served.
      number: Of the call that is answered, among the episode's executed ones, from 0.
    """

    task: Task
    key: Key
    messages: Sequence[Mapping[str, Any]]
    world: World | None = None
    counts: Counts = field(default_factory=Counts)
    usage: Usage = field(default_factory=Usage)
    number: int = 0


class ToolBackend(Protocol):
    """Answers calls of the tools that it stands behind, of all episodes."""

    def answer(
        self, call: CallRecord, context: CallContext
    ) -> Generator[Request | Invocation, Any, Answer]:
        """Coroutine that answers one call.

        What goes wrong with the call is an answer, too: an object with a field `error`.

        Args:
          call: A call of an offered tool, whose arguments fit; only the simulator gets others, too,
            where environment.check_calls is off.
          context: The episode that it is made in.

        Raises:
          SimulatorError: The answer had to come from a model that failed: the episode is invalid.
        """


class Toolbox:
    """Who answers the calls of which tool."""

    def __init__(self, simulated: ToolBackend, real: Mapping[str, ToolBackend]):
        """Takes the backends.

        Args:
          simulated: Answers calls of all other tools.
          real: By tool.
        """
        self._simulated = simulated
        self._real = real

    def answer(
        self, call: CallRecord, context: CallContext
    ) -> Generator[Request | Invocation, Any, Answer]:
        """Coroutine that answers one call; see `ToolBackend`.

        No real tool is called in a way that does not fit, or that the task does not offer.
        """
        if call.problem is not None and call.name in self._real:
            return {"error": call.problem}
        backend = self._real.get(call.name, self._simulated)
        context.number = context.counts.executed_calls
        context.counts.executed_calls += 1
        return (yield from backend.answer(call, context))


def invoke(
    function: Callable[[dict[str, Any]], Any], call: CallRecord, deadline: float
) -> Generator[Invocation, Any, Answer]:
    """Coroutine that answers a call by what a function makes of its arguments, in a thread.

    Answers are not expected to repeat: where a run that goes on from a checkpoint asks again, it
    may be told something else, and what the policy samples after that differs, too.

    Args:
      function: Gets the arguments, a copy.
      call: The call.
      deadline: Seconds.

    Returns:
      The result; {"error": "ValueError: ..."} for whatever it raised, {"error": "timed out after
      5 s"} past the deadline.
    """
    arguments = copy.deepcopy(call.arguments)
    try:
        answer: str = yield Invocation(lambda: json_line(function(arguments)), deadline)
    except InvocationError as error:
        return {"error": without_surrogates(str(error))}
    return answer


def json_line(value: Any) -> str:
    """Any value as one line of JSON.

    A text that is JSON of an object or a list stays so; what JSON has no form for is told as a
    text, as `str` has it.
    """
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
            value = parsed if isinstance(parsed, dict | list) else value
        except (ValueError, RecursionError):
            pass
    try:
        line = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str
        )
    except (TypeError, ValueError, RecursionError):  # keys, NaN and circles
        line = compact_json(str(value))
    return without_surrogates(line)
