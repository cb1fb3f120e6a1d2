"""`trustee eval`: benchmarks of a policy, and two results compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from trustee_jax.commands.command_line import Command, Group, Positional, absolute, given, path

if TYPE_CHECKING:
    from trustee_jax.config import Config
    from trustee_jax.evaluation.installing import Requirements
    from trustee_jax.evaluation.play import AnswerOptions, Reading
    from trustee_jax.players import Policy, Restore


def _bfcl(values: flags.FlagValues, run: str | None = None) -> None:
    import dataclasses

    from trustee_jax.evaluation.board import choose_categories

    categories = choose_categories(given(values, "categories") or ())
    workdir = None if run is None else absolute(run)
    _check_flags(values, workdir)
    config = _config(values, workdir)
    from trustee_jax.evaluation import summary
    from trustee_jax.evaluation.bfcl import EvaluatedPolicy, evaluate, open_checker
    from trustee_jax.evaluation.installing import BFCL
    from trustee_jax.evaluation.results import ResultsFolder
    from trustee_jax.players import build_policy
    from trustee_jax.progress import standard_output
    from trustee_jax.storage import storage_errors
    from trustee_jax.training.workdir import Layout

    if given(values, "slots"):
        engine = dataclasses.replace(config.engine, slots=given(values, "slots"))
        config = dataclasses.replace(config, engine=engine)
    options = _answer_options(values, config)
    environment = environment_of(values, BFCL)
    with open_checker(environment) as checker:
        print(f"loading {config.model.source}", flush=True)
        policy = build_policy(
            config,
            seed=given(values, "seed"),
            max_length=given(values, "max_length"),
            restore=restore_of(values, workdir),
        )
        step = None if workdir is None else policy.step
        if policy.note:
            print(policy.note, flush=True)
        identity = _identity(policy, step, config, options, checker.description["version"])
        identity["seed"] = given(values, "seed")
        output = path(values, "output") if given(values, "output") else None
        if output is None:
            assert workdir is not None
            output = Layout(workdir).evaluation / f"bfcl-step{step:06d}"
        console = standard_output()
        with storage_errors(output), ResultsFolder(output, identity, _about(workdir)) as folder:
            try:
                evaluate(
                    EvaluatedPolicy(policy.format, policy.engine, config.engine.slots),
                    checker,
                    folder,
                    categories,
                    options,
                    limit=given(values, "limit"),
                    console=console,
                )
            finally:
                # Of what there is, also after Ctrl-C.
                if folder.results.records:
                    summary.write(folder.results, output)
            summary.show(folder.results, console)
            if given(values, "tensorboard") and workdir is not None:
                summary.write_tensorboard(folder.results, workdir / "tensorboard", step or 0)
    console.print(f"wrote {output}", highlight=False, soft_wrap=True)


def _define_bfcl(values: flags.FlagValues) -> None:
    texts = {
        "model": "Weights to measure in place of a run's, e.g. hub:Qwen/Qwen3-8B, file.gguf or an "
        "exported folder.",
        "output": "Folder of the results; what it has already is not done again. "
        "RUN/eval/bfcl-stepN if not given; needed without a RUN.",
        "bfcl_env": "Folder of the environment of the official checkers, made if it is not there; "
        "in the user's cache if not given.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_list(
        "categories",
        "all",
        "Categories, or the groups all, single_turn, non_live, live, multi_turn.",
        flag_values=values,
    )
    numbers = {
        "step": (None, 0, "Which checkpoint of RUN; 0: before training; the newest if not given."),
        "limit": (None, 1, "Cases of each category, the same for every model; all if not given."),
        "seed": (0, 0, "Decides what is drawn at a temperature."),
        "max_tokens": (1024, 1, "Longest answer, in tokens, thoughts included."),
        "max_length": (None, 1, "Longest context, in tokens; that of the config if not given."),
        "slots": (None, 1, "Answers under way at a time; engine.slots of the config if not given."),
    }
    for name, (number, least, text) in numbers.items():
        flags.DEFINE_integer(name, number, text, least, 2**32 - 1, flag_values=values)
    flags.DEFINE_float(
        "temperature", 0.0, "Of the answers; 0 takes the likeliest tokens.", flag_values=values
    )
    flags.DEFINE_bool(
        "lenient",
        False,
        "Let conversations go on by calls in any form that a reader would accept. Single answers "
        "are always read in both ways.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "tensorboard", False, "Add the shares to RUN's TensorBoard, too.", flag_values=values
    )


def _check_flags(values: flags.FlagValues, workdir: Path | None) -> None:
    named = [name for name in ("model", "config") if values[name].value]
    if workdir is None and not named:
        raise flags.Error("name what to measure: a RUN, --model=SOURCE or --config=FILE.py")
    if workdir is not None and named:
        raise flags.Error(f"--{named[0]} is for a model without a RUN; give one of both")
    if workdir is not None:
        return
    if not given(values, "output"):
        raise flags.Error("--output is needed without a RUN")
    if given(values, "step") is not None:
        raise flags.Error("--step needs a RUN")
    if given(values, "tensorboard"):
        raise flags.Error("--tensorboard needs a RUN")


def _config(values: flags.FlagValues, workdir: Path | None) -> Config:
    import dataclasses

    from trustee_jax import config as run_config
    from trustee_jax.build import plain_config
    from trustee_jax.run import read_config

    model = given(values, "model")
    if workdir is not None:
        return read_config(workdir)
    if given(values, "config") is None:
        return plain_config(str(model))
    config = run_config.parse(given(values, "config"))
    if not model:
        return config
    return dataclasses.replace(config, model=dataclasses.replace(config.model, source=model))


def _answer_options(values: flags.FlagValues, config: Config) -> AnswerOptions:
    from trustee_jax.engine.types import Sampling
    from trustee_jax.evaluation.play import AnswerOptions

    return AnswerOptions(
        max_tokens=given(values, "max_tokens"),
        max_length=given(values, "max_length") or config.engine.max_length,
        sampling=Sampling(given(values, "temperature")),
        thinking=config.environment.policy.thinking,
        history=config.environment.policy.history,
        lenient=given(values, "lenient"),
    )


def environment_of(values: flags.FlagValues, requirements: Requirements) -> Path:
    """The folder of a benchmark's environment; says so if it has to be made."""
    from trustee_jax.evaluation.installing import default_folder
    from trustee_jax.weights.downloads import cache_folder

    flag = requirements.flag.removeprefix("--")
    folder = default_folder(cache_folder(), requirements)
    folder = path(values, flag) if given(values, flag) else folder
    if not folder.exists():
        print(f"installing {requirements.name} in {folder}", flush=True)
    return folder


