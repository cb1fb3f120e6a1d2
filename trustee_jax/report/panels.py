"""Which curves the page shows, in which order, and what they are called.

Known metrics get a place and a word of explanation; all others follow, so that none is hidden.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from trustee_jax.curriculum import ASPECTS
from trustee_jax.report.figures import Values
from trustee_jax.training.summary import CAUSES

Role = Literal["", "good", "middle", "bad", "kept"]

_REWARD_SHARES = {"positive": "above 0", "zero": "of 0", "negative": "below 0"}
_ROLES: dict[str, Role] = {"positive": "good", "zero": "middle", "negative": "bad", "valid": "kept"}
_DIGITS = 7
# Those that the accounting lists, and the shares made of them.
_COUNTED = re.compile(
    r"episodes/(played$|valid$|invalid_)|tasks/(failed|rejected)|user/(used$|refused_)|share/"
)
_MEANINGS = {aspect.name: aspect.meaning for aspect in ASPECTS} | {
    "redrawn": "share of the tasks whose aspects were drawn at random",
    "irrelevant": "share of the tasks whose tools do not serve the user",
}
_AT_FRONTIER = {
    "frontier": "level of difficulty at which it is probed",
    "success": "share of its probes that succeed",
}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One chart over the steps.

    Attributes:
      title: What it shows.
      series: Metric -> label.
      note: How to read it.
      kind: Lines, or bars that are stacked.
      scale: Of the vertical axis; the reader can change it.
      limits: What the vertical axis shows at least.
    """

    title: str
    series: Mapping[str, str]
    note: str = ""
    kind: Literal["line", "stack"] = "line"
    scale: Literal["linear", "log"] = "linear"
    limits: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as the page reads them."""
        series = [
            {"metric": metric, "label": label, "role": _ROLES.get(_last(metric), "")}
            for metric, label in self.series.items()
        ]
        return vars(self) | {"series": series}


def derive(metrics: Values) -> dict[int, dict[str, float | None]]:
    """The metrics, with what a step does not have because it did not occur in it.

    That is 0 for a cause that occurs in other steps, and the share of the played episodes that each
    cause of invalidity has.
    """
    causes = [name for values in metrics.values() for name in values if name.startswith(CAUSES)]
    absent: dict[str, float | None] = dict.fromkeys(causes, 0.0)
    result = {}
    for step, recorded in metrics.items():
        values = absent | dict(recorded)
        derived = dict(values)
        played, valid = values.get("episodes/played"), values.get("episodes/valid")
        if played:
            derived |= {
                f"share/{_last(name)}": value / played
                for name, value in values.items()
                if name.startswith("episodes/invalid_") and value is not None
            }
            if valid is not None:
                derived["share/valid"] = valid
        result[step] = derived
    return result


def columns(metrics: Values) -> dict[str, Any]:
    """The metrics as the page reads them: {"steps": [n], "values": {name: [n]}}."""
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    return {
        "steps": list(metrics),
        "values": {
            name: [rounded(values.get(name)) for values in metrics.values()] for name in names
        },
    }


def groups(metrics: Values) -> list[dict[str, Any]]:
    """The charts of the metrics there are, in groups.

    Args:
      metrics: With what `derive` adds.

    Returns:
      [{"title", "compact": bool, "panels": [see `Panel.to_json`]}]; a compact group's charts are
      small, a folded one's are shown on request.
    """
    every = dict.fromkeys(name for values in metrics.values() for name in values)
    # A cause or reason that never occurred would only lengthen a legend; the accounting names it.
    occurred = dict.fromkeys(
        name for values in metrics.values() for name, value in values.items() if value
    )
    taken: set[str] = set()
    result = []
    for title, compact, make in _GROUPS:
        panels = []
        for panel in make(list(every), list(occurred)):
            series = {name: label for name, label in panel.series.items() if name in every}
            taken.update(series)
            if series:
                panels.append(dataclasses.replace(panel, series=series).to_json())
        if panels:
            result.append({"title": title, "compact": compact, "folded": False, "panels": panels})
    rest = [name for name in every if name not in taken and not _COUNTED.match(name)]
    if rest:
        panels = [Panel(name, {name: name}).to_json() for name in rest]
        result.append(
            {"title": "All other metrics", "compact": True, "folded": True, "panels": panels}
        )
    return result


def words(name: str) -> str:
    """The last part of a metric's name, as words."""
    return _last(name).replace("_", " ")


