"""Recorded episodes as evidence, and which of them are clean, told without the model under test."""

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustee_jax.audit.dialogue import final_text, words
from trustee_jax.environment import Change, Evidence, Task
from trustee_jax.environment.judges.rules import find_violations
from trustee_jax.errors import InputError
from trustee_jax.training.records import read_episodes

GOLD = Path(__file__).with_name("gold_episodes.jsonl")
"""Episodes written by hand that meet all five criteria; fields as in a run's episodes.jsonl."""

# Characters of an answer from which it may be called long-winded.
_LONG_ANSWER = 400


class AuditError(InputError):
    """Episodes cannot be used; the message says which, and what to do."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A recorded episode.

    Attributes:
      name: File and line, for a reader.
      evidence: What a verifier may know of it.
      flaw: Why it may not count as clean; None if it is.
    """

    name: str
    evidence: Evidence
    flaw: str | None


def read_recorded(path: Path) -> list[Recorded]:
    """Reads a file of episodes; those that were broken off are left out.

    Raises:
      AuditError: The file does not exist, or a line is no episode; names the line and the field.
    """
    if not path.is_file():
        raise AuditError(f"{path}: no such file; name a run's episodes.jsonl, or use --gold")
    recorded = []
    try:
        for number, episode in enumerate(read_episodes(path), start=1):
            if episode.get("ended") is not None:
                recorded.append(
                    _recorded(f"{path.name}:{number}", episode, f"{path}, line {number}")
                )
    except ValueError as error:
        raise AuditError(str(error)) from None
    return recorded


def clean_episodes(recorded: Iterable[Recorded], source: str) -> list[Recorded]:
    """The clean ones of recorded episodes.

    Raises:
      AuditError: There are none; counts what is wrong with them.
    """
    listed = list(recorded)
    clean = [one for one in listed if one.flaw is None]
    if clean:
        return clean
    counted = collections.Counter(str(one.flaw) for one in listed).most_common()
    flaws = "; ".join(f"{count} x {flaw}" for flaw, count in counted) or "there are none"
    raise AuditError(
        f"{source}: none of its {len(listed)} episodes is clean for certain ({flaws}). Pick some "
        "by hand with --clean=FILE, or use --gold"
    )


def find_flaw(evidence: Evidence) -> str | None:
    """Why code cannot vouch that an episode meets all criteria; None if it can.

    Clean is an episode that the user ended after an answer, in which each expected call was carried
    out, without an error and with the expected values, in which there is no other call, nothing
    that `find_violations` objects to, and no long message. What is left unseen is a wrong statement
    without numbers and codes.
    """
    task, messages = evidence.task, evidence.messages
    if evidence.ended != "user":
        return "the user did not end it"
    if final_text(messages) is None:
        return "it has no final answer"
    calls = evidence.calls
    if not all(call.succeeded for call in calls) or any(m.get("malformed_calls") for m in messages):
        return "a call failed"
    if not task.expected_calls or collections.Counter(call.name for call in calls) != (
        collections.Counter(task.expected_calls)
    ):
        return "the calls are not the expected ones"
    for name, values in zip(task.expected_calls, task.expected_values, strict=False):
        if not any(_holds(call.arguments, values) for call in calls if call.name == name):
            return "an expected value is not among the arguments"
    if find_violations(evidence):
        return "a deterministic check objects"
    texts = [m.get("content") or "" for m in messages if m["role"] == "assistant"]
    if max(map(len, texts)) > _LONG_ANSWER:
        return "a message is long"
    return None


def _recorded(name: str, episode: Mapping[str, Any], place: str) -> Recorded:
    try:
        evidence = Evidence.read(
            Task.from_json(episode["task"]),
            episode["messages"],
            episode["ended"],
            world=episode.get("world"),
            changes=tuple(Change.from_json(change) for change in episode.get("changes") or ()),
        )
        flaw = find_flaw(evidence) if episode.get("valid", True) else "it is not valid"
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"lacks the field {error}" if isinstance(error, KeyError) else f"is none ({error})"
        raise AuditError(f"{place}: this episode {what}; name a file that a run wrote") from None
    return Recorded(name, evidence, flaw)


def _holds(arguments: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether every expected value stands in its argument, whatever its spelling of case."""
    return all(words(value) <= words(arguments.get(name, "")) for name, value in values.items())
