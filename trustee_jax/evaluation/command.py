"""`trustee audit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from trustee_jax.command_line import (
    absolute,
    asks_for_help,
    define_config,
    help_text,
    parse_with_config,
    path,
)

if TYPE_CHECKING:
    from trustee_jax.config import Config
    from trustee_jax.evaluation.recorded import Recorded

_USAGE = """\
trustee audit: how far a model's verdicts can be trusted

  trustee audit --simulator=hub:Qwen/Qwen3-8B
      On the episodes that come with the package.
  trustee audit --workdir=runs/quickstart
      On those of a run that are clean for certain, with the run's simulator and options.

Plants known faults in clean episodes and counts how often each is caught, how often a clean episode
is failed, how often two opinions agree, and how far the probabilities can be taken at their word.
"""


def run(arguments: Sequence[str]) -> None:
    """Measures a verifier.

    Args:
      arguments: The command's flags.

    Raises:
      flags.Error: A flag is unknown, ill-typed, or needed and missing.
      InputError: Episodes, config or model cannot be used.
    """
    values = _flags(arguments)
    if asks_for_help(arguments):
        print(_USAGE)
        print(help_text(values))
        return
    parse_with_config(values, arguments)
    if not any(values[name].value for name in ("simulator", "config", "workdir")):
        raise flags.Error("name a model: --simulator=SOURCE, --workdir=RUN or --config=FILE.py")
    from trustee_jax.evaluation.audit import MODES, AuditOptions, audit
    from trustee_jax.evaluation.faults import FAULTS

    faults = {fault.name: fault for fault in FAULTS}
    chosen = _chosen(values, "faults", tuple(faults))
    options = AuditOptions(
        modes=_chosen(values, "modes", MODES),
        faults=tuple(fault for name, fault in faults.items() if name in chosen),
        second_opinions=values["second_opinions"].value,
        seed=int(values["seed"].value or 0),
    )
    recorded = _episodes(values)[: values["limit"].value]
    output = absolute("audit.json")
    if values["output"].value:
        output = path(values, "output")
    elif values["workdir"].value:
        output = path(values, "workdir") / "audit.json"
    audit(_config(values), recorded, options, output)


def _flags(arguments: Sequence[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    define_config(
        values,
        arguments,
        "Options of the verifier, as for trustee train; overridden by --config.NAME=VALUE. Those "
        "of --workdir by default, else the package's.",
    )
    texts = {
        "workdir": "A run: its episodes, its options and its simulator.",
        "simulator": "The model that verifies, e.g. hub:Qwen/Qwen3-8B or file.gguf; by default the "
        "simulator of the config.",
        "episodes": "File of recorded episodes; those that are clean for certain are used. "
        "WORKDIR/episodes.jsonl by default.",
        "clean": "File of episodes that are used as they are: whoever wrote it vouches for them.",
        "output": "JSON file to write; WORKDIR/audit.json by default, or ./audit.json.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_bool(
        "gold",
        False,
        "Use the episodes that come with the package; the default if no others are named.",
        flag_values=values,
    )
    lists = {
        "modes": ("reasoned,logprobs", "Modes of the verifier: reasoned, logprobs, joint."),
        "faults": (None, "Faults to plant, by name; all by default."),
    }
    for name, (default, text) in lists.items():
        flags.DEFINE_list(name, default, text, flag_values=values)
    numbers = {
        "limit": (None, 1, "Use only so many episodes, the first ones."),
        "second_opinions": (None, 0, "Judge so many episodes twice; all by default."),
        "seed": (0, 0, "Decides what the faults look like."),
    }
    for name, (number, least, text) in numbers.items():
        flags.DEFINE_integer(name, number, text, lower_bound=least, flag_values=values)
    return values


def _chosen(values: flags.FlagValues, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    listed = values[name].value
    chosen = known if listed is None else tuple(dict.fromkeys(listed))
    for one in chosen:
        if one not in known:
            raise flags.Error(f"--{name}: there is no {one!r}; there are: {', '.join(known)}")
    if not chosen and name == "modes":
        raise flags.Error(f"--modes: name at least one of {', '.join(known)}")
    return chosen


def _episodes(values: flags.FlagValues) -> list[Recorded]:
    from trustee_jax.evaluation.recorded import GOLD, clean_episodes, read_recorded

    recorded: list[Recorded] = []
    source: Path | None = None
    if values["episodes"].value:
        source = path(values, "episodes")
    elif values["workdir"].value and not (values["gold"].value or values["clean"].value):
        source = path(values, "workdir") / "episodes.jsonl"
    if source is not None:
        recorded += clean_episodes(read_recorded(source), str(source))
    if values["clean"].value:
        recorded += read_recorded(path(values, "clean"))
    if values["gold"].value or not recorded:
        recorded += read_recorded(GOLD)
    return recorded


def _config(values: flags.FlagValues) -> Config:
    import dataclasses

    from trustee_jax import config as run_config
    from trustee_jax.training.build import plain_config
    from trustee_jax.training.workdir import read_config

    simulator = values["simulator"].value
    if values["config"].value is not None:
        config = run_config.parse(values["config"].value)
    elif values["workdir"].value:
        config = read_config(path(values, "workdir"))
    else:
        return plain_config(str(simulator))
    if simulator is None:
        return config
    return dataclasses.replace(config, model=dataclasses.replace(config.model, simulator=simulator))