def _reward(every: Sequence[str], occurred: Sequence[str]) -> Iterable[Panel]:
    known = {"mean", "no_call", *_REWARD_SHARES}
    criteria = [name for name in _with("reward/", every) if _last(name) not in known]
    yield Panel(
        "Mean reward", {"reward/mean": "mean"}, "over the valid episodes", limits=(-1.0, 1.0)
    )
    yield Panel(
        "Rewards",
        {f"reward/{name}": f"reward {label}" for name, label in _REWARD_SHARES.items()},
        "share of the valid episodes with such a reward",
        kind="stack",
        limits=(0.0, 1.0),
    )
    yield Panel(
        "Reward by judge",
        {name: name.removeprefix("judge/") for name in _with("judge/", every)},
        "mean over the graded episodes; their weighted mean is an episode's reward",
        limits=(-1.0, 1.0),
    )
    yield Panel(
        "Criteria met",
        _labels(criteria),
        "share of the graded episodes; strict criteria count only at higher difficulty",
        limits=(0.0, 1.0),
    )
    yield Panel(
        "Nothing to grade",
        {"reward/no_call": "no call that fits a tool"},
        "share of the valid episodes, rewarded -1 without a verdict",
        limits=(0.0, 1.0),
    )
    yield Panel(
        "Reasons that recite the question",
        {
            "verdict/reciting": "share of the verifier's reasons",
            "verdict/met_reciting": "criteria found met, of these",
            "verdict/met_otherwise": "criteria found met, of the others",
        },
        "if the verifier finds more met where it only recites, its reasons decide little",
        limits=(0.0, 1.0),
    )


def _cold_start(every: Sequence[str], occurred: Sequence[str]) -> Iterable[Panel]:
    yield Panel(
        "Asked for a call, without help",
        {name: words(name) for name in _with("cold_start/probe/", every)},
        "share of the probed turns, after each step",
        limits=(0.0, 1.0),
    )
    yield Panel(
        "Successes with help",
        {"cold_start/successes": "episodes"},
        "by judge and code, in a step; these are learnt",
    )
    yield Panel(
        "Demonstrations",
        {"cold_start/demonstrations": "exchanges"},
        "before each episode of a cold start",
    )


def _validity(every: Sequence[str], occurred: Sequence[str]) -> Iterable[Panel]:
    causes = [name for name in _with("share/invalid_", occurred)]
    yield Panel(
        "Validity by cause",
        {"share/valid": "valid"} | {name: words(name)[len("invalid ") :] for name in causes},
        "share of the episodes played; invalid ones carry no reward",
        kind="stack",
        limits=(0.0, 1.0),
    )
    for kind, note in (
        ("rejected", "drawn tasks that failed a check, by reason"),
        ("failed", "draws that gave no task at all, by cause"),
    ):
        names = [n for n in _with(f"tasks/{kind}_", occurred)]
        yield Panel(
            f"Tasks {kind}",
            {name: words(name)[len(kind) + 1 :] for name in names},
            note,
            kind="stack",
        )
    yield Panel(
        "Messages of the user refused",
        {name: words(name)[len("refused ") :] for name in _with("user/refused_", occurred)},
        "of all episodes; the user was asked again, and an episode without a usable answer is "
        "invalid",
        kind="stack",
    )
    yield Panel("Tasks written", {"tasks/written": "written", "tasks/draws": "draws"}, "per step")
    yield Panel(
        "Groups",
        _labels(_with("groups/", every)),
        "trainable: rewards differ; zero variance: all equal, nothing to learn from",
    )
    yield Panel(
        "How dialogues ended",
        _labels(_with("ended/", occurred)),
        "share of the valid episodes",
        kind="stack",
        limits=(0.0, 1.0),
    )


