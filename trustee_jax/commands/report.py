"""`trustee report`."""

from __future__ import annotations

from absl import flags

from trustee_jax.commands.command_line import RUN, Command, absolute, path


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output", None, "HTML file to write; RUN/report.html if not given.", flag_values=values
    )
    flags.DEFINE_integer(
        "episodes",
        None,
        "Keep only so many episodes, the most recent; all if not given.",
        lower_bound=0,
        flag_values=values,
    )


def _run(values: flags.FlagValues, run: str) -> None:
    from trustee_jax.config import all_options
    from trustee_jax.report.write import write_report

    folder = absolute(run)
    output = path(values, "output") if values["output"].value else folder / "report.html"
    write_report(folder, output, defaults=all_options(), most_episodes=values["episodes"].value)


REPORT = Command(
    "report",
    "Writes a run as one HTML file, to be opened from disk: curves, accounting, every episode.",
    _run,
    positionals=(RUN,),
    define=_define,
    examples=("report runs/quickstart", "report runs/quickstart --output=report.html"),
)
