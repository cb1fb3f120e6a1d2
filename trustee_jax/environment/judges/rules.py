"""What code can tell about an episode without asking a model. It can only take a criterion away."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trustee_jax.chat import attempts
from trustee_jax.engine.types import Completion, Request
from trustee_jax.environment.calls import CallRecord
from trustee_jax.environment.judges.contradictions import contradicts, unfounded
from trustee_jax.environment.judges.evidence import Evidence
from trustee_jax.environment.solvability import needed_values, plain_words
from trustee_jax.environment.task import Task
from trustee_jax.environment.verdict import CriterionVerdict, RuleViolation, Verdict
from trustee_jax.simulator import Simulator
from trustee_jax.simulator.prompts import CRITERIA
from trustee_jax.simulator.simulator import Key, Usage

if TYPE_CHECKING:
    from trustee_jax.environment.config import EnvironmentConfig

# "3 flights", "step 2", the day of a date: too small to tell an invention from a count.
_SMALL = 31
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_AMOUNT = re.compile(r"\d+(?:[.,]\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?")
# A word of letters and digits with at least five of them: a code, not a unit or an ordinal.
_CODE = re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9][\w-]{4,}")
# Such a word may still be a number and its unit, of which the number counts: 5-star, 250ml, 1990s.
_QUANTITY = re.compile(r"(?:[a-z]+-)*\d+[A-Za-z]*(?:-[A-Za-z]+)*")
# A result that the assistant writes itself, in the marks of many templates.
_IMITATED = re.compile(r"<tool_response>.*?(?:</tool_response>|\Z)", re.DOTALL)
_FIELD = re.compile(r'"([^"]{1,32})":(\d+(?:\.\d+)?)')
# Sums and products of more numbers than these youngest would cover nearly everything.
_OPERANDS = 40
_COLUMN = 12
# Percent, minutes of an hour, metres of a kilometre; days of a year.
_UNITS = (60.0, 100.0, 1000.0)
_KNOWN = (100.0, 365.0)
_LARGE = 1e12
# More decimals tell nothing, and more values are no use to a reader.
_DECIMALS = 6
_REPORTED = 10
_REASON = 160


class RulesJudge:
    """The deterministic checks alone: a criterion is met unless one of them objects."""

    def __init__(self, simulator: Simulator, config: EnvironmentConfig):
        """Takes what every judge takes; of the options see `violations_of`."""
        self._config = config

    def judge(
        self, evidence: Evidence, key: Key, usage: Usage | None = None
    ) -> Generator[Request, Completion, Verdict]:
        """Coroutine that asks no engine; see `Judge.judge`."""
        yield from ()
        parts = (
            CriterionVerdict(name, True) for name in CRITERIA[: evidence.task.aspects.criteria]
        )
        return Verdict("rules", tuple(parts), violations_of(evidence, self._config))


def violations_of(evidence: Evidence, config: EnvironmentConfig) -> tuple[RuleViolation, ...]:
    """What the checks object to, of the criteria that an episode is judged by.

    Args:
      evidence: The dialogue.
      config: Which checks there are: `show_expected_calls`, and `require_answer` and
        `require_values` of its judge.
    """
    names = CRITERIA[: evidence.task.aspects.criteria]
    found = find_violations(
        evidence,
        expected_calls=config.show_expected_calls,
        require_answer=config.judge.require_answer,
        require_values=config.judge.require_values,
    )
    return tuple(violation for violation in found if violation.criterion in names)


def find_violations(
    evidence: Evidence,
    *,
    expected_calls: bool = True,
    require_answer: bool = True,
    require_values: bool = False,
) -> list[RuleViolation]:
    """Checks a dialogue.

    expected_call: an expected tool never answered without an error: "calls_correct". wrong_value:
    each call of an expected tool that succeeded contradicts a value of the task (see
    `contradicts`), or has nothing of it (`unfounded`): "calls_correct". Where all expected calls
    are missing, or missing or wrong: "intent_met". no_answer: the assistant could have said
    something to the user after the last result, or where no tool serves the user, and did not:
    "intent_met". needless_call: any attempt at a call where no tool serves the user: "intent_met"
    and "calls_correct". unknown_tool: a call of a tool that does not exist: "no_hallucination".
    repeated_call: a call repeated although nothing had changed; failed_call: one that is malformed
    or does not fit its tool: "no_waste". invented_value: a number or a code in a message of the
    assistant that neither the user nor a tool had mentioned, nor follows from two such numbers by
    arithmetic, or from three of one field by addition: "no_hallucination".

    Args:
      evidence: The dialogue.
      expected_calls: Whether the expected calls may be held against the policy.
      require_answer: Whether its silence may be.
      require_values: Whether a value that is most probably made up may be.
    """
    violations: list[RuleViolation] = []
    task, messages, calls = evidence.task, evidence.messages, evidence.calls
    if task.aspects.irrelevant:
        violations += needless_calls(evidence)
    elif expected_calls:
        violations += _expected(evidence, require_values)
    if require_answer:
        violations += _no_answer(evidence)
    names = {tool.name for tool in task.tools}
    for name in dict.fromkeys(call.name for call in calls if call.name not in names):
        violations.append(
            RuleViolation("no_hallucination", "unknown_tool", f"there is no tool {name!r}")
        )
    violations += _waste(messages, calls)
    violations += [
        RuleViolation(
            "no_hallucination", "invented_value", f"no tool and no user mentioned {value}"
        )
        for value in invented_values(messages, _descriptions(task))
    ]
    return list(_brief(violations))


def _brief(violations: Iterable[RuleViolation]) -> Iterator[RuleViolation]:
    """As many of each kind, and as much of their reasons, as a reader wants."""
    seen: Counter[tuple[str, str]] = Counter()
    for violation in dict.fromkeys(violations):
        seen[kind := (violation.criterion, violation.check)] += 1
        if seen[kind] <= _REPORTED:
            yield dataclasses.replace(violation, reason=violation.reason[:_REASON])


def invented_values(
    messages: Sequence[Mapping[str, Any]], known_before: Iterable[str] = ()
) -> list[str]:
    """Numbers and codes that the assistant states, but that no earlier message gives.

    What the assistant wrote itself, arguments included, is no source.

    Args:
      messages: The dialogue in the OpenAI form.
      known_before: Further texts that the assistant may take values from.
    """
    sources = _Sources()
    for text in known_before:
        sources.add(text)
    invented: dict[str, None] = {}
    for message in messages:
        text = message.get("content") or ""
        if message["role"] != "assistant":
            sources.add(text)
            continue
        for code in _CODE.findall(text):
            if not _QUANTITY.fullmatch(code) and not sources.mention(code):
                invented[code] = None
        for number in _NUMBER.findall(_CODE.sub(_quantity, text)):
            # 24.11.2026 is no number, but three.
            groups = [number] if _AMOUNT.fullmatch(number) else re.split("[.,]", number)
            if not all(map(sources.give, groups)):
                invented[number] = None
    return list(invented)


def _quantity(word: re.Match[str]) -> str:
    return word[0] if _QUANTITY.fullmatch(word[0]) else " "


class _Sources:
    """What the assistant could know."""

    def __init__(self) -> None:
        self._text = self._unhyphened = ""
        self._numbers: dict[float, None] = {}
        self._columns: dict[str, dict[float, None]] = {}
        self._rounded: dict[int, set[float]] = {}

    def add(self, text: str) -> None:
        self._text += "\n" + text.casefold()
        self._unhyphened += "\n" + text.casefold().replace("-", "")
        for match in _NUMBER.findall(text):
            # 19:30, 2026-05-12 and 1,250 are all read as their groups, too.
            for number in (match, *re.split("[.,]", match)):
                self._numbers[_value(number)] = None
        for field, number in _FIELD.findall(text):
            self._columns.setdefault(field, {})[_value(number)] = None
        self._rounded.clear()

    def mention(self, code: str) -> bool:
        return code.casefold().replace("-", "") in self._unhyphened

    def give(self, number: str) -> bool:
        """Whether a number is small, mentioned, or follows from two that are."""
        value = _value(number)
        if (value <= _SMALL and value == int(value)) or value in _KNOWN or number in self._text:
            return True
        if number.replace(".", ":") in self._text:  # 19.30 for 19:30
            return True
        decimals = min(_DECIMALS, len(number.rpartition(".")[2])) if "." in number else 0
        if decimals not in self._rounded:
            numbers = itertools.chain(self._numbers, self._derived())
            self._rounded[decimals] = {round(n, decimals) for n in numbers}
        return round(value, decimals) in self._rounded[decimals]

    def _derived(self) -> Iterator[float]:
        known = sorted([n for n in self._numbers if n < _LARGE][-_OPERANDS:])
        for one, other in itertools.combinations_with_replacement(known, 2):
            yield from (one + other, other - one)
        for one, other in itertools.product((*known, *_UNITS), repeat=2):
            if other:
                yield from (one / other, one * other)
        for column in self._columns.values():
            values = list(column)[:_COLUMN]
            yield sum(values)
            yield from map(sum, itertools.combinations(values, 3))


def _descriptions(task: Task) -> Iterator[str]:
    for tool in task.tools:
        yield f"{tool.description} {json.dumps(tool.parameters)}"


def _expected(evidence: Evidence, require_values: bool) -> Iterator[RuleViolation]:
    task, calls = evidence.task, evidence.calls
    done = Counter(call.name for call in calls if call.succeeded)
    for name in Counter(task.expected_calls) - done:
        yield RuleViolation("calls_correct", "expected_call", f"{name} was not carried out")
    right = False
    for name, values in zip(task.expected_calls, task.expected_values, strict=False):
        wrong = [
            _wrong_value(call, values, evidence, require_values)
            for call in calls
            if call.name == name and call.succeeded
        ]
        right |= None in wrong
        if wrong and None not in wrong:
            yield RuleViolation(
                "calls_correct", "wrong_value", f"{name} was called with {wrong[0]}"
            )
    if task.expected_calls and not any(done[name] for name in task.expected_calls):
        yield RuleViolation(
            "intent_met", "expected_call", "none of the expected calls was carried out"
        )
    elif task.expected_values and not right:
        yield RuleViolation("intent_met", "wrong_value", "no expected call had the right values")


def needless_calls(evidence: Evidence) -> Iterator[RuleViolation]:
    """Objects to what is no answer in words, of a task whose tools do not serve the user.

    It objects to "intent_met" and "calls_correct", and knows all that there is to know of them.
    """
    turns = [message for message in evidence.messages if message["role"] == "assistant"]
    if any(attempts(turn) or turn.get("unmarked_calls") for turn in turns):
        for criterion in ("intent_met", "calls_correct"):
            yield RuleViolation(criterion, "needless_call", "no tool serves what the user wants")
    elif not any(map(_says_something, turns)):
        yield RuleViolation("intent_met", "no_answer", "the user was told nothing")


def _no_answer(evidence: Evidence) -> Iterator[RuleViolation]:
    """Objects to an assistant that never turned to the user after the last result.

    Whoever gets a result has a turn left: the limits on turns end a dialogue before the calls of
    the last turn are answered, and whatever that turn holds besides them is a message. So with two
    assistant turns and one tool turn, the least there are, a call, its result and a second call
    are silence, and the second turn was the chance to speak. Where no call was answered, other
    checks have their say. Only a context that is full, at once or while the message is written,
    takes that chance away.
    """
    roles = [message["role"] for message in evidence.messages]
    if "tool" not in roles or evidence.ended == "context":
        return
    last = len(roles) - roles[::-1].index("tool")
    turns = [message for message in evidence.messages[last:] if message["role"] == "assistant"]
    if turns and not any(map(_says_something, turns)):
        yield RuleViolation(
            "intent_met", "no_answer", "after the last result the user was told nothing"
        )


def _says_something(turn: Mapping[str, Any]) -> bool:
    """Whether a turn has words for the user; a call or a result written as mere text is none."""
    text = _IMITATED.sub("", turn.get("content") or "")
    if turn.get("unmarked_calls"):
        head, _, rest = text.partition("{")
        text = head + rest.rpartition("}")[2]
        return bool(re.search(r"\w", re.sub(r"```\w*", "", text)))
    return bool(text.strip())


def _wrong_value(
    call: CallRecord, values: Mapping[str, str], evidence: Evidence, require_values: bool
) -> str | None:
    """The first argument that contradicts what was wanted, for a reader."""
    free = _free_values(evidence.task, call.name) if require_values else ()
    known: set[str] = set()
    own: set[str] = set()
    for index, message in enumerate(evidence.messages[: call.message]):
        words = plain_words(message.get("content") or "")
        if message["role"] == "user":
            known.update(words)
        elif message["role"] == "tool":
            # A tool that repeats its arguments does not make them right.
            known.update(word for word in words if word not in own)
        for earlier in evidence.calls:
            if earlier.message == index:
                own.update(plain_words(json.dumps(earlier.arguments, ensure_ascii=False)))
    for parameter, expected in values.items():
        given = call.arguments.get(parameter)
        # What was said for another parameter is not what was said for this one.
        others = (text for name, text in values.items() if name != parameter)
        elsewhere = {word for text in others for word in plain_words(text)}
        if contradicts(expected, given, known) or (
            parameter in free and unfounded(expected, given, known, elsewhere)
        ):
            return f"{parameter} {given!r} instead of {expected!r}"
    if require_values:
        for parameter, given in call.arguments.items():
            if isinstance(given, list) and any(_unsaid(item, known) for item in given):
                return f"{parameter} {given!r}, of which a number was not said"
    return None


def _unsaid(item: Any, known: Collection[str]) -> bool:
    """Whether an item of a list is a number that nobody said."""
    if isinstance(item, bool) or not isinstance(item, int | float):
        return False
    whole = isinstance(item, float) and item.is_integer()
    return not set(plain_words(str(int(item) if whole else item))) <= set(known)


def _free_values(task: Task, name: str) -> Collection[str]:
    """Parameters of a tool whose value is as the user says it, in no prescribed form."""
    (tool,) = (tool for tool in task.tools if tool.name == name)
    properties = tool.parameters.get("properties", {})
    return {
        parameter
        for parameter in needed_values(tool)
        if properties[parameter].keys().isdisjoint(("format", "pattern"))
    }


def _waste(
    messages: Sequence[Mapping[str, Any]], calls: Sequence[CallRecord]
) -> Iterator[RuleViolation]:
    seen: dict[tuple[str, str], str | None] = {}
    for call in calls:
        key = (call.name, json.dumps(call.arguments, sort_keys=True))
        # The same answer twice: nothing had changed, and nothing was learnt.
        if key in seen and seen[key] == call.answer:
            yield RuleViolation("no_waste", "repeated_call", f"{call.name} was called twice alike")
        seen[key] = call.answer
        if not call.fits:
            yield RuleViolation(
                "no_waste", "failed_call", f"a call of {call.name} does not fit a tool"
            )
    if any(message.get("malformed_calls") for message in messages):
        yield RuleViolation("no_waste", "failed_call", "a call could not be read")


def _value(text: str) -> float:
    # A comma before exactly three digits groups thousands; another one is a decimal comma.
    plain = re.sub(r",(?=\d{3}(?:\D|$))", "", text).replace(",", ".")
    head, *rest = plain.split(".")
    try:
        return float(".".join([head, "".join(rest)]) if rest else head)
    except (ValueError, OverflowError):
        return float("inf")
