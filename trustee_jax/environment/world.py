"""The records behind the tools: what exists, what calls change, what a repeated read returns.

A world is a small set of collections, each a list of flat records with an `id`. The task generator
writes the first one; from then on only code changes it, by the typed changes that come with a tool
result, so that a tool cannot contradict what an earlier call has done.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trustee_jax.text import compact_json

Records = dict[str, list[dict[str, Any]]]
Operation = Literal["add", "update", "remove"]


class ImpossibleChange(ValueError):
    """A change that the records do not allow; the message says why."""


@dataclass(frozen=True, eq=False)
class Change:
    """One change that a call made.

    Attributes:
      call: The call, as name(arguments).
      operation: What was done.
      collection: The collection's name.
      id: The record's id.
      record: The record, after it was added or updated, or before it was removed.
    """

    call: str
    operation: Operation
    collection: str
    id: str
    record: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the change as plain JSON values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Change":
        """Reads what `to_json` returned; raises KeyError for a missing field."""
        return cls(**{name: value[name] for name in cls.__dataclass_fields__})


def unique_records(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> Records:
    """Copies records; of several with one id in a collection the first stays."""
    result: Records = {}
    for collection, listed in records.items():
        first: dict[str, dict[str, Any]] = {}
        for record in listed:
            first.setdefault(record["id"], dict(record))
        result[collection] = list(first.values())
    return result


def apply_changes(
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    changes: Sequence[Mapping[str, Any]],
    call: str = "",
) -> tuple[Records, list[Change]]:
    """Applies changes in order, all of them or none.

    Args:
      records: The records; not modified.
      changes: {operation, collection, id} and, unless a record is removed, fields.
      call: The call that makes them.

    Returns:
      The new records, and the changes that had an effect.

    Raises:
      ImpossibleChange: One updates or removes what is not there, adds what is there already, or is
        no change at all.
    """
    result: Records = copy.deepcopy({name: [*map(dict, rows)] for name, rows in records.items()})
    done: list[Change] = []
    for change in changes:
        operation: Any = change.get("operation")
        collection, id = change.get("collection"), change.get("id")
        fields = change.get("fields", {})
        if operation not in get_args(Operation) or not isinstance(fields, Mapping):
            raise ImpossibleChange(f"{str(operation)[:40]!r} is no operation on records")
        if not isinstance(collection, str) or not isinstance(id, str) or not id:
            raise ImpossibleChange("a change names a collection and an id")
        rows = result.get(collection, [])
        index = next((i for i, row in enumerate(rows) if row["id"] == id), None)
        if operation == "add":
            if index is not None:
                raise ImpossibleChange(f"{collection} has a record {id!r} already")
            record = {**fields, "id": id}
            result.setdefault(collection, []).append(record)
        elif index is None:
            raise ImpossibleChange(f"{collection} has no record {id!r} to {operation}")
        elif operation == "update":
            record = {**rows[index], **fields, "id": id}
            if record == rows[index]:
                continue
            rows[index] = record
        else:
            record = rows.pop(index)
        done.append(Change(call, operation, collection, id, dict(record)))
    return result, done


class World:
    """The records of one episode.

    Attributes:
      records: As they are now.
      changes: All changes so far, in order.
    """

    def __init__(self, records: Mapping[str, Sequence[Mapping[str, Any]]]):
        """Starts with a copy of the task's records."""
        self.records = unique_records(records)
        self.changes: list[Change] = []
        self._results: dict[str, tuple[int, dict[str, Any]]] = {}

    def change(self, changes: Sequence[Mapping[str, Any]], call: str) -> None:
        """Applies the changes of one call; see `apply_changes`."""
        self.records, done = apply_changes(self.records, changes, call)
        self.changes += done

    def remember(self, name: str, arguments: Mapping[str, Any], result: dict[str, Any]) -> None:
        """Keeps the result of a call that changed nothing, for `recall`."""
        self._results[_key(name, arguments)] = (len(self.changes), result)

    def recall(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """Returns what the same call returned, if nothing has changed since; else None."""
        changes, result = self._results.get(_key(name, arguments), (-1, None))
        return result if changes == len(self.changes) else None

    def lines(self) -> list[str]:
        """The records, one line each, for a prompt."""
        return record_lines(self.records)


def record_lines(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Writes records line by line; an empty collection has a line too."""
    lines = []
    for collection, rows in records.items():
        lines += [f"{collection}: {compact_json(row)}" for row in rows] or [f"{collection}: (none)"]
    return lines


def change_lines(changes: Sequence[Change]) -> list[str]:
    """Writes changes line by line."""
    return [f"{c.operation} in {c.collection}: {compact_json(c.record)}" for c in changes]


def _key(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps([name, arguments], sort_keys=True)
