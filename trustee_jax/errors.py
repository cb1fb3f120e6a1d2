"""What is raised when something that a user gave cannot be used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class InputError(ValueError):
    """A config, file, folder or request cannot be used; the message says what to change.

    The command line shows it as one line; any other exception is a defect of ours.
    """


class NonFiniteError(InputError):
    """Infinite or NaN numbers where a run cannot go on with them.

    Training has diverged, or weights are damaged: neither is mended by going on.
    """


class ConfigError(InputError):
    """An option has a value that cannot work.

    Attributes:
      field: The option's name, dotted when it is known from the root (``"training.steps"``).
      value: The value that was given.
      fix: What to write instead, as one sentence without a full stop.
    """

    def __init__(self, field: str, value: Any, fix: str) -> None:
        """Builds the message from its three parts."""
        super().__init__(field, value, fix)
        self.field = field
        self.value = value
        self.fix = fix

    def __str__(self) -> str:
        """One line: the field, its value and the remedy."""
        return f"{self.field} = {self.value!r}: {self.fix}."


def at_least(config: object, least: int, *names: str) -> None:
    """Raises ConfigError for the first of a section's fields that is below `least`."""
    for name in names:
        if (value := getattr(config, name)) < least:
            raise ConfigError(name, value, f"give {least} or more")


def one_line(error: BaseException, limit: int | None = None) -> str:
    """An exception as one line, even one whose own text raises.

    Args:
      error: The exception.
      limit: Most characters of its text; None for all.
    """
    try:
        text = " ".join(str(error).split())[:limit]
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def raises_recursion_error() -> Iterator[None]:
    """A block in which `jsonschema` looks at what may be nested deeply.

    It looks things up by `rpds`. Where Python's recursion ends within a comparison, that panics
    with what is no `Exception`: here it is the RecursionError again.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RecursionError(str(error)) from None
