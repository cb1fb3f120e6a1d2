"""`trustee export`."""

from __future__ import annotations

import re
from typing import Any

from absl import flags

from trustee_jax.commands.command_line import RUN, Command, absolute, path

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?)({'|'.join(_UNITS)})")


class _StepParser(flags.IntegerParser):
    """A step's number, or "best"."""

    def parse(self, argument: Any) -> Any:
        if argument == "best":
            return argument
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("write the number of a step, or best") from None


def _define_export(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "output", None, "Folder to write; it must be empty or not exist yet.", flag_values=values
    )
    flags.DEFINE_enum(
        "form",
        "merged",
        ("adapter", "merged"),
        "The whole model with the adapter merged into its weights, for transformers, or the "
        "adapter alone, for PEFT.",
        flag_values=values,
    )
    flags.DEFINE(
        _StepParser(),
        "step",
        None,
        "Which checkpoint; best is the one with the highest score, the newest if not given.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "shard_size",
        "5GB",
        "Largest file of a merged model, as 500MB or 5GB; larger models are several files with an "
        "index.",
        flag_values=values,
    )


def _export(values: flags.FlagValues, run: str) -> None:
    shard_bytes = _bytes(str(values["shard_size"].value))
    from trustee_jax.export import export

    output = path(values, "output")
    step, form = values["step"].value, values["form"].value
    assert form is not None
    export(absolute(run), output, step=step, form=form, shard_bytes=shard_bytes)
    print(f"wrote {output}")


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text.upper())
    size = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise flags.Error(f"--shard_size={text}: write a size, e.g. 500MB or 5GB")
    return size


EXPORT = Command(
    "export",
    "Writes the trained policy as a Hugging Face folder, with a model card.",
    _export,
    positionals=(RUN,),
    define=_define_export,
    required=("output",),
    examples=(
        "export runs/quickstart --output=exported",
        "export runs/quickstart --output=adapter --form=adapter --step=best",
    ),
)
