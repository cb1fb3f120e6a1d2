"""The `trustee` command."""

from __future__ import annotations

import importlib
import itertools
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

from absl import flags, logging
from ml_collections import config_flags

from trustee_jax.command_line import asks_for_help, help_text, parse, path
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
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Python file with get_config(), e.g. configs/quickstart.py; needed.",
        flag_values=values,
        sys_argv=["trustee", *arguments],
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
    _check_overrides(arguments, options)
    _parse_with_config(values, arguments, required=("config", "workdir"))
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


def _parse_with_config(
    values: flags.FlagValues, arguments: Sequence[str], *, required: Sequence[str]
) -> None:
    """Reads the flags of a command that has --config."""
    file = _config_path(arguments)
    if file and not pathlib.Path(file).is_file():
        raise flags.Error(f"config file {file} does not exist")
    try:
        parse(values, arguments, required=required)
    except flags.Error as error:
        raise _typed_flag_error(arguments, error) from None
    # A config file is a program: anything can go wrong in it.
    except Exception as error:
        raise _config_file_error(file, error) from error


def _check_overrides(arguments: Sequence[str], options: Mapping[str, object]) -> None:
    """Finds misspelt options while their whole names are known."""
    from trustee_jax.config import unknown_field

    for word in arguments:
        match = re.fullmatch(r"--?(?:no)?config\.([^=]+)=?(.*)", word, re.DOTALL)
        if match and not any(f"{name}.".startswith(f"{match[1]}.") for name in options):
            raise unknown_field(match[1], match[2])


def _typed_flag_error(arguments: Sequence[str], error: flags.Error) -> flags.Error:
    """The error, saying what to write where an option got a value of another type."""
    from trustee_jax.config import expected_type

    for word in arguments:
        match = re.match(r"--?config\.([^=]+)=", word)
        if match and str(error).startswith(f"flag --{word.lstrip('-')}:"):
            expected = expected_type(match[1])
            if expected:
                return flags.Error(f"flag --{word.lstrip('-')}: write {expected}")
    return error


def _config_path(arguments: Sequence[str]) -> str:
    """The file that --config names; a config's own parameter may follow after a colon."""
    found = ""
    for word, following in itertools.pairwise([*arguments, ""]):
        if re.fullmatch(r"--?config", word):
            found = following
        elif match := re.match(r"--?config=(.*)", word):
            found = match[1]
    return found.partition(":")[0]


def _config_file_error(path: str, error: Exception) -> flags.Error:
    """One message for whatever a config file raised, with the line it happened at."""
    if isinstance(error, SyntaxError):
        return flags.Error(f"config file {error.filename}, line {error.lineno}: {error.msg}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(path)]
    where = f", line {frames[-1].lineno}" if frames else ""
    return flags.Error(f"config file {path}{where}: {type(error).__name__}: {error}")