def restore_of(values: flags.FlagValues, workdir: Path | None) -> Restore | None:
    """What reads the parameters of the checkpoint that is measured; None of an untrained policy."""
    import functools

    from trustee_jax.run import restore_trained

    step = given(values, "step")
    if workdir is None or step == 0:
        return None
    return functools.partial(restore_trained, workdir, step=step)


def _identity(
    policy: Policy, step: int | None, config: Config, options: AnswerOptions, version: str
) -> dict[str, Any]:
    """What every verdict depends on."""
    import dataclasses
    import hashlib

    template = hashlib.sha256(policy.format.template.encode()).hexdigest()[:16]
    return {
        "bfcl_eval": version,
        "model": config.model.source,
        "step": step,
        "weights": policy.weights,
        "dtype": config.model.dtype,
        "quantization": config.model.quantization,
        "template": template,
        "call_syntax": policy.format.call_syntax.value,
        **dataclasses.asdict(options),
    }


def _about(workdir: Path | None) -> dict[str, Any]:
    """What else a reader wants to know."""
    import datetime

    from trustee_jax.bench.machine import describe

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"run": workdir and str(workdir), "started": started, **describe()}


def _compare(values: flags.FlagValues, a: str, b: str) -> None:
    import json

    from trustee_jax.evaluation import summary
    from trustee_jax.evaluation.pairs import compare
    from trustee_jax.evaluation.results import read_results
    from trustee_jax.progress import standard_output
    from trustee_jax.storage import storage_errors, write_text

    readings = _readings(values)
    results = read_results(absolute(a)), read_results(absolute(b))
    comparison = compare(*results, readings)
    console = standard_output()
    for name, folder, reading in zip("AB", (a, b), readings, strict=True):
        console.print(f"{name}: {folder}, read {reading}", highlight=False, soft_wrap=True)
    identities = [one.meta["identity"] for one in results]
    differing = [n for n in identities[0] if identities[0][n] != identities[1].get(n)]
    console.print(f"They differ in: {', '.join(differing) or 'nothing'}.", highlight=False)
    summary.show_comparison(comparison, console)
    if given(values, "output"):
        output = path(values, "output")
        found = {"a": a, "b": b, "readings": readings, "differ": differing, **comparison.to_json()}
        with storage_errors(output.parent):
            write_text(output, json.dumps(found, indent=1) + "\n")


def _readings(values: flags.FlagValues) -> tuple[Reading, Reading]:
    from trustee_jax.evaluation.play import READINGS

    readings: list[Reading] = given(values, "read") or []
    if len(readings) not in (1, 2) or not set(readings) <= set(READINGS):
        raise flags.Error(
            f"--read={','.join(readings)}: give one of {', '.join(READINGS)}, or one for each "
            "folder, e.g. lenient,strict"
        )
    return readings[0], readings[-1]


def _define_compare(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "read",
        "strict",
        "How answers are read: strict or lenient, or one for A and one for B.",
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "JSON file to write.", flag_values=values)


BFCL = Command(
    "eval bfcl",
    "Measures a policy by the Berkeley Function-Calling Leaderboard: official data and checkers, "
    "case by case, resumable.",
    _bfcl,
    positionals=(
        Positional("RUN", "The run whose policy is measured, the --workdir of a training.", True),
    ),
    define=_define_bfcl,
    config="Python file with get_config(): the options of a model that belongs to no RUN.",
    examples=(
        "eval bfcl runs/quickstart --categories=simple_python,irrelevance --limit=100",
        "eval bfcl --model=hub:Qwen/Qwen3-8B --categories=non_live --output=results/qwen3",
    ),
)

COMPARE = Command(
    "eval compare",
    "Compares two folders of results over the cases that both have: who got right what the other "
    "did not, McNemar's exact test, and the difference with its interval.",
    _compare,
    positionals=(
        Positional("A", "Folder of results, e.g. of the base model."),
        Positional("B", "Folder of results, e.g. of the trained one."),
    ),
    define=_define_compare,
    examples=("eval compare results/base results/trained --read=lenient,strict",),
)

EVAL = Group(
    "eval",
    "Measures of a policy.",
    {
        "bfcl": BFCL,
        "compare": COMPARE,
        "tasks": "trustee_jax.commands.eval_simulated:TASKS",
        "simulated": "trustee_jax.commands.eval_simulated:SIMULATED",
        "tau2": "trustee_jax.commands.eval_tau2:TAU2",
    },
)
