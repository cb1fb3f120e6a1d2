"""Changes to a recorded episode that keep its dialogue, its changes and its world consistent."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trustee_jax.chat import attempts
from trustee_jax.environment import CallRecord, Change, Evidence, read_calls
from trustee_jax.environment.world import (
    ImpossibleChange,
    Records,
    apply_changes,
    unique_records,
)
from trustee_jax.simulator.transcript import call_text

Operation = dict[str, Any]
Messages = list[Mapping[str, Any]]


def final_text(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of the last message; None if it is not one of the assistant, or makes calls."""
    last = messages[-1]
    if last["role"] != "assistant" or last.get("tool_calls") or last.get("malformed_calls"):
        return None
    return (last.get("content") or "").strip() or None


def words(value: Any) -> set[str]:
    """The words and numbers of a value's text, in small letters."""
    return set(re.findall(r"\w+", str(value).casefold()))


def with_final_text(evidence: Evidence, text: str) -> Evidence:
    """The episode with another text in its last message."""
    messages = [*evidence.messages[:-1], {**evidence.messages[-1], "content": text}]
    return dataclasses.replace(evidence, messages=messages)


def with_messages(evidence: Evidence, messages: Sequence[Mapping[str, Any]]) -> Evidence:
    """The episode with other messages, and the calls that they make."""
    calls = read_calls(evidence.task.tools, messages)
    return dataclasses.replace(evidence, messages=messages, calls=calls)


def _answer_place(evidence: Evidence, call: CallRecord) -> int:
    """Index of the message that answers a call; -1 if none does."""
    ids = [message.get("tool_call_id") for message in evidence.messages]
    return ids.index(call.id) if call.id in ids else -1


def _made(messages: Sequence[Mapping[str, Any]], call: CallRecord) -> dict[str, Any]:
    """The call within its message."""
    return next(made for made in messages[call.message]["tool_calls"] if made["id"] == call.id)


def without_call(evidence: Evidence, call: CallRecord) -> Evidence | None:
    """The episode without a call, its answer and what it changed.

    None if it cannot be told what it changed, or a later call changed what it had added.
    """
    undone = without_changes(evidence, call)
    if undone is None:
        return None
    messages: Messages = []
    for index, message in enumerate(evidence.messages):
        if message.get("tool_call_id") == call.id:
            continue
        if index == call.message:
            message = _without_attempt(message, call.id)
            if not (message.get("content") or attempts(message)):
                continue
        messages.append(dict(message))
    return with_messages(undone, messages)


def without_changes(evidence: Evidence, call: CallRecord) -> Evidence | None:
    """The episode as if a call had changed nothing; None as for `without_call`."""
    return _replayed(evidence, call, lambda operation: None)


def with_argument(
    evidence: Evidence, call: CallRecord, path: Sequence[str | int], value: Any
) -> Evidence | None:
    """The episode with another value in the arguments of a call, whose result stays.

    What the call changed follows the arguments: where a record got the old value it gets the new
    one, and where the old value was the changed record's id, another record is changed.

    Args:
      evidence: The episode.
      call: The call.
      path: Where the value stands in the arguments.
      value: The new value.

    Returns:
      The episode; None as for `without_call`, or if the world does not allow the change.
    """
    arguments = json.loads(json.dumps(call.arguments))
    holder: Any = arguments
    for step in path[:-1]:
        holder = holder[step]
    old, holder[path[-1]] = holder[path[-1]], value

    def follow(operation: Operation) -> Operation:
        fields = operation.get("fields", {})
        return {
            **operation,
            "id": value if _same(operation["id"], old) else operation["id"],
            "fields": {name: value if _same(x, old) else x for name, x in fields.items()},
        }

    changed = _replayed(evidence, call, follow, call_text(call.name, arguments))
    if changed is None:
        return None
    messages: Messages = list(evidence.messages)
    messages[call.message] = json.loads(json.dumps(messages[call.message]))
    function = _made(messages, call)["function"]
    as_text = isinstance(function["arguments"], str)
    function["arguments"] = json.dumps(arguments, ensure_ascii=False) if as_text else arguments
    return with_messages(changed, messages)


