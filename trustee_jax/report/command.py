"""`trustee report RUN`."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from trustee_jax.command_line import absolute, asks_for_help, help_text, parse, path


def run(arguments: Sequence[str]) -> None:
    """Writes the report of a run.

    Args:
      arguments: RUN, the workdir of a training, and flags.

    Raises:
      flags.Error: A flag is unknown or ill-typed, or RUN is missing.
      ReportError: RUN holds no run, or the report cannot be written.
    """
    values = flags.FlagValues()
    flags.DEFINE_string(
        "output", None, "HTML file to write; RUN/report.html by default.", flag_values=values
    )
    flags.DEFINE_integer(
        "episodes",
        None,
        "Keep only so many episodes, the most recent; all by default.",
        lower_bound=0,
        flag_values=values,
    )
    if asks_for_help(arguments):
        print("trustee report RUN: a training's workdir as one HTML file, to be opened from disk")
        print(help_text(values))
        return
    words = parse(values, arguments, positional=1)
    if not words:
        raise flags.Error("name the run: trustee report RUN, the --workdir of a training")
    from trustee_jax.report.write import write_report

    folder = absolute(words[0])
    output = path(values, "output") if values["output"].value else folder / "report.html"
    write_report(folder, output, most_episodes=values["episodes"].value)
