"""`trustee bench`."""

from __future__ import annotations

from absl import flags

from trustee_jax.commands.command_line import Command, path

# Less than any weight can be told from: every run begins with the same policy.
_NO_LEARNING = 1e-30


def _bench(values: flags.FlagValues) -> None:
    import dataclasses

    import jax.numpy as jnp

    from trustee_jax import build as building
    from trustee_jax import config as run_config
    from trustee_jax.bench import benchmark
    from trustee_jax.bench.costs import Costs, weight_bytes
    from trustee_jax.bench.machine import measure_roofline
    from trustee_jax.bench.subject import Subject
    from trustee_jax.environment.tools.sources import open_tools
    from trustee_jax.options import flatten
    from trustee_jax.progress import standard_output
    from trustee_jax.weights import open_checkpoint

    only = _chosen(values, tuple(benchmark.MEASUREMENTS))
    output = path(values, "output") if values["output"].value else None
    trace = path(values, "trace") if values["trace"].value else None
    config = run_config.parse(values["config"].value)
    if output is not None:
        benchmark.check_output(output)
    if trace is not None:
        benchmark.check_trace(trace)
    learner = dataclasses.replace(config.learner, learning_rate=_NO_LEARNING)
    runs, console = int(values["runs"].value or 1), standard_output()
    with open_tools(config.tools, config.environment) as tools:
        model = open_checkpoint(config.model.source).config
        lora = building.lora_config(config.model)
        abstract = building.abstract_policy if lora else building.abstract_frozen
        costs = Costs(
            model,
            lora,
            weight_bytes(abstract(model, config.model)),
            config.engine.vector_bytes(model.head_dim, jnp.dtype(config.model.dtype).itemsize),
        )
        roofline = measure_roofline(config.model.dtype, runs)
        console.print(f"loading {config.model.source}", highlight=False, soft_wrap=True)
        system = building.build(dataclasses.replace(config, learner=learner), tools.backends)
        subject = Subject(
            system,
            config.training,
            config.curriculum,
            tools.repository,
            config.seed,
            costs,
            roofline,
        )
        benchmark.run(
            subject,
            only,
            runs,
            flatten(config),
            console,
            output=output,
            trace=trace,
        )


def _chosen(values: flags.FlagValues, known: tuple[str, ...]) -> tuple[str, ...]:
    listed = values["only"].value
    chosen = known if listed is None else tuple(dict.fromkeys(listed))
    for one in chosen:
        if one not in known:
            raise flags.Error(f"--only: there is no {one!r}; there are: {', '.join(known)}")
    if not chosen:
        raise flags.Error(f"--only: name at least one of {', '.join(known)}")
    return chosen


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "only",
        None,
        "What to measure, out of decode, prefill, episodes, update, step; all if not given.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "runs",
        5,
        "Measured runs of each case, after those that warm it up.",
        1,
        1000,
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "JSON file to write.", flag_values=values)
    flags.DEFINE_string(
        "trace",
        None,
        "Folder for a profiler's trace of one more run of each measurement: of its last case.",
        flag_values=values,
    )


BENCH = Command(
    "bench",
    "Measures how fast the engine, the learner and a whole step of a run are on this machine, and "
    "what its memory and its matrix products would allow. Nothing is trained.",
    _bench,
    define=_define,
    config="Python file with get_config(), or a run's folder: the options of the run.",
    required=("config",),
    examples=(
        "bench --config=configs/debug.py --runs=1",
        "bench --config=configs/quickstart.py --only=decode,prefill --output=speed.json",
    ),
)
