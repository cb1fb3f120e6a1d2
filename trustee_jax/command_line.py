"""What the commands of `trustee` share: how flags are declared, read, explained and refused."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from absl import flags


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
