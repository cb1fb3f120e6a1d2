"""The flag `--config` of the commands that take a run's options, and what overrides them.

It names a Python file with get_config(), or the folder of a run, whose options it has.
"""

from __future__ import annotations

import itertools
import pathlib
import re
import traceback
from collections.abc import Sequence

from absl import flags
from ml_collections import config_dict, config_flags

from trustee_jax.paths import user_path

_RUN_OPTIONS = pathlib.Path(__file__).with_name("run_options.py")


def define(values: flags.FlagValues, arguments: Sequence[str], text: str) -> None:
    """Declares --config, and --config.NAME=VALUE for every option of the file that it names."""
    config_flags.DEFINE_config_file(
        "config", None, text, flag_values=values, sys_argv=["", *_config_first(arguments)]
    )


def parse(
    values: flags.FlagValues, before: Sequence[str], arguments: Sequence[str]
) -> Sequence[str]:
    """Reads the flags of a command that has --config.

    Args:
      values: From `define`, with the command's other flags.
      before: What follows the command's name, up to a `--`.
      arguments: All of it.

    Returns:
      The words that are no flags.

    Raises:
      ConfigError: An option that is overridden does not exist.
      flags.Error: A flag is unknown or ill-typed, or the config file is missing or fails, or a
        folder holds no run.
    """
    _check_overrides(before)
    file = _config_path(before)
    if file and not pathlib.Path(file).is_file():
        raise flags.Error(f"config file {file} does not exist")
    try:
        return values(["", *_config_first(before), *arguments[len(before) :]])[1:]
    except flags.Error as error:
        raise _typed_flag_error(before, error) from None
    # A config file is a program: anything can go wrong in it.
    except Exception as error:
        raise _config_file_error(file, error) from error


def read(arguments: Sequence[str]) -> config_dict.ConfigDict:
    """The config that a command would have whose words are --config and what overrides it.

    Raises:
      ConfigError: An option that is overridden does not exist.
      flags.Error: See `parse`.
    """
    values = flags.FlagValues()
    define(values, arguments, "")
    parse(values, arguments, arguments)
    found: config_dict.ConfigDict = values["config"].value
    return found


def is_boolean(name: str) -> bool | None:
    """Whether the option of that dotted name is true or false; None if there is no such option."""
    from trustee_jax.config import all_options

    options = all_options()
    return isinstance(options[name], bool) if name in options else None


def _config_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with --config before what overrides it, which could not be read before it."""
    first, rest = [], []
    words = iter(arguments)
    for word in words:
        if match := re.fullmatch(r"--?config(?:=(.*))?", word, re.DOTALL):
            named = [match[1]] if "=" in word else list(itertools.islice(words, 1))
            first += [f"--config={_file(name)}" for name in named] or [word]
        else:
            rest.append(word)
    return [*first, *rest]


def _file(named: str) -> str:
    """The Python file of what --config names, with its parameter."""
    return f"{_RUN_OPTIONS}:{named}" if user_path(named).is_dir() else named


def _check_overrides(arguments: Sequence[str]) -> None:
    """Finds misspelt options while their whole names are known."""
    overrides = [
        match
        for word in arguments
        if (match := re.fullmatch(r"--?(?:no)?config\.([^=]+)=?(.*)", word, re.DOTALL))
    ]
    if not overrides:
        return
    from trustee_jax.config import all_options, unknown_option

    options = all_options()
    for match in overrides:
        if not any(f"{name}.".startswith(f"{match[1]}.") for name in options):
            raise unknown_option(match[1], match[2])


def _typed_flag_error(arguments: Sequence[str], error: flags.Error) -> flags.Error:
    """The error, saying what to write where an option got a value of another type."""
    from trustee_jax.config import expected_type

    for word, following in itertools.pairwise([*arguments, ""]):
        match = re.fullmatch(r"--?(config\.([^=]+))(?:=(.*))?", word, re.DOTALL)
        if match is None:
            continue
        flag = f"flag --{match[1]}={following if match[3] is None else match[3]}:"
        if str(error).startswith(flag) and (expected := expected_type(match[2])):
            return flags.Error(f"{flag} write {expected}")
    return error


def _config_path(arguments: Sequence[str]) -> str:
    """The file that --config names; a config's own parameter may follow after a colon."""
    found = ""
    for word, following in itertools.pairwise([*arguments, ""]):
        if re.fullmatch(r"--?config", word):
            found = following
        elif match := re.match(r"--?config=(.*)", word):
            found = match[1]
    return _file(found).partition(":")[0]


def _config_file_error(path: str, error: Exception) -> flags.Error:
    """One message for whatever a config file raised, with the line it happened at."""
    if isinstance(error, SyntaxError):
        return flags.Error(f"config file {error.filename}, line {error.lineno}: {error.msg}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(path)]
    if frames and isinstance(error, AttributeError | KeyError):
        from trustee_jax.config import renamed

        for name in re.findall(r"\w+(?:\.\w+)+", frames[-1].line or ""):
            if new := renamed(option := name.partition(".")[2]):
                return flags.Error(
                    f"config file {path}, line {frames[-1].lineno}: {option} is called {new} now"
                )
    where = f", line {frames[-1].lineno}" if frames else ""
    return flags.Error(f"config file {path}{where}: {type(error).__name__}: {error}")
