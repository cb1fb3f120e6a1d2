"""What an episode leaves behind."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from trustee_jax.chat import TokenSequence
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.task import Task
from trustee_jax.environment.verdict import Verdict
from trustee_jax.environment.world import Change, Records
from trustee_jax.simulator.simulator import causes_of
from trustee_jax.simulator.transcript import events

End = Literal["user", "user_turns", "assistant_turns", "tool_turns", "length", "context", "empty"]
"""How a dialogue came to its end; all of these are graded.

user: the user had nothing more to say. user_turns, assistant_turns, tool_turns: the policy's last
message would have needed one turn more than allowed; its calls, if any, were not executed. length:
the policy's message was cut at its limit. context: the policy's context was full. empty: the
policy wrote neither text nor call.
"""

INVALID_CAUSES = (
    "prompt_too_long",
    "policy_refused",
    "judge_error",
    *causes_of("user", "tool", "verifier"),
)
"""Why an episode says nothing about the policy: prompt_too_long, the opening alone fills the
context; policy_refused, the engine refused a request of the policy;
judge_error, a judge raised an exception or gave no verdict; else a simulator's role and
`Failure.problem`."""


@dataclass
class Counts:
    """Numbers of one episode.

    Attributes:
      assistant_turns: Messages of the policy.
      user_turns: Messages of the user after the first query.
      tool_turns: Turns in which tools answered.
      calls: Well-formed calls, executed or not.
      valid_calls: Those of an offered tool with arguments that fit its schema.
      malformed_calls: Attempts that were no calls.
      unmarked_calls: Calls of an offered tool written as mere text, which nothing answers.
      executed_calls: Calls that a tool answered, a real or a simulated one.
      repeated_reads: Executed calls among them whose earlier result was repeated verbatim.
      changes: Records that calls added, updated or removed.
      unanswered_calls: Well-formed or not, past the limit of parallel calls or of turns.
      policy_tokens: Tokens that the policy sampled.
      context_tokens: Length of the policy's context at the end.
      user_echo: Messages of the user that were refused: they repeat the assistant's last message.
      user_repeat: They repeat one of the user's own.
      user_recital: They say what the prompt says.
      user_label: They have a label of the prompt; see `USER_FAULTS`.
      simulator_tokens: Tokens that the simulator sampled.
      simulator_requests: Requests to the simulator.
      simulator_retries: Requests among them that repeated an unusable answer.
    """

    assistant_turns: int = 0
    user_turns: int = 0
    tool_turns: int = 0
    calls: int = 0
    valid_calls: int = 0
    malformed_calls: int = 0
    unmarked_calls: int = 0
    executed_calls: int = 0
    repeated_reads: int = 0
    changes: int = 0
    unanswered_calls: int = 0
    policy_tokens: int = 0
    context_tokens: int = 0
    user_echo: int = 0
    user_repeat: int = 0
    user_recital: int = 0
    user_label: int = 0
    simulator_tokens: int = 0
    simulator_requests: int = 0
    simulator_retries: int = 0


@dataclass(frozen=True, eq=False)
class Episode:
    """One finished episode.

    Attributes:
      task: The task.
      key: What its samples depended on.
      messages: The dialogue in the OpenAI form, for display and the verifier's transcript;
        `reasoning_content` holds private thoughts, `malformed_calls` attempts that were no calls
        (see `AssistantTurn.message`), `unmarked_calls` the tools that the text calls without the
        form of a call.
      calls: The well-formed calls and what came of them.
      sequences: The tokens to train on.
      ended: How the dialogue ended; None if the episode was broken off.
      verdict: By parts; None if invalid, or if no call fits a tool, which needs no verdict.
      reward: In [-1, 1], of the verdict's parts alone -1, 0 or 1; None if invalid.
      cause: Why it is invalid, one of `INVALID_CAUSES`; None if valid.
      detail: What exactly went wrong, for a reader.
      counts: The numbers.
      world: The records at the end; None where there were none.
      changes: What calls changed.
      segments: Per sequence, (tokens, text) of each run of tokens; text is what the policy sampled
        and is trained on, None for context.
    """

    task: Task
    key: tuple[int, ...]
    messages: tuple[dict[str, Any], ...]
    calls: tuple[CallRecord, ...]
    sequences: tuple[TokenSequence, ...]
    ended: End | None
    verdict: Verdict | None
    reward: float | None
    cause: str | None = None
    detail: str = ""
    counts: Counts = field(default_factory=Counts)
    world: Records | None = None
    changes: tuple[Change, ...] = ()
    segments: tuple[tuple[tuple[int, str | None], ...], ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the reward says something about the policy."""
        return self.cause is None

    def to_json(self) -> dict[str, Any]:
        """Returns all but the token ids as plain JSON values, for the file of episodes.

        `lines` says what the lines of the transcript show, which a verdict refers to; see `events`.
        """
        return {
            "key": list(self.key),
            "reward": self.reward,
            "valid": self.valid,
            "cause": self.cause,
            "detail": self.detail,
            "ended": self.ended,
            "verdict": self.verdict.to_json() if self.verdict else None,
            "task": self.task.to_json(),
            "messages": list(self.messages),
            "lines": [list(event) for event in events(self.messages)],
            "calls": [call.to_json() for call in self.calls],
            "world": self.world,
            "changes": [change.to_json() for change in self.changes],
            "segments": [[list(run) for run in sequence] for sequence in self.segments],
            "counts": dataclasses.asdict(self.counts),
        }