def with_answer(evidence: Evidence, call: CallRecord, content: str) -> Evidence:
    """The episode with another answer to a call."""
    messages: Messages = list(evidence.messages)
    place = _answer_place(evidence, call)
    messages[place] = {**messages[place], "content": content}
    return with_messages(evidence, messages)


def called_again(evidence: Evidence, call: CallRecord) -> Evidence:
    """The episode with a call made a second time, alike and with the same answer."""
    made, place = _made(evidence.messages, call), _answer_place(evidence, call)
    id = f"{call.id}_again"
    again: Messages = [
        {"role": "assistant", "content": "", "tool_calls": [{**made, "id": id}]},
        {**evidence.messages[place], "tool_call_id": id},
    ]
    end = place + 1
    while end < len(evidence.messages) and evidence.messages[end]["role"] == "tool":
        end += 1
    return with_messages(evidence, [*evidence.messages[:end], *again, *evidence.messages[end:]])


def replay(world: Records, changes: Sequence[Change]) -> Records:
    """The records at the end of an episode.

    Args:
      world: The records at its start.
      changes: All changes, in order.

    Raises:
      ImpossibleChange: The records do not allow one.
    """
    return _apply(unique_records(world), _operations(world, changes))[0]


def _without_attempt(message: Mapping[str, Any], id: str) -> dict[str, Any]:
    """The message without one of its calls; malformed ones after it move up a place."""
    kept = [made for made in attempts(message) if made.get("id") != id]
    fields = {
        "tool_calls": [made for made in kept if "problem" not in made],
        "malformed_calls": [
            {**made, "place": place} for place, made in enumerate(kept) if "problem" in made
        ],
    }
    others = {key: value for key, value in message.items() if key not in fields}
    return others | {key: value for key, value in fields.items() if value}


def _replayed(
    evidence: Evidence,
    call: CallRecord,
    edit: Callable[[Operation], Operation | None],
    text: str | None = None,
) -> Evidence | None:
    """The episode with what one call changed edited, dropped where `edit` returns None."""
    alike = [other for other in evidence.calls if other.text == call.text]
    if len(alike) > 1 and any(change.call == call.text for change in evidence.changes):
        return None  # Which of them made the changes is not recorded.
    if evidence.world is None or evidence.task.world is None:
        return evidence
    edited: list[tuple[str, Operation]] = []
    try:
        for made_by, operation in _operations(evidence.task.world, evidence.changes):
            if made_by != call.text:
                edited.append((made_by, operation))
            elif (new := edit(operation)) is not None:
                edited.append((text or made_by, new))
        records, changes = _apply(unique_records(evidence.task.world), edited)
    except ImpossibleChange:
        return None
    return dataclasses.replace(evidence, world=records, changes=tuple(changes))


def _operations(world: Records, changes: Sequence[Change]) -> list[tuple[str, Operation]]:
    """Each change as what was set, rather than the whole record that came of it."""
    records = unique_records(world)
    operations = []
    for change in changes:
        fields = {name: value for name, value in change.record.items() if name != "id"}
        if change.operation == "update":
            before = next(
                (row for row in records.get(change.collection, []) if row["id"] == change.id), {}
            )
            fields = {k: v for k, v in fields.items() if k not in before or before[k] != v}
        operation: Operation = {
            "operation": change.operation,
            "collection": change.collection,
            "id": change.id,
            "fields": fields,
        }
        records, _ = apply_changes(records, [operation])
        operations.append((change.call, operation))
    return operations


def _apply(
    records: Records, operations: Sequence[tuple[str, Operation]]
) -> tuple[Records, list[Change]]:
    changes: list[Change] = []
    for call, operation in operations:
        records, done = apply_changes(records, [operation], call)
        changes += done
    return records, changes


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
