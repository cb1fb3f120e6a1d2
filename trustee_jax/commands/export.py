"""`trustee export`."""

from __future__ import annotations

from absl import flags

from trustee_jax.commands.command_line import RUN, Command, absolute, path


def _define_export(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output", None, "Folder to write; it must be empty or not exist yet.", flag_values=values
    )
    flags.DEFINE_integer(
        "step", None, "Which checkpoint; the newest if not given.", flag_values=values
    )


def _export(values: flags.FlagValues, run: str) -> None:
    from trustee_jax.export import export

    output = path(values, "output")
    export(absolute(run), output, step=values["step"].value)
    print(f"wrote {output}")


EXPORT = Command(
    "export",
    "Writes the trained policy as a Hugging Face folder.",
    _export,
    positionals=(RUN,),
    define=_define_export,
    required=("output",),
    examples=("export runs/quickstart --output=exported",),
)
