"""The `trustee` command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from absl import flags, logging

from trustee_jax.command_line import (
    asks_for_help,
    define_config,
    help_text,
    parse,
    parse_with_config,
    path,
)
from trustee_jax.errors import InputError

_USAGE = """\
trustee: reinforcement learning of tool calling in environments simulated by a language model

  trustee train --config=configs/quickstart.py --workdir=runs/quickstart
      Trains. The same command again goes on after an interruption. Every option of the
      config can be overridden: --config.training.steps=10 --config.learner.learning_rate=1e-5

  trustee report runs/quickstart
      Writes the run as one HTML file: curves, accounting, every episode.

  trustee export --workdir=runs/quickstart --output=exported
      Writes the trained policy as a Hugging Face folder.

  trustee tools import|list|show|check|stats|synthesize
      Brings tools from OpenAPI, MCP and other formats into one file or folder for --config.tools,
      and looks at them.

  trustee audit --gold --simulator=hub:Qwen/Qwen3-8B
      Measures how well a model verifies: plants faults in episodes and counts what it catches.

trustee COMMAND --help lists the command's flags, and for train all options with their defaults.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: The arguments after the program's name; None takes them from the process.

    Returns:
      The exit status: 0 done, or saved and stopped on request; 2 wrong input; 130 interrupted.
    """
    command, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("--help", "-h", "help"):
        print(_USAGE, end="")
        return 0
    logging.set_verbosity(logging.WARNING)
    # transformers advises to install PyTorch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        if command not in _COMMANDS:
            raise flags.Error(f"unknown command {command!r}; there are: {', '.join(_COMMANDS)}")
        _COMMANDS[command](arguments)
    except KeyboardInterrupt:
        print("trustee: interrupted", file=sys.stderr)
        return 130
    except (flags.Error, InputError) as error:
        print(f"trustee: {error}", file=sys.stderr)
        return 2
    return 0


def _train(arguments: Sequence[str]) -> None:
    values = flags.FlagValues()
    define_config(
        values, arguments, "Python file with get_config(), e.g. configs/quickstart.py; needed."
    )
    flags.DEFINE_string(
        "workdir", None, "Folder of the run, made if need be; needed.", flag_values=values
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "Join the other hosts first (jax.distributed.initialize): run the same on each of them.",
        flag_values=values,
    )
    from trustee_jax import config as run_config

    options = run_config.flatten(run_config.Config())
    if asks_for_help(arguments):
        print(help_text(values))
        print("  --config.NAME=VALUE overrides an option; the defaults are:")
        print("\n".join(f"    {name} = {value!r}" for name, value in options.items()))
        return
    parse_with_config(values, arguments, required=("config", "workdir"))
    config = run_config.parse(values["config"].value)
    workdir = path(values, "workdir")
    if values["distributed"].value:
        import jax

        jax.distributed.initialize()
    from trustee_jax.training.loop import train

    train(config, workdir)


def _export(arguments: Sequence[str]) -> None:
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Folder of the run; needed.", flag_values=values)
    flags.DEFINE_string("output", None, "Folder to write; needed.", flag_values=values)
    flags.DEFINE_integer(
        "step", None, "Which checkpoint; the newest by default.", flag_values=values
    )
    if asks_for_help(arguments):
        print(help_text(values))
        return
    parse(values, arguments, required=("workdir", "output"))
    from trustee_jax.training.export import export

    output = path(values, "output")
    export(path(values, "workdir"), output, step=values["step"].value)
    print(f"wrote {output}")


def _in(module: str) -> Callable[[Sequence[str]], None]:
    """The command of a module, which is imported when the command is used."""
    return lambda arguments: importlib.import_module(module).run(arguments)


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "train": _train,
    "report": _in("trustee_jax.report.command"),
    "export": _export,
    "tools": _in("trustee_jax.tools.command"),
    "audit": _in("trustee_jax.evaluation.command"),
}
