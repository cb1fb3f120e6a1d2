"""Asks the verifier about many episodes, and keeps every answer as soon as it is there."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment import (
    CriterionVerdict,
    Evidence,
    ModelJudge,
    RuleViolation,
    Verdict,
    run,
)
from trustee_jax.environment.driver import SupportsRequests
from trustee_jax.simulator.simulator import Key, SimulatorError

CLEAN = "clean"
"""The variant of an episode in which no fault is planted."""


@dataclass(frozen=True, eq=False)
class Question:
    """One verdict to be asked for.

    Attributes:
      episode: The episode's name.
      variant: The planted fault's name, or `CLEAN`.
      mode: The verifier's mode.
      sample: 0, or 1 for the second opinion.
      evidence: What is judged, with as many criteria as are asked for.
      key: What the samples depend on, a `streams.Purpose` first; different for every question.
    """

    episode: str
    variant: str
    mode: str
    sample: int
    evidence: Evidence
    key: Key


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the verifier said.

    Attributes:
      episode: See `Question`.
      variant: See `Question`.
      mode: See `Question`.
      sample: See `Question`.
      verdict: By parts; None if it could not be had.
      failure: Why not, a cause as of an invalid episode; None if there is a verdict.
    """

    episode: str
    variant: str
    mode: str
    sample: int
    verdict: Verdict | None
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the judgement as plain JSON values."""
        verdict = self.verdict.to_json() if self.verdict else None
        return {**vars(self), "verdict": verdict}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Judgement":
        """Reads what `to_json` returned."""
        verdict = value["verdict"]
        if verdict is not None:
            verdict = Verdict(
                verdict["mode"],
                tuple(CriterionVerdict(**part) for part in verdict["parts"]),
                tuple(RuleViolation(**veto) for veto in verdict["vetoes"]),
            )
        return cls(**{**value, "verdict": verdict})


class Journal:
    """A file with one judgement a line, from which an audit that was broken off goes on.

    Each line carries a digest of all that its judgement depends on, so that only those of the same
    question to the same model are used again.
    """

    def __init__(self, path: Path, context: Mapping[str, Any]):
        """Reads what is there.

        Args:
          path: The file; made with the first judgement.
          context: What every judgement depends on: model, options, prompts; JSON values.
        """
        self._path = path
        self._context = json.dumps(context, sort_keys=True)
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["digest"]] = entry["judgement"]
                except (ValueError, KeyError, TypeError):
                    continue  # Cut off while it was written.
        self._unused = set(self._known)

    def find(self, question: Question) -> Judgement | None:
        """The judgement of a question, if it was made before."""
        digest = self._digest(question)
        self._unused.discard(digest)
        known = self._known.get(digest)
        return None if known is None else Judgement.from_json(known)

    def add(self, question: Question, judgement: Judgement) -> None:
        """Appends a judgement."""
        entry = {"digest": self._digest(question), "judgement": judgement.to_json()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Removes the file, unless it holds answers that no question has asked for."""
        if not self._unused:
            self._path.unlink(missing_ok=True)

    def _digest(self, question: Question) -> str:
        evidence = question.evidence
        text = json.dumps(
            [
                self._context,
                [question.episode, question.variant, question.mode, question.sample],
                question.key,
                evidence.task.to_json(),
                list(evidence.messages),
                evidence.ended,
                evidence.world,
                [change.to_json() for change in evidence.changes],
            ],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()


def ask_all(
    groups: Sequence[Sequence[Question]],
    judges: Mapping[str, ModelJudge],
    engine: SupportsRequests,
    *,
    lanes: int,
    on_judgement: Callable[[Question, Judgement], None],
) -> None:
    """Asks all questions, those of a group one after the other.

    What the engine or `on_judgement` raises passes through; nothing is under way any more then.

    The questions of one episode begin alike. Asked in turn by one of as many coroutines as the
    engine has slots, each finds the beginning in the cache; asked all at once, they would push each
    other out of it.

    Args:
      groups: The questions, by episode.
      judges: The verifier in each mode.
      engine: Its engine.
      lanes: Questions under way at a time.
      on_judgement: Called with each answer as it comes.
    """
    waiting = collections.deque(groups)

    def lane() -> Generator[Request, Completion, None]:
        while waiting:
            for question in waiting.popleft():
                on_judgement(question, (yield from _ask(judges[question.mode], question)))

    run([lane() for _ in range(min(lanes, len(groups)))], {"simulator": engine})


def second_look(evidence: Evidence) -> Evidence:
    """The same episode described in another way that should not matter.

    Tools, collections and records come in reverse order, and the persona gets a sentence more.
    """
    world = evidence.world
    if world is not None:
        world = {name: rows[::-1] for name, rows in reversed(world.items())}
    task = dataclasses.replace(
        evidence.task,
        tools=evidence.task.tools[::-1],
        persona=f"{evidence.task.persona} Writes from a phone.",
    )
    return dataclasses.replace(evidence, task=task, world=world)


def _ask(judge: ModelJudge, question: Question) -> Generator[Request, Completion, Judgement]:
    verdict, failure = None, None
    try:
        verdict = yield from judge.judge(question.evidence, question.key)
    except SimulatorError as error:
        failure = error.failure.cause
    return Judgement(
        question.episode, question.variant, question.mode, question.sample, verdict, failure
    )
