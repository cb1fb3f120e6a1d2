"""An audit on the terminal: how far it is, and its tables."""

from collections.abc import Mapping

import rich.box
from rich.console import Console
from rich.table import Table

from trustee_jax.audit.measures import Calibration
from trustee_jax.audit.summary import Group, ModeSummary, Recital

_LEGEND = (
    "Caught: the verdict finds a criterion not met that the fault has broken; with Wilson's 95% "
    "interval.\nLess sure: the probability of met is lower than for the episode without the fault."
    "\nClean: of a run's own episodes, only those that no veto objects to can be taken for clean; "
    "whether\nvetoes fail clean ones, --gold and --clean tell."
)


def show(
    summaries: Mapping[str, ModeSummary], not_applicable: Mapping[str, int], console: Console
) -> None:
    """Prints the tables of all modes.

    Args:
      summaries: By mode.
      not_applicable: Fault -> episodes that have no place for it.
      console: Where to.
    """
    console.print(_LEGEND, highlight=False)
    if any(not_applicable.values()):
        listed = ", ".join(f"{name} {count}" for name, count in not_applicable.items())
        console.print(f"Episodes without a place for a fault: {listed}.", highlight=False)
    for mode, summary in summaries.items():
        console.print(_faults(mode, summary))
        console.print(_agreement(mode, summary), highlight=False)
        console.print(_recital(summary.recital), highlight=False)
        if summary.calibration is None:
            console.print("This mode gives no probabilities.\n")
        else:
            console.print(_reliability(mode, summary.calibration))
            console.print(_criteria(summary), highlight=False)


def _faults(mode: str, summary: ModeSummary) -> Table:
    title = f"Verifier, mode {mode}: planted faults that it caught"
    table = Table(title=title, box=rich.box.SIMPLE)
    for name in ("planted fault", "not met"):
        table.add_column(name, no_wrap=True)
    for name in ("model alone", "with vetoes", "less sure", "no verdict"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, group in summary.faults.items():
        _add(table, name, group)
    table.add_section()
    _add(table, "clean, but failed", summary.clean)
    return table


def _add(table: Table, name: str, group: Group) -> None:
    """A row for any of the criteria, and one for each of several."""
    several = len(group.criteria) > 1
    what = "any of these" if several else group.criteria[0]
    ranked = "" if several else _ranked(group, what)
    none = str(sum(group.unavailable.values()))
    table.add_row(name, what, str(group.model), str(group.vetoed), ranked, none)
    for criterion in group.criteria if several else ():
        rates = str(group.by_model[criterion]), str(group.by_veto[criterion])
        table.add_row("", criterion, *rates, _ranked(group, criterion), "")


def _ranked(group: Group, criterion: str) -> str:
    rate = group.ranked.get(criterion)
    return f"{rate.count}/{rate.of}" if rate is not None and rate.of else ""


def _agreement(mode: str, summary: ModeSummary) -> str:
    what = "a look at the same in another order" if mode == "logprobs" else "a second sample"
    if not summary.agreement.same.of:
        return f"No agreement measured (would be: with {what}).\n"
    kappa = summary.agreement.kappa
    beyond = "undefined: all answers are alike" if kappa is None else f"{kappa:.2f}"
    return f"Agreement with {what}: {summary.agreement.same}; kappa {beyond}.\n"


def _recital(recital: Recital | None) -> str:
    if recital is None:
        return "This mode gives no reasons.\n"
    lines = [f"Reasons that only recite the question: {recital.recited}."]
    for name, one in (("these answers", recital.reciting), ("the others", recital.others)):
        lines.append(
            f"Of {name}: met {one.met}; right {one.right}; same in a second opinion {one.same}."
        )
    return "\n".join(lines) + "\n"


def _reliability(mode: str, calibration: Calibration) -> Table:
    title = (
        f"Probabilities of mode {mode}: ECE {calibration.ece:.3f}, Brier {calibration.brier:.3f}"
    )
    table = Table(title=title, box=rich.box.SIMPLE, min_width=len(title))
    for name in ("probability of met", "answers", "mean", "met in truth"):
        table.add_column(name, justify="right")
    for row in calibration.bins:
        table.add_row(
            f"{row.low:.1f} to {row.high:.1f}", str(row.count), f"{row.mean:.2f}", f"{row.met:.2f}"
        )
    return table


def _criteria(summary: ModeSummary) -> str:
    # Not over all of them: some are asked for of clean episodes alone.
    parts = [f"{name} {_optional(found.auroc)}" for name, found in summary.by_criterion.items()]
    return f"Area under ROC by criterion: {', '.join(parts)}.\n"


def _optional(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
