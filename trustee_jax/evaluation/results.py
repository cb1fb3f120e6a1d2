"""The folder of an evaluation: what was evaluated, and a line for every case that is done."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from trustee_jax.errors import InputError
from trustee_jax.evaluation.board import CATEGORIES
from trustee_jax.evaluation.play import Reading
from trustee_jax.jsonl import JsonLines, read
from trustee_jax.rates import Rate
from trustee_jax.storage import Closing, write_text

_ABSENT = "(nothing)"


class ResultsError(InputError):
    """A folder holds no results, or those of another evaluation."""


@dataclass(frozen=True)
class Verdict:
    """What the official checkers say of an answer.

    Attributes:
      valid: Whether it is right.
      reason: Why not.
    """

    valid: bool
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """A case that is done.

    Attributes:
      id: The case.
      category: Its category.
      verdicts: By reading; of a conversation only that by which it went on.
      texts: The model's words, of each step of each turn.
      tokens: How many were sampled.
      error: What became of the case instead of a verdict of the checkers, which then counts as
        wrong: "refused: ..." where the model could not be asked, "checker: ..." where the checkers
        hung, died or failed over it. Empty otherwise.
    """

    id: str
    category: str
    verdicts: Mapping[Reading, Verdict]
    texts: list[list[str]] = field(default_factory=list)
    tokens: int = 0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Record:
        """Reads what `to_json` returned; other fields are left out."""
        verdicts = {name: Verdict(**verdict) for name, verdict in value["verdicts"].items()}
        names = ("id", "category", "texts", "tokens", "error")
        return cls(verdicts=verdicts, **{name: value[name] for name in names})


@dataclass(frozen=True, eq=False)
class Results:
    """What is in a folder.

    Attributes:
      meta: See `ResultsFolder`.
      records: By case, in the order in which they were done.
    """

    meta: Mapping[str, Any]
    records: Mapping[str, Record]

    def rates(self, reading: Reading) -> dict[str, Rate]:
        """The share of right answers by category, of those that have this reading."""
        counts: dict[str, list[bool]] = {}
        for record in self.records.values():
            if reading in record.verdicts:
                counts.setdefault(record.category, []).append(record.verdicts[reading].valid)
        order = [name for name in CATEGORIES if name in counts]
        return {name: Rate(sum(counts[name]), len(counts[name])) for name in order}

    def only(self, categories: Collection[str]) -> Results:
        """What is of some categories."""
        records = {id: one for id, one in self.records.items() if one.category in categories}
        return Results(self.meta, records)


class SupportsRecord(Protocol):
    """What a folder keeps of a case."""

    @property
    def id(self) -> str:
        """The case."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Reads what `to_json` returned."""


R = TypeVar("R", bound=SupportsRecord)


class RecordsFolder(Closing, Generic[R]):
    """A folder that is being written: `meta.json`, and `results.jsonl` with a line for each case.

    A case is on the disk before the next one is reported, so that an evaluation that ends, however
    it ends, goes on with the others.

    Attributes:
      path: The folder.
      meta: What is evaluated: `identity`, and what else a reader wants to know. On the disk it has
        the `seconds` that the evaluation took so far, too, loading apart.
      records: Of the cases that are done, by id.
    """

    def __init__(
        self,
        path: pathlib.Path,
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
        kind: type[R],
    ) -> None:
        """Opens the folder; creates it if need be.

        Args:
          path: The folder.
          identity: What every verdict depends on, by field; JSON values. `step` among them is the
            training step of the model, None or 0 for one that was not trained.
          about: What else a reader wants to know; that of the first call is kept.
          kind: What is kept of a case.

        Raises:
          ResultsError: It holds results of another identity, or it is none.
          LogError: Its results are damaged.
        """
        self.path = path
        self._meta_path = path / "meta.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(
                f"{path} cannot be the folder of the results ({error.strerror}); name another one"
            ) from None
        meta: dict[str, Any] = {"identity": dict(identity), **about}
        if self._meta_path.exists():
            meta = read_meta(path)
            _check_same(path, meta["identity"], json.loads(json.dumps(identity)))
        lines = path / "results.jsonl"
        if not self._meta_path.exists() and lines.exists() and lines.stat().st_size:
            raise ResultsError(
                f"{path} has results, but no meta.json that says whose; name another folder"
            )
        self._step = int(identity.get("step") or 0)
        self._lines = JsonLines(lines, resume_step=self._step)
        self.records = {one.id: one for one in map(kind.from_json, read(lines))}
        self.meta = meta
        self._began = time.monotonic() - meta.pop("seconds", 0.0)
        self.write_meta()

    def write_meta(self) -> None:
        """Writes `meta` to the disk."""
        seconds = round(time.monotonic() - self._began, 1)
        write_text(self._meta_path, json.dumps(self.meta | {"seconds": seconds}, indent=1) + "\n")

    def add(self, record: R) -> None:
        """Keeps a case that is done; it is on the disk when this returns."""
        self._lines.append(self._step, record.to_json())
        self._lines.sync()
        self.records[record.id] = record

    def close(self) -> None:
        """Notes the time that it took, and closes the file."""
        self._lines.close()
        self.write_meta()


class ResultsFolder(RecordsFolder[Record]):
    """The folder of an evaluation by a benchmark.

    Attributes:
      results: What is in it so far.
    """

    def __init__(
        self, path: pathlib.Path, identity: Mapping[str, Any], about: Mapping[str, Any]
    ) -> None:
        """Opens the folder, see `RecordsFolder`."""
        super().__init__(path, identity, {**about, "sizes": {}}, Record)
        self.results = Results(self.meta, self.records)

    def add_category(self, category: str, size: int) -> None:
        """Notes a category and how many cases it has, evaluated or not."""
        if self.meta["sizes"].get(category) != size:
            self.meta["sizes"][category] = size
            self.write_meta()


def read_results(path: pathlib.Path) -> Results:
    """Reads a folder, also one that is being written.

    Raises:
      ResultsError: It holds no results, or damaged ones.
    """
    meta = read_meta(path)
    if "sizes" not in meta:
        raise ResultsError(f"{path} holds results of another kind than `trustee eval bfcl` writes")
    return Results(meta, read_records(path, Record))


def read_records(path: pathlib.Path, kind: type[R]) -> dict[str, R]:
    """What a folder keeps of each case, by id.

    Raises:
      ResultsError: It keeps nothing, or something else.
    """
    file = path / "results.jsonl"
    try:
        return {one.id: one for one in map(kind.from_json, read(file))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{file} cannot be read ({error})") from None


def read_meta(path: pathlib.Path) -> dict[str, Any]:
    """What was evaluated.

    Raises:
      ResultsError: The folder holds no results.
    """
    file = path / "meta.json"
    try:
        meta: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(meta["identity"], dict) and isinstance(meta.get("sizes", {}), dict):
            return meta
    except FileNotFoundError:
        raise ResultsError(f"{path} holds no results of an evaluation (no meta.json)") from None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ResultsError(f"{file} is damaged; restore it, or delete the folder")


def _check_same(path: pathlib.Path, there: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in dict.fromkeys([*given, *there]):
        if (old := there.get(name, _ABSENT)) != (new := given.get(name, _ABSENT)):
            raise ResultsError(
                f"{path} holds the results of another {name}: {old!r} there, {new!r} given; name "
                "another folder by --output"
            )
