"""The findings as JSON values, in Markdown and on the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.table import Table

from trustee_jax.evaluation.play import READINGS
from trustee_jax.evaluation.summary import difference_text, markdown_table
from trustee_jax.evidence.claims import RULES
from trustee_jax.evidence.findings import CALLS, IRRELEVANCE, Findings, Gain, Measured, Noise

Cells = tuple[str, ...]
POLICIES = ("policy", "step", "calls, strict", "calls, lenient", "irrelevance")
PLAYED = ("simulated: success by code", "reward")
COSTS = ("policy", "steps", "hours", "episodes", "tokens sampled", "hours measured")
_LEGEND = (
    "Right answers by the official checkers of BFCL, greedy, with Wilson's 95% interval. Strict: "
    "calls in the model's own form; lenient: in any form that a reader would accept."
)


def to_json(findings: Findings) -> dict[str, Any]:
    """Plain JSON values of all figures."""
    return {
        "policies": [_policy(one) for one in findings.measured],
        "rules": RULES,
        "claims": [one.to_json() for one in findings.claims],
        "gains": [dataclasses.asdict(one) for one in findings.gains],
        "by_category": {
            reading: {name: vars(pair) for name, pair in pairs.items()}
            for reading, pairs in findings.by_category.items()
        },
        "seeds": findings.seeds and dataclasses.asdict(findings.seeds),
        "noise": findings.noise
        and {
            "cases": findings.noise.cases,
            "texts": findings.noise.texts,
            "pair": vars(findings.noise.pair),
        },
        "missing": dict(findings.missing),
        "tables": {
            "policies": {"head": list(policy_head(findings)), "rows": policy_rows(findings)},
            "costs": {"head": list(COSTS), "rows": cost_rows(findings)},
        },
        "remarks": remarks(findings),
    }


def markdown(findings: Findings, title: str, commands: Sequence[str]) -> str:
    """A page to paste.

    Args:
      findings: What was found.
      title: Of the page.
      commands: That made what it rests on.
    """
    lines = [f"# {title}", "", *(f"- {one}" for one in findings.claims), "", RULES, ""]
    lines += [_LEGEND, "", *markdown_table([policy_head(findings), *policy_rows(findings)]), ""]
    lines += [f"- {text}" for text in remarks(findings)]
    lines += ["", *markdown_table([COSTS, *cost_rows(findings)]), ""]
    lines += ["```bash", *commands, "```", ""]
    return "\n".join(lines)


def show(findings: Findings, console: Console) -> None:
    """Prints the table and the sentences."""
    console.print(_LEGEND, highlight=False)
    table = Table(box=rich.box.SIMPLE)
    for place, name in enumerate(policy_head(findings)):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in policy_rows(findings):
        table.add_row(*row)
    console.print(table)
    for text in (*map(str, findings.claims), *remarks(findings)):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def remarks(findings: Findings) -> list[str]:
    """What is said beside the claims: further comparisons, seeds, noise, what is not there."""
    texts = [*map(gain_text, findings.gains), seeds_text(findings)]
    texts += [noise_text(findings.noise)] if findings.noise else []
    texts += [f"not there: {name} ({why})" for name, why in findings.missing.items()]
    return list(filter(None, texts))


def policy_head(findings: Findings) -> Cells:
    """What is in the columns of `policy_rows`."""
    return (*POLICIES, *PLAYED) if _played(findings) else POLICIES


def policy_rows(findings: Findings) -> list[Cells]:
    """A row for each policy."""
    rows = []
    for one in findings.measured:
        calls = (str(one.rate(CALLS, reading)) for reading in READINGS)
        cells: Cells = (
            one.subject.name,
            str(one.subject.step),
            *calls,
            str(one.rate(IRRELEVANCE, "strict")),
        )
        if _played(findings):
            row = one.simulated()
            cells += ("-", "-") if row is None else (str(row.success), str(row.reward))
        rows.append(cells)
    return rows


def cost_rows(findings: Findings) -> list[Cells]:
    """What each policy took, training and measuring."""
    rows = []
    for one in findings.measured:
        cost = one.cost
        trained: Cells = ("0", "-", "-", "-")
        if cost is not None:
            trained = (
                str(cost.steps),
                f"{cost.hours:.2f}",
                f"{cost.episodes:,}",
                f"{cost.tokens:,}",
            )
        rows.append((one.subject.name, *trained, f"{one.seconds / 3600:.2f}"))
    return rows


def gain_text(gain: Gain) -> str:
    """A comparison beside the claims."""
    difference = difference_text(gain.pair, " points")
    return f"{gain.b} against {gain.a} on calls: {difference}, p = {gain.pair.p:.2g}, uncorrected"


def seeds_text(findings: Findings) -> str:
    """The gain over the seeds, or nothing where there is one."""
    found = findings.seeds
    if found is None or found.margin is None:
        return ""
    return (
        f"gain on calls over the base read leniently, mean over {found.count} seeds: "
        f"{100 * found.mean:+.1f} points (± {100 * found.margin:.1f}, Student's t at 95%)"
    )


def noise_text(noise: Noise) -> str:
    """How far the same policy is from itself."""
    pair = noise.pair
    return (
        f"the base measured twice, with another number of answers under way: {noise.texts} of "
        f"{noise.cases} answers in other words, {pair.only_a + pair.only_b} with another verdict"
    )


def _policy(one: Measured) -> dict[str, Any]:
    rates = {
        reading: {name: rate.to_json() for name, rate in one.results.rates(reading).items()}
        for reading in READINGS
    }
    played = one.simulated()
    return {
        "name": one.subject.name,
        "role": one.subject.role,
        "run": str(one.subject.run),
        "step": one.subject.step,
        "differs": dict(one.subject.differs),
        "rates": rates,
        "calls": {reading: one.rate(CALLS, reading).to_json() for reading in READINGS},
        "irrelevance": one.rate(IRRELEVANCE, "strict").to_json(),
        "simulated": played and played.to_json(),
        "cost": one.cost and dataclasses.asdict(one.cost),
        "seconds_measured": one.seconds,
        "identity": one.results.meta["identity"],
        "machine": _machine(one.results.meta),
    }


def _machine(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name not in ("identity", "sizes")}


def _played(findings: Findings) -> bool:
    return any(one.outcomes is not None for one in findings.measured)
