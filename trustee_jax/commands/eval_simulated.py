"""`trustee eval tasks` and `trustee eval simulated`: simulated episodes that nobody learns from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from trustee_jax.commands.command_line import Command, Positional, absolute, given, path
from trustee_jax.commands.eval import restore_of

if TYPE_CHECKING:
    from trustee_jax.config import Config
    from trustee_jax.evaluation.task_set import TaskSet
    from trustee_jax.players import Policy


def _tasks(values: flags.FlagValues) -> None:
    import dataclasses

    from trustee_jax import config as run_config
    from trustee_jax.bench.machine import describe
    from trustee_jax.environment.tools.sources import open_tools
    from trustee_jax.evaluation.task_set import TaskSet, write_tasks
    from trustee_jax.players import build_players
    from trustee_jax.progress import counted, standard_output

    if given(values, "config") is None:
        raise flags.Error("--config is needed: its simulator writes the tasks, for its tools")
    config = run_config.parse(given(values, "config"))
    difficulties = _difficulties(values, config)
    output = path(values, "output")
    seed, wanted = given(values, "seed"), given(values, "per_difficulty")
    console = standard_output()
    with open_tools(config.tools, config.environment) as tools:
        print(f"loading {config.model.simulator or config.model.source}", flush=True)
        # Nothing but the simulator is asked.
        source = config.model.simulator or config.model.source
        model = dataclasses.replace(config.model, source=source, simulator=None)
        players = build_players(dataclasses.replace(config, model=model))
        with counted("tasks", len(difficulties) * wanted, console) as advance:
            tasks, failures = write_tasks(
                players.environment,
                players.engines,
                tools.repository,
                config.curriculum,
                difficulties,
                wanted,
                seed,
                on_task=advance,
            )
    about: dict[str, Any] = {
        "simulator": source,
        "tools": config.tools,
        "difficulties": list(difficulties),
        "seed": seed,
        "engine_seed": config.seed,
        "versions": describe()["versions"],
    }
    task_set = TaskSet(tasks, about)
    task_set.write(output)
    causes = ", ".join(f"{count} {cause}" for cause, count in failures.most_common())
    console.print(
        f"wrote {len(tasks)} of {len(difficulties) * wanted} tasks to {output} (draws without one: "
        f"{causes or 'none'})",
        highlight=False,
        soft_wrap=True,
    )


def _difficulties(values: flags.FlagValues, config: Config) -> list[float]:
    low, high = config.curriculum.minimum, config.curriculum.maximum
    try:
        found = [float(text) for text in given(values, "difficulties")]
    except ValueError:
        found = []
    if not found or not all(low <= one <= high for one in found):
        listed = ",".join(given(values, "difficulties"))
        raise flags.Error(f"--difficulties={listed}: give numbers from {low:g} to {high:g}")
    return found


def _define_tasks(values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, "File to write.", flag_values=values)
    flags.DEFINE_list(
        "difficulties",
        "1,25,50",
        "What the tasks shall be like, see the curriculum.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "per_difficulty", 16, "Tasks of each difficulty.", 1, 2**32 - 1, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Decides tools and aspects.", 0, 2**32 - 1, flag_values=values)


def _simulated(values: flags.FlagValues, run: str | None = None) -> None:
    from trustee_jax.bench.machine import describe
    from trustee_jax.evaluation import simulated, simulated_summary
    from trustee_jax.evaluation.results import RecordsFolder
    from trustee_jax.evaluation.task_set import read_task_set
    from trustee_jax.players import build_players
    from trustee_jax.progress import counted, standard_output
    from trustee_jax.storage import storage_errors
    from trustee_jax.training.workdir import Layout

    workdir = None if run is None else absolute(run)
    if workdir is None and not given(values, "output"):
        raise flags.Error("--output is needed without a RUN")
    config = _config(values, workdir)
    task_set = read_task_set(path(values, "tasks"))
    print(f"loading {config.model.source}", flush=True)
    players = build_players(config, restore=restore_of(values, workdir))
    policy = players.policy
    if given(values, "output"):
        output = path(values, "output")
    else:
        assert workdir is not None
        output = Layout(workdir).evaluation / f"simulated-step{policy.step:06d}"
    identity = _identity(config, task_set, given(values, "episodes"), policy)
    console = standard_output()
    tasks, samples = task_set.tasks, given(values, "episodes")
    with (
        storage_errors(output),
        RecordsFolder(output, identity, describe(), simulated.Outcome) as folder,
    ):
        left = len(tasks) * samples - len(folder.records)
        with counted("episodes", left, console) as advance:

            def keep(outcome: simulated.Outcome) -> None:
                folder.add(outcome)
                advance()

            outcomes = simulated.play(
                players.environment,
                players.engines,
                tasks,
                samples,
                known=dict(folder.records),
                on_outcome=keep,
            )
        simulated_summary.write(outcomes, folder.meta, output)
        simulated_summary.show(outcomes, console)
    console.print(f"wrote {output}", highlight=False, soft_wrap=True)


def _config(values: flags.FlagValues, workdir: Path | None) -> Config:
    import dataclasses

    from trustee_jax import config as run_config
    from trustee_jax.run import read_config

    if workdir is not None:
        config = read_config(workdir)
    elif given(values, "config") is not None:
        config = run_config.parse(given(values, "config"))
    else:
        raise flags.Error("name what to measure: a RUN, or --config=FILE.py")
    if given(values, "model"):
        if workdir is not None:
            raise flags.Error("--model is for a policy without a RUN; give one of both")
        # The simulator stays what it is, whatever is measured.
        simulator = config.model.simulator or config.model.source
        model = dataclasses.replace(
            config.model,
            source=given(values, "model"),
            simulator=simulator,
            lora_rank=0,
            quantization=None,
        )
        config = dataclasses.replace(config, model=model)
    return config


def _identity(config: Config, task_set: TaskSet, samples: int, policy: Policy) -> dict[str, Any]:
    """What every outcome depends on."""
    import dataclasses

    return {
        "tasks": task_set.hash,
        "episodes": samples,
        "model": config.model.source,
        "simulator": config.model.simulator or config.model.source,
        "step": policy.step,
        "weights": policy.weights,
        "seed": config.seed,
        "environment": dataclasses.asdict(config.environment),
        "roles": dataclasses.asdict(config.simulator),
    }


def _define_simulated(values: flags.FlagValues) -> None:
    texts = {
        "tasks": "File that `eval tasks` wrote.",
        "model": "Weights to measure in place of the config's; its simulator stays.",
        "output": "Folder of the results; what it has already is not played again. "
        "RUN/eval/simulated-stepN if not given; needed without a RUN.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_integer(
        "step",
        None,
        "Which checkpoint of RUN; 0 is before training, the newest if not given.",
        0,
        2**32 - 1,
        flag_values=values,
    )
    flags.DEFINE_integer("episodes", 1, "Of each task.", 1, 2**32 - 1, flag_values=values)


TASKS = Command(
    "eval tasks",
    "Has the simulator write tasks to measure by, once: the file knows its own hash.",
    _tasks,
    define=_define_tasks,
    config="Python file with get_config(), or a run's folder: simulator, tools and curriculum.",
    required=("output",),
    examples=("eval tasks --config=configs/quickstart.py --output=held_out.jsonl",),
)

SIMULATED = Command(
    "eval simulated",
    "Measures a policy by simulated episodes of fixed tasks: mean reward, and apart from any model "
    "how often code finds the expected calls carried out.",
    _simulated,
    positionals=(
        Positional("RUN", "The run whose policy is measured, the --workdir of a training.", True),
    ),
    define=_define_simulated,
    config="Python file with get_config(): for a policy that belongs to no RUN.",
    required=("tasks",),
    examples=(
        "eval simulated runs/quickstart --tasks=held_out.jsonl",
        "eval simulated runs/quickstart --tasks=held_out.jsonl --step=0",
    ),
)
