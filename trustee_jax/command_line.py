"""What the commands of `trustee` share: how flags are declared, read, explained and refused."""

from __future__ import annotations

import itertools
import pathlib
import re
import traceback
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the arguments of a command ask for its help."""
    return any(word in ("--help", "-help", "-h") for word in arguments)


def help_text(values: flags.FlagValues) -> str:
    """One line per flag."""
    return "\n".join(f"  --{name}: {values[name].help}" for name in values)


def parse(
    values: flags.FlagValues,
    arguments: Sequence[str],
    *,
    required: Sequence[str] = (),
    positional: int = 0,
) -> list[str]:
    """Reads the flags of a command.

    Args:
      values: The command's flags.
      arguments: What follows the command's name.
      required: Flags that must be given.
      positional: How many words may stand beside the flags.

    Returns:
      The words that are no flags.

    Raises:
      flags.Error: A flag is unknown, ill-typed or missing, or there are too many words.
    """
    words = values(["trustee", *arguments])[1:]
    if len(words) > positional:
        raise flags.Error(f"unexpected {words[positional]!r}; flags are written --NAME=VALUE")
    for name in required:
        if values[name].value is None:
            raise flags.Error(f"--{name} is needed; see trustee --help")
    return words


def path(values: flags.FlagValues, name: str) -> pathlib.Path:
    """A flag's value as an absolute path."""
    return absolute(str(values[name].value))


def absolute(text: str) -> pathlib.Path:
    """A path that a user wrote, made absolute."""
    return pathlib.Path(text).expanduser().absolute()


def define_config(values: flags.FlagValues, arguments: Sequence[str], text: str) -> None:
    """Declares --config, and --config.NAME=VALUE for every option of the file that it names."""
    config_flags.DEFINE_config_file(
        "config", None, text, flag_values=values, sys_argv=["trustee", *arguments]
    )


def parse_with_config(
    values: flags.FlagValues, arguments: Sequence[str], *, required: Sequence[str] = ()
) -> None:
    """Reads the flags of a command that has --config; see `parse`.

    Raises:
      ConfigError: An option that is overridden does not exist.
      flags.Error: As in `parse`; or the config file is missing or fails.
    """
    _check_overrides(arguments)
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


def _check_overrides(arguments: Sequence[str]) -> None:
    """Finds misspelt options while their whole names are known."""
    overrides = [
        match
        for word in arguments
        if (match := re.fullmatch(r"--?(?:no)?config\.([^=]+)=?(.*)", word, re.DOTALL))
    ]
    if not overrides:
        return
    from trustee_jax.config import Config, flatten, unknown_field

    options = flatten(Config())
    for match in overrides:
        if not any(f"{name}.".startswith(f"{match[1]}.") for name in options):
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
