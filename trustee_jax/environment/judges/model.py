"""The verifier: a finished dialogue -> a verdict by parts.

Every part is a question of its own, asked after the same beginning, which the engine therefore
computes once. The answer names the line that decides and says true or false; what counts is not
the sampled word but the probability that the model gives to "true" at that place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trustee_jax.engine.types import Completion, Request, Sampling
from trustee_jax.environment.copies import copied_share
from trustee_jax.environment.judges.evidence import Evidence
from trustee_jax.environment.judges.rules import needless_calls, violations_of
from trustee_jax.environment.verdict import CriterionVerdict, Verdict
from trustee_jax.environment.world import change_lines, record_lines
from trustee_jax.simulator.config import RoleConfig
from trustee_jax.simulator.prompts import CRITERIA
from trustee_jax.simulator.schemas import part_schema, verdict_schema
from trustee_jax.simulator.simulator import Key, Simulator, Usage, tool_fields
from trustee_jax.simulator.transcript import events

if TYPE_CHECKING:
    from trustee_jax.environment.config import EnvironmentConfig

# The first of the criteria.
_BY_CODE = ("intent_met", "calls_correct")
# Tokens of a part without reasons: names of the fields, a line number, a boolean.
_SHORT_ANSWER = 48
# Share of the reasons in the words of the prompt from which they say nothing of the conversation.
_RECITED = 0.5


class ModelJudge:
    """The simulator as verifier."""

    def __init__(self, simulator: Simulator, config: EnvironmentConfig):
        """Takes the frozen model, and the options that say how its verdict is had.

        Args:
          simulator: The frozen model.
          config: Its `judge`, and what the verifier is shown.
        """
        self._simulator = simulator
        self._config = config

    def judge(
        self, evidence: Evidence, key: Key, usage: Usage | None = None
    ) -> Generator[Request, Completion, Verdict]:
        """Coroutine that judges the first `aspects.criteria` criteria.

        Args:
          evidence: What is judged.
          key: What the samples depend on; a second opinion needs another one.
          usage: Is added to.

        Raises:
          SimulatorError: No verdict could be had.
        """
        options = self._config.judge
        names = CRITERIA[: evidence.task.aspects.criteria]
        parts = list(_known(evidence, names))
        asked = names[len(parts) :]
        fields = self._fields(evidence)
        if options.mode == "joint" and asked:
            parts += yield from self._joint(evidence, fields, asked, key, usage)
        else:
            for index, name in enumerate(asked, len(parts)):
                part = yield from self._part(evidence, fields, name, (*key, index), usage)
                parts.append(part)
        violations = violations_of(evidence, self._config) if options.rules else ()
        return Verdict(options.mode, tuple(parts), violations)

    def _fields(self, evidence: Evidence) -> dict[str, Any]:
        config, task = self._config, evidence.task
        world = evidence.world
        return {
            "tools": tool_fields(task.tools),
            "persona": task.persona if config.show_persona else None,
            "intent": task.intent if config.show_intent else None,
            "query": task.query,
            "expected_calls": task.expected_calls if config.show_expected_calls else None,
            "ended": evidence.ended,
            "world": None if world is None else record_lines(world),
            "changes": change_lines(evidence.changes),
        }

    def _part(
        self,
        evidence: Evidence,
        fields: Mapping[str, Any],
        criterion: str,
        key: Key,
        usage: Usage | None,
    ) -> Generator[Request, Completion, CriterionVerdict]:
        simulator, options = self._simulator, self._config.judge
        role = simulator.config.verifier
        reasoned = options.mode == "reasoned"
        true, false = simulator.boolean_starts
        answer, completion = yield from simulator.ask_completion(
            "verifier",
            {**fields, "criteria": (criterion,), "mode": options.mode},
            part_schema(
                max(1, len(list(events(evidence.messages)))),
                simulator.config.text_limit if reasoned else None,
            ),
            key,
            messages=evidence.messages,
            usage=usage,
            options=role if reasoned else short_options(role),
            report_logits_of=(*true, *false),
        )
        probability = _probability(simulator, completion, len(true))
        met = answer["met"] if probability is None else probability >= options.threshold
        reasoning = answer.get("reasoning", "").strip()
        recites = _recites(simulator, reasoning)
        return CriterionVerdict(criterion, met, probability, answer["line"], reasoning, recites)

    def _joint(
        self,
        evidence: Evidence,
        fields: Mapping[str, Any],
        names: Sequence[str],
        key: Key,
        usage: Usage | None,
    ) -> Generator[Request, Completion, list[CriterionVerdict]]:
        simulator = self._simulator
        answer = yield from simulator.ask(
            "verifier",
            {**fields, "criteria": tuple(names), "mode": "joint"},
            verdict_schema(len(names), simulator.config.text_limit),
            (*key, 0),
            messages=evidence.messages,
            usage=usage,
        )
        reasoning = answer["reasoning"].strip()
        recites = _recites(simulator, reasoning)
        return [
            CriterionVerdict(name, answer[name], reasoning=reasoning, recites=recites)
            for name in names
        ]


def _known(evidence: Evidence, names: Sequence[str]) -> Iterator[CriterionVerdict]:
    """The first criteria, where no tool serves the user: code knows better than a model.

    Asked whether the user got what they wanted, a model objects to "None of my tools can do this"
    and believes what was made up instead.
    """
    if evidence.task.aspects.irrelevant:
        failed = {violation.criterion for violation in needless_calls(evidence)}
        for name in names[: len(_BY_CODE)]:
            yield CriterionVerdict(name, name not in failed)


def short_options(options: RoleConfig) -> RoleConfig:
    """The options of an answer without reasons: nothing is drawn, nothing thought."""
    return dataclasses.replace(
        options,
        max_tokens=min(options.max_tokens, _SHORT_ANSWER),
        think_budget=0,
        sampling=Sampling(temperature=0.0),
    )


def _probability(simulator: Simulator, completion: Completion, trues: int) -> float | None:
    """Probability of true against false where the answer's boolean begins.

    None if a token that began before the boolean already decided it, or there is no such number.
    """
    place = simulator.boolean_place(completion.tokens)
    if place is None:
        return None
    logits = completion.reported_logits[place].astype(np.float64)
    if not math.isfinite(greatest := float(logits.max())):
        return None
    weights = np.exp(logits - greatest)
    return float(weights[:trues].sum() / weights.sum())


def _recites(simulator: Simulator, reasoning: str) -> bool:
    """Whether reasons repeat criterion and rules instead of saying what decides."""
    return copied_share(reasoning, simulator.prompts.wording("verifier")) >= _RECITED
