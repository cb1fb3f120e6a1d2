"""A sweep's file: the base config, and the options that each of its runs changes.

    from trustee_jax.sweep import product

    BASE = "configs/debug.py"

    def sweep():
        return product({"learner.learning_rate": [1e-4, 3e-4], "seed": [0, 1, 2]})

Every run has a folder that is named after its options; runs that differ in nothing but their seed
are one variant, over whose runs figures have an interval.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trustee_jax import plugins
from trustee_jax.errors import InputError, one_line

Options = Mapping[str, Any]

NAME, SEED = "name", "seed"
_LONGEST = 200  # characters of a folder's name, of the 255 bytes that file systems take
_UNSAFE = re.compile(r"[^\w.+=,-]+")


class SweepError(InputError):
    """A sweep cannot be run as its file says."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
      name: Of its folder.
      variant: What it is called together with the runs that differ in the seed alone.
      options: Values by dotted name.
    """

    name: str
    variant: str
    options: Options

    def flags(self) -> list[str]:
        """The options as a command line gives them; None is the option's own default."""
        return [
            f"--config.{name}={_flag_text(value)}"
            for name, value in self.options.items()
            if value is not None
        ]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a sweep's file says.

    Attributes:
      file: The file, as it was named.
      base: Config file of all runs, as `--config` takes it.
      members: The runs, in the order of the file.
    """

    file: str
    base: str
    members: tuple[Member, ...]


def product(*axes: Mapping[str, Sequence[Any]] | Sequence[Options]) -> list[dict[str, Any]]:
    """Every combination of the axes' values, the last one changing fastest.

    Args:
      *axes: Each one a mapping of options to the values that they take, or a list of options that
        change together, e.g. of `variant`.

    Raises:
      SweepError: An option is in two axes, or its values are no list.
    """
    choices: list[list[Options]] = []
    for axis in axes:
        if not isinstance(axis, Mapping):
            choices.append(list(axis))
            continue
        for name, values in axis.items():
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise SweepError(f"product: {name} = {values!r}: give a list of values")
            choices.append([{name: value} for value in values])
    return [_merged(parts) for parts in itertools.product(*choices)]


def variant(name: str, options: Options) -> dict[str, Any]:
    """Options that change together, under a name for folders and tables.

    Args:
      name: E.g. "dapo".
      options: Values by dotted name, e.g. `config.OBJECTIVES["dapo"]`.
    """
    return {NAME: name, **options}


def read(file: str) -> Sweep:
    """Reads a sweep's file; whether the options exist is not looked at.

    Args:
      file: A Python file with `BASE` and `sweep()`.

    Raises:
      ConfigError: There is no such file, or it does not import.
      SweepError: It has no BASE or no sweep(), that fails or returns something else, or two runs
        would share a folder.
    """
    module = plugins.load(file, "sweep")
    base, make = getattr(module, "BASE", None), getattr(module, "sweep", None)
    if not isinstance(base, str) or not base:
        raise SweepError(f'{file}: BASE is missing; write e.g. BASE = "configs/quickstart.py"')
    if not callable(make):
        raise SweepError(f"{file}: sweep() is missing; it returns a list of dicts of options")
    try:
        entries = make()
    except InputError as error:
        raise SweepError(f"{file}: {error}") from None
    # A user's function: anything can go wrong in it.
    except Exception as error:
        raise SweepError(f"{file}: sweep() raises {one_line(error)}") from error
    if not isinstance(entries, list | tuple) or not entries:
        raise SweepError(f"{file}: sweep() returns {entries!r}; return a list of dicts of options")
    members = tuple(_member(file, number, entry) for number, entry in enumerate(entries, 1))
    _check_names(file, members)
    return Sweep(file, base, members)


def _merged(parts: Sequence[Options]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        if both := sorted((merged.keys() & part.keys()) - {NAME}):
            raise SweepError(f"product: {both[0]} is in two axes; leave it in one of them")
        merged.update(part)
    if NAME in merged:
        merged[NAME] = ",".join(filter(None, map(_label, parts)))
    return merged


def _label(options: Options) -> str:
    """What a folder and a table call options; the seed is no part of it."""
    if NAME in options:
        return str(options[NAME])
    changed = ((name, value) for name, value in options.items() if name != SEED)
    return ",".join(f"{name}={_value_text(value)}" for name, value in changed)


def _member(file: str, number: int, entry: Any) -> Member:
    if not isinstance(entry, Mapping) or not all(isinstance(name, str) for name in entry):
        raise SweepError(f"{file}: run {number} is {entry!r}; write a dict of options")
    label = _UNSAFE.sub("-", _label(entry)).strip("-.") or "base"
    seed = f",seed={entry[SEED]}" if SEED in entry else ""
    name = label + _UNSAFE.sub("-", seed)
    if len(name) > _LONGEST:
        raise SweepError(
            f"{file}: run {number} would have a folder named {name[:40]}..., which is too long; "
            "give its options a name: variant(NAME, options)"
        )
    options = {name: value for name, value in entry.items() if name != NAME}
    return Member(name, label, options)


def _check_names(file: str, members: Sequence[Member]) -> None:
    variants: dict[str, Options] = {}
    names: dict[str, int] = {}
    for number, member in enumerate(members, 1):
        if first := names.get(member.name):
            raise SweepError(
                f"{file}: runs {first} and {number} would both have the folder {member.name}; "
                "leave one out, or give their options names: variant(NAME, options)"
            )
        names[member.name] = number
        options = {name: value for name, value in member.options.items() if name != SEED}
        known = variants.setdefault(member.variant, options)
        if known != options:
            raise SweepError(
                f"{file}: two variants are called {member.variant}; give each a name of its own"
            )


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "-".join(map(_value_text, value))
    return str(value)


def _flag_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return repr(tuple(value))
    return _value_text(value)
