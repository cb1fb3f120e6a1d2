"""`trustee eval tau2`: tau2-bench against a server of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from trustee_jax.commands.command_line import Command, Positional, absolute, given, path
from trustee_jax.commands.eval import environment_of

if TYPE_CHECKING:
    from trustee_jax.config import Config
    from trustee_jax.evaluation.tau2 import Checkout, Options
    from trustee_jax.serving.models import ServedModels

_AGENT = "agent"
_MAX_LENGTH = 16384


def _tau2(values: flags.FlagValues, run: str | None = None) -> None:
    workdir = None if run is None else absolute(run)
    config = _config(values, workdir)
    try:
        from trustee_jax.serving.app import ServeLimits, Server
        from trustee_jax.serving.server import listen, running
    except ModuleNotFoundError as error:
        raise flags.Error(f"{error.name} is missing: pip install 'trustee-jax[serve]'") from None
    from trustee_jax import streams
    from trustee_jax.bench.machine import describe
    from trustee_jax.evaluation import tau2, tau2_summary
    from trustee_jax.evaluation.installing import ensure_environment
    from trustee_jax.evaluation.results import RecordsFolder
    from trustee_jax.progress import counted, standard_output
    from trustee_jax.serve import BASE, open_models
    from trustee_jax.storage import storage_errors
    from trustee_jax.training.workdir import Layout

    domains = _domains(values)
    checkout = tau2.Checkout(path(values, "tau2"))
    tasks = {domain: checkout.tasks(domain) for domain in domains}
    options = tau2.Options(
        trials=given(values, "trials"),
        seed=given(values, "seed"),
        temperature=given(values, "temperature"),
        max_tokens=given(values, "max_tokens"),
        max_steps=given(values, "max_steps"),
    )
    needed = checkout.requirements
    python = ensure_environment(environment_of(values, needed), needed)
    step = _step(values, workdir)  # before loading: a run that goes on may save another meanwhile
    print(f"loading {config.model.source}", flush=True)
    models = open_models(
        config,
        _AGENT,
        workdir,
        {},
        step=step,
        slots=given(values, "slots"),
        max_length=given(values, "max_length"),
    )
    user = BASE if BASE in models else _AGENT
    lanes = given(values, "slots") or config.engine.slots
    output = path(values, "output") if given(values, "output") else None
    if output is None:
        assert workdir is not None
        output = Layout(workdir).evaluation / f"tau2-step{step:06d}"
    identity = {"step": step, "max_length": given(values, "max_length")}
    identity |= _identity(config, models, user, checkout, options)
    # Only the benchmark may ask this server, whose port any user of the machine can find.
    limits = ServeLimits(
        api_key=streams.chance_id(), queue=2 * lanes, deadline=given(values, "deadline")
    )
    console = standard_output()
    results = {}
    with (
        running(Server(models, limits), listen("127.0.0.1", 0)) as url,
        storage_errors(output),
        RecordsFolder(output, identity, describe(), tau2.Trial) as folder,
    ):
        address = tau2.Address(
            url, limits.api_key or "", _AGENT, user, lanes, timeout=limits.deadline
        )
        for domain in domains:
            chosen = tau2.chosen(tasks[domain], given(values, "limit"))
            conversations = tau2.Conversations(
                python, checkout, domain, chosen, address, options, output / domain
            )
            done = [trial for trial in conversations.trials() if not trial.error]
            left = len(chosen) * options.trials - len(done)
            with counted(domain, left, console) as advance:
                for found in conversations.run():
                    for trial in found:
                        # What the server refused is tried again another time.
                        if trial.id not in folder.records and not trial.error:
                            folder.add(trial)
                    advance(len(found) - len(done))
                    done = found
            judged = sum(task.judged for task in tasks[domain])
            results[domain] = tau2_summary.summarize(done, judged)
            tau2_summary.write(results, folder.meta, output)
        tau2_summary.show(results, console)
    console.print(f"wrote {output}", highlight=False, soft_wrap=True)


def _config(values: flags.FlagValues, workdir: Path | None) -> Config:
    from trustee_jax.build import plain_config
    from trustee_jax.run import read_config

    model = given(values, "model")
    if (workdir is None) == (model is None):
        raise flags.Error("name what to measure: a RUN or --model=SOURCE, one of both")
    if workdir is not None:
        return read_config(workdir)
    if not given(values, "output"):
        raise flags.Error("--output is needed without a RUN")
    if given(values, "step") is not None:
        raise flags.Error("--step needs a RUN")
    return plain_config(str(model))


def _domains(values: flags.FlagValues) -> list[str]:
    from trustee_jax.evaluation.tau2 import DOMAINS

    named: list[str] = given(values, "domains")
    if not named or not set(named) <= set(DOMAINS):
        raise flags.Error(f"--domains={','.join(named)}: name some of {', '.join(DOMAINS)}")
    return list(dict.fromkeys(named))


def _step(values: flags.FlagValues, workdir: Path | None) -> int | None:
    """Of the checkpoint that is measured; None if there is none, which loading it will tell."""
    from trustee_jax.training.workdir import Layout, saved_steps

    if workdir is None or given(values, "step") is not None:
        return given(values, "step")
    return max(saved_steps(Layout(workdir)), default=None)


def _identity(
    config: Config, models: ServedModels, user: str, checkout: Checkout, options: Options
) -> dict[str, Any]:
    """What every trial depends on, but for step and context."""
    import dataclasses

    held = dataclasses.asdict(options)
    del held["trials"]  # more of them add to what is there
    return {
        "tau2": checkout.version,
        "model": config.model.source,
        "weights": models[_AGENT].fingerprint,
        "user": models[user].fingerprint,
        "dtype": config.model.dtype,
        "quantization": config.model.quantization,
        "call_syntax": models[_AGENT].format.call_syntax.value,
        **held,
    }


def _define(values: flags.FlagValues) -> None:
    texts = {
        "tau2": "Folder of a clone of tau2-bench's repository.",
        "tau2_env": "Folder of the environment with what it needs, made if it is not there; in the "
        "user's cache if not given.",
        "model": "Weights to measure in place of a run's; they play the user, too.",
        "output": "Folder of the results; what it has already is not played again. "
        "RUN/eval/tau2-stepN if not given; needed without a RUN.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_list(
        "domains", "airline,retail,telecom", "Some of these three.", flag_values=values
    )
    numbers = {
        "step": (None, 0, "Which checkpoint of RUN; 0: before training; the newest if not given."),
        "limit": (None, 1, "Tasks of each domain, the same for every model; all if not given."),
        "trials": (1, 1, "Conversations of each task; with more, pass^k for every k up to it."),
        "seed": (300, 0, "Of tau2-bench."),
        "max_tokens": (1024, 1, "Longest answer, in tokens, thoughts included."),
        "max_length": (_MAX_LENGTH, 1, "Longest context, in tokens."),
        "max_steps": (200, 1, "Messages after which a conversation is broken off."),
        "slots": (None, 1, "Conversations at a time; engine.slots of the config if not given."),
    }
    for name, (number, least, text) in numbers.items():
        flags.DEFINE_integer(name, number, text, least, 2**31 - 1, flag_values=values)
    floats = {
        "temperature": (0.0, "Of the policy; 0 takes the likeliest tokens. The user's is 0."),
        "deadline": (1800.0, "Seconds that an answer may take."),
    }
    for name, (value, text) in floats.items():
        flags.DEFINE_float(name, value, text, lower_bound=0.0, flag_values=values)


TAU2 = Command(
    "eval tau2",
    "Measures a policy by tau2-bench, unchanged: its agent is the policy, its user the base, both "
    "on a server of this command; pass^k by domain, resumable.",
    _tau2,
    positionals=(
        Positional("RUN", "The run whose policy is measured, the --workdir of a training.", True),
    ),
    define=_define,
    required=("tau2",),
    examples=("eval tau2 runs/quickstart --tau2=tau2-bench --domains=airline --trials=4",),
)
