"""`trustee audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from trustee_jax.commands.command_line import Command, Positional, absolute, path

if TYPE_CHECKING:
    from trustee_jax.audit.recorded import Recorded
    from trustee_jax.config import Config


def _run(values: flags.FlagValues, run: str | None = None) -> None:
    if not (values["simulator"].value or values["config"].value or run):
        raise flags.Error("name a model: --simulator=SOURCE, --config=FILE.py or a RUN")
    workdir = None if run is None else absolute(run)
    from trustee_jax.audit.audit import MODES, AuditedModel, AuditOptions, audit
    from trustee_jax.audit.faults import FAULTS
    from trustee_jax.build import build_simulator

    faults = {fault.name: fault for fault in FAULTS}
    chosen = _chosen(values, "faults", tuple(faults))
    options = AuditOptions(
        modes=_chosen(values, "modes", MODES),
        faults=tuple(fault for name, fault in faults.items() if name in chosen),
        second_opinions=values["second_opinions"].value,
        seed=int(values["seed"].value or 0),
    )
    recorded = _episodes(values, workdir)[: values["limit"].value]
    output = (workdir or absolute(".")) / "audit.json"
    if values["output"].value:
        output = path(values, "output")
    config = _config(values, workdir)
    model = AuditedModel(
        source=config.model.simulator or config.model.source,
        load=lambda: build_simulator(config, ("verifier",)),
        lanes=config.engine.slots,
        context={"dtype": config.model.dtype, "seed": config.seed},
    )
    audit(model, config.environment, recorded, options, output)


def _define(values: flags.FlagValues) -> None:
    texts = {
        "simulator": "The model that verifies, e.g. hub:Qwen/Qwen3-8B or file.gguf; the simulator "
        "of the config if not given.",
        "episodes": "File of recorded episodes; those that are clean for certain are used. "
        "RUN/episodes.jsonl if not given.",
        "clean": "File of episodes that are used as they are: whoever wrote it vouches for them.",
        "output": "JSON file to write; RUN/audit.json if not given, without a RUN ./audit.json.",
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
        "faults": (None, "Faults to plant, by name; all if not given."),
    }
    for name, (default, text) in lists.items():
        flags.DEFINE_list(name, default, text, flag_values=values)
    numbers = {
        "limit": (None, 1, "Use only so many episodes, the first ones."),
        "second_opinions": (None, 0, "Judge so many episodes twice; all if not given."),
        "seed": (0, 0, "Decides what the faults look like."),
    }
    for name, (number, least, text) in numbers.items():
        flags.DEFINE_integer(name, number, text, least, 2**32 - 1, flag_values=values)


def _chosen(values: flags.FlagValues, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    listed = values[name].value
    chosen = known if listed is None else tuple(dict.fromkeys(listed))
    for one in chosen:
        if one not in known:
            raise flags.Error(f"--{name}: there is no {one!r}; there are: {', '.join(known)}")
    if not chosen and name == "modes":
        raise flags.Error(f"--modes: name at least one of {', '.join(known)}")
    return chosen


def _episodes(values: flags.FlagValues, workdir: Path | None) -> list[Recorded]:
    from trustee_jax.audit.recorded import GOLD, clean_episodes, read_recorded

    recorded: list[Recorded] = []
    source: Path | None = None
    if values["episodes"].value:
        source = path(values, "episodes")
    elif workdir and not (values["gold"].value or values["clean"].value):
        source = workdir / "episodes.jsonl"
    if source is not None:
        recorded += clean_episodes(read_recorded(source), str(source))
    if values["clean"].value:
        recorded += read_recorded(path(values, "clean"))
    if values["gold"].value or not recorded:
        recorded += read_recorded(GOLD)
    return recorded


def _config(values: flags.FlagValues, workdir: Path | None) -> Config:
    import dataclasses

    from trustee_jax import config as run_config
    from trustee_jax.build import plain_config
    from trustee_jax.run import read_config

    simulator = values["simulator"].value
    if values["config"].value is not None:
        config = run_config.parse(values["config"].value)
    elif workdir:
        config = read_config(workdir)
    else:
        return plain_config(str(simulator))
    if simulator is None:
        return config
    return dataclasses.replace(config, model=dataclasses.replace(config.model, simulator=simulator))


AUDIT = Command(
    "audit",
    "Measures how far a model's verdicts can be trusted: plants known faults in clean episodes and "
    "counts how often each is caught, how often a clean episode is failed, how often two opinions "
    "agree, and how far the probabilities can be taken at their word.",
    _run,
    positionals=(
        Positional(
            "RUN",
            "A run, the --workdir of a training: its episodes, of which those are used that are "
            "clean for certain, its options and its simulator.",
            optional=True,
        ),
    ),
    define=_define,
    config="Python file with get_config(): the options of the verifier; those of RUN if not given, "
    "else the package's.",
    examples=(
        "audit --gold --simulator=hub:Qwen/Qwen3-8B",
        "audit runs/quickstart",
    ),
)
