"""Episodes as compressed chunks that a browser opens one at a time, and an index over all."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trustee_jax.report.episodes import Json
from trustee_jax.text import compact_json

_CHUNK_CHARACTERS = 1 << 20
_QUERY_CHARACTERS = 160


def compress(value: Any) -> str:
    """JSON, gzipped, as base64, which is safe inside a script element.

    A lone surrogate, which UTF-8 cannot write, stays an escape of JSON; NaN and infinities, which
    JSON lacks though Python reads them, become null.
    """
    try:
        text = compact_json(value, allow_nan=False)
    except ValueError:
        text = compact_json(json.loads(json.dumps(value), parse_constant=lambda _: None))
    data = text.encode("utf-8", "backslashreplace")
    return base64.b64encode(gzip.compress(data, compresslevel=9, mtime=0)).decode("ascii")


class Names:
    """Texts that repeat, each kept once and known by its place."""

    def __init__(self) -> None:
        """Starts without names."""
        self._places: dict[str, int] = {}

    def place(self, name: str) -> int:
        """The place of a name, a new one if need be."""
        return self._places.setdefault(name, len(self._places))

    def list(self) -> list[str]:
        """All names in their places."""
        return list(self._places)


class Index:
    """What the list of episodes shows and filters by, in columns.

    Attributes:
      chunks: How many episodes each chunk holds.
    """

    def __init__(self) -> None:
        """Starts without episodes."""
        self.chunks: list[int] = []
        self._columns: dict[str, list[Any]] = {}
        self._names = {
            kind: Names() for kind in ("cause", "ended", "category", "tool", "criterion")
        }
        self._keys: dict[str, int] = {}

    def add(self, episode: Mapping[str, Any]) -> None:
        """Adds a row for a normalised episode."""
        key = episode["key"]
        repeats = self._keys[key] = self._keys.get(key, 0) + 1
        task, counts, verdict = episode["task"], episode["counts"], episode["verdict"]
        calls = [call for message in episode["messages"] for call in message.get("calls", ())]
        criteria = verdict["criteria"] if verdict else {}
        verdicts = [verdict, *verdict.get("judges", ())] if verdict else []
        tools = self._names["tool"]
        row = {
            # A key names one episode in a link, so it must be the only one.
            "key": key if repeats == 1 else f"{key}.{repeats}",
            "step": episode["step"],
            "reward": episode["reward"],
            "cause": self._place("cause", episode["cause"]),
            "ended": self._place("ended", episode["ended"]),
            "category": self._place("category", task["category"]),
            "offered": [tools.place(tool["name"]) for tool in task["tools"]],
            "called": sorted({tools.place(call["name"]) for call in calls}),
            "unmet": [self._place("criterion", name) for name, met in criteria.items() if not met],
            "vetoed": any(one["vetoes"] for one in verdicts),
            "malformed": any("malformed" in message for message in episode["messages"]),
            "unmarked": any("unmarked" in message for message in episode["messages"]),
            "difficulty": task["aspects"].get("difficulty"),
            "turns": counts.get("assistant_turns", _roles(episode, "assistant")),
            "calls": counts.get("calls", len(calls)),
            "tokens": counts.get("policy_tokens"),
            "query": task["query"][:_QUERY_CHARACTERS],
        }
        for name, value in row.items():
            self._columns.setdefault(name, []).append(value)

    def to_json(self) -> Json:
        """Columns, the names that their numbers stand for, and the sizes of the chunks."""
        return {
            "columns": self._columns,
            "names": {kind: names.list() for kind, names in self._names.items()},
            "chunks": self.chunks,
        }

    def _place(self, kind: str, name: str | None) -> int | None:
        return None if name is None else self._names[kind].place(name)


def pack(episodes: Iterable[Json], index: Index) -> Iterator[str]:
    """Compresses episodes into chunks and enters them into the index.

    A chunk stands alone: {"tools", "tasks", "episodes"}, where episodes of a group name their task,
    and tasks their tools, by their place in the chunk. No more than one chunk is in memory.

    Args:
      episodes: Normalised.
      index: Is added to.

    Yields:
      The text of a chunk, see `compress`.
    """
    tools, tasks, packed, size = Names(), Names(), [], 0
    for episode in episodes:
        index.add(episode)
        task = episode["task"] | {
            "tools": [tools.place(json.dumps(tool)) for tool in episode["task"]["tools"]]
        }
        packed.append(episode | {"task": tasks.place(json.dumps(task))})
        size += len(json.dumps(packed[-1]))
        if size >= _CHUNK_CHARACTERS:
            yield _chunk(tools, tasks, packed, index)
            tools, tasks, packed, size = Names(), Names(), [], 0
    if packed:
        yield _chunk(tools, tasks, packed, index)


def _chunk(tools: Names, tasks: Names, episodes: list[Json], index: Index) -> str:
    index.chunks.append(len(episodes))
    return compress(
        {
            "tools": [json.loads(tool) for tool in tools.list()],
            "tasks": [json.loads(task) for task in tasks.list()],
            "episodes": episodes,
        }
    )


def _roles(episode: Mapping[str, Any], role: str) -> int:
    return sum(message["role"] == role for message in episode["messages"])