def _curriculum(every: Sequence[str], occurred: Sequence[str]) -> Iterable[Panel]:
    yield Panel("Difficulty", {"curriculum/difficulty": "difficulty"})
    rest = [name for name in _with("curriculum/", every) if _last(name) != "difficulty"]
    frontier = [name for name in every if "frontier" in name]
    for name in rest:
        if name not in frontier:
            share = _last(name) in ("redrawn", "irrelevant") or _last(name).startswith("success_")
            limits = (0.0, 1.0) if share else None
            yield Panel(words(name).capitalize(), {name: words(name)}, _note(name), limits=limits)
    for name in frontier:
        label = name.removeprefix("curriculum/").replace("/", " ").replace("_", " ")
        yield Panel(label.capitalize(), {name: label}, _note(name))


def _learning(every: Sequence[str], occurred: Sequence[str]) -> Iterable[Panel]:
    yield Panel("KL to the initial policy", {"learner/kl": "KL"}, "per token")
    yield Panel("Clip fraction", {"learner/clip_fraction": "clip fraction"}, "share of the tokens")
    yield Panel(
        "Gradient norm",
        {"learner/grad_norm": "gradient", "learner/update_norm": "update"},
        "before clipping",
        scale="log",
    )
    yield Panel(
        "Log-probabilities of sampler and learner",
        {"learner/logprob_difference": "mean", "learner/logprob_difference_max": "maximum"},
        "their difference for a token, before a step's first update",
        scale="log",
    )
    yield Panel("Loss", {"learner/loss": "loss"})
    yield Panel("Importance ratio", {"learner/ratio": "ratio"}, "present to sampling policy")
    updates = {"learner/updates": "done", "learner/skipped_updates": "skipped"}
    yield Panel("Updates", updates, "per step; skipped where something was not finite")
    yield Panel("Tokens trained on", {"learner/tokens": "tokens"}, "per step")
    yield Panel("Packing fill", {"learner/packing_fill": "fill"}, "tokens of the rows computed")


def _lengths(every: Sequence[str], occurred: Sequence[str]) -> Iterable[Panel]:
    known: set[str] = set()
    for title, kinds, note in (
        ("Tokens", ("policy_tokens", "context_tokens", "simulator_tokens"), "per valid episode"),
        ("Turns", ("assistant_turns", "user_turns", "tool_turns"), "per valid episode"),
        (
            "Calls",
            (
                *("calls", "valid_calls", "executed_calls"),
                *("malformed_calls", "unmarked_calls", "unanswered_calls"),
            ),
            "per valid episode; unmarked: written as mere text, without the form of a call",
        ),
        (
            "Requests to the simulator",
            ("simulator_requests", "simulator_retries"),
            "per valid episode",
        ),
    ):
        yield Panel(title, {f"counts/{kind}": kind.replace("_", " ") for kind in kinds}, note)
        known.update(f"counts/{kind}" for kind in kinds)
    others = [name for name in _with("counts/", every) if name not in known]
    yield Panel("Other counts", _labels(others), "per valid episode")


def _speed(every: Sequence[str], occurred: Sequence[str]) -> Iterable[Panel]:
    phases = [name for name in _with("seconds/", every) if _last(name) != "step"]
    yield Panel("Seconds by phase", _labels(phases), kind="stack")
    yield Panel("Seconds per step", {"seconds/step": "step"}, "phases may overlap")
    yield Panel("Tokens per second", _labels(_with("tokens_per_second/", every)), scale="log")


_GROUPS: tuple[tuple[str, bool, Callable[[Sequence[str], Sequence[str]], Iterable[Panel]]], ...] = (
    ("Reward", False, _reward),
    ("Validity", False, _validity),
    ("Cold start", True, _cold_start),
    ("Curriculum", True, _curriculum),
    ("Learning", False, _learning),
    ("Lengths", False, _lengths),
    ("Speed", False, _speed),
)


def _note(name: str) -> str:
    kind = _last(name).partition("_")[0]
    return _MEANINGS.get(_last(name)) or _AT_FRONTIER.get(kind, "")


def _with(prefix: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def _labels(names: Iterable[str]) -> dict[str, str]:
    return {name: words(name) for name in names}


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def rounded(value: float | None) -> float | None:
    """With as many digits as a chart can show."""
    return None if value is None else float(f"{value:.{_DIGITS}g}")
