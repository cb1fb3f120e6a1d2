"""`trustee train`."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from absl import flags

from trustee_jax.commands.command_line import Command, path


def _define_train(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "Folder of the run, made if need be.", flag_values=values)
    flags.DEFINE_bool(
        "distributed",
        False,
        "Join the other hosts first (jax.distributed.initialize): run the same on each of them.",
        flag_values=values,
    )


@contextlib.contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process at once, for as long as there is nothing to save.

    Where it raised KeyboardInterrupt, JAX's callback of the garbage collector could swallow it.
    """
    previous = signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _train(values: flags.FlagValues) -> None:
    with _ended_by_interrupt():
        from trustee_jax import config as run_config

        config = run_config.parse(values["config"].value)
        if values["distributed"].value:
            import jax

            jax.distributed.initialize()
        from trustee_jax.run import train

    train(config, path(values, "workdir"))


def _options() -> str:
    """Every option with its default, and what it may be where that does not show it."""
    from trustee_jax import config as run_config

    lines = ["options of the config, with their defaults:"]
    for name, value in run_config.all_options().items():
        choices = run_config.choices(name)
        lines.append(f"  {name} = {value!r}" + (f"  ({choices})" if choices else ""))
    return "\n".join(lines)


TRAIN = Command(
    "train",
    "Trains. The same command again goes on after an interruption.",
    _train,
    define=_define_train,
    config="Python file with get_config(), or a run's folder: the options of the run.",
    required=("config", "workdir"),
    examples=(
        "train --config=configs/quickstart.py --workdir=runs/quickstart",
        "train --config=configs/debug.py --workdir=runs/debug --config.training.steps=10",
    ),
    details=_options,
)
