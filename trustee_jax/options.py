"""Sections of options: frozen dataclasses, as ConfigDicts to edit, by dotted names, and checked.

An option is defined once, as a field of a dataclass beside the code that it configures.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ml_collections import config_dict

from trustee_jax.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")
_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def flatten(options: Any) -> dict[str, Any]:
    """Dotted names and JSON values of all options, in the order of their definition.

    Args:
      options: An instance of a section, or what `json` read back from one.
    """
    flat: dict[str, Any] = {}
    values = options if isinstance(options, Mapping) else dataclasses.asdict(options)
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update((f"{name}.{inner}", leaf) for inner, leaf in flatten(value).items())
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def unknown_option(names: Sequence[str], name: str, value: Any) -> ConfigError:
    """The error for a dotted name that is not among `names`, with what may be meant."""
    section, _, leaf = name.rpartition(".")
    prefix = f"{section}." if section else ""
    siblings = list(
        dict.fromkeys(
            prefix + known.removeprefix(prefix).partition(".")[0]
            for known in names
            if known.startswith(prefix)
        )
    )
    close = [known for known in names if known.rpartition(".")[2] == leaf]
    close += difflib.get_close_matches(name, siblings or names, cutoff=0.8)
    if close:
        listed = ", ".join(list(dict.fromkeys(close))[:3])
        return ConfigError(name, value, f"there is no such option; close: {listed}")
    listed = ", ".join(siblings or dict.fromkeys(known.partition(".")[0] for known in names))
    return ConfigError(name, value, f"there is no such option; there are: {listed}")


def expected_type(root: type, name: str) -> str | None:
    """What the option of a section takes, in words; None if there is none of that dotted name."""
    hint = _hint(root, name)
    return None if hint is None else _in_words(hint)


def choices(root: type, name: str) -> str:
    """What the option of that dotted name may be, where its default does not show it; or empty."""
    hint = _hint(root, name)
    if types.NoneType in typing.get_args(hint):
        return f"None, or {_in_words(hint)}"
    return _in_words(hint) if typing.get_origin(hint) is Literal else ""


def _hint(root: type, name: str) -> Any:
    """The type of the option of that dotted name; None if there is no such option."""
    hint: Any = root
    for part in name.split("."):
        if not dataclasses.is_dataclass(hint):
            return None
        hint = typing.get_type_hints(hint).get(part)
    return None if dataclasses.is_dataclass(hint) else hint


def _in_words(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if types.NoneType in args:
        return _in_words(next(arg for arg in args if arg is not types.NoneType))
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    return _WORDS.get(hint, "a tuple")


def editable(section: Any) -> config_dict.ConfigDict:
    """A locked ConfigDict with the nesting and the values of a section.

    Options whose value may be None are placeholders that know their type.
    """
    result = config_dict.ConfigDict()
    hints = typing.get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            result[field.name] = editable(value)
        elif types.NoneType in typing.get_args(hints[field.name]):
            # A reference with a type takes None as well as a value of that type.
            result[field.name] = config_dict.FieldReference(
                value, field_type=_runtime_type(hints[field.name])
            )
        else:
            result[field.name] = value
    return result.lock()


def _runtime_type(hint: Any) -> type:
    """The class of an optional option's values, e.g. int of `int | None`."""
    hint = next(arg for arg in typing.get_args(hint) if arg is not types.NoneType)
    origin = typing.get_origin(hint)
    if origin is Literal:
        return type(typing.get_args(hint)[0])
    return origin or hint


def checked(
    section: S,
    values: Mapping[str, Any],
    unknown: Callable[[str, Any], ConfigError],
    prefix: str = "",
) -> S:
    """A section with other values.

    Args:
      section: An instance; what is left out of `values` keeps its value.
      values: By name, nested like the section.
      unknown: Makes the error for a dotted name that does not exist.
      prefix: The section's own dotted name with a dot behind it, or nothing.

    Raises:
      ConfigError: A field is unknown, has a value of another type, or one that cannot work.
    """
    hints = typing.get_type_hints(type(section))
    found = {}
    for name, value in values.items():
        if name not in hints:
            raise unknown(prefix + name, value)
        current = getattr(section, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ConfigError(prefix + name, value, "write a section with named fields")
            assert not isinstance(current, type)
            found[name] = checked(current, value, unknown, f"{prefix}{name}.")
        else:
            found[name] = _check(hints[name], value, prefix + name)
    try:
        return dataclasses.replace(section, **found)
    except ConfigError as error:
        # A section names its fields from itself or from the root.
        name = error.field if error.field.startswith(prefix) else prefix + error.field
        raise ConfigError(name, error.value, error.fix) from None


def _check(hint: Any, value: Any, name: str) -> Any:
    """`value` as the type of the field: ints become floats, lists tuples; the rest must fit."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in args:
            return None
        (inner,) = (arg for arg in args if arg is not types.NoneType)
        return _check(inner, value, name)
    if origin is Literal:
        if value not in args or type(value) not in map(type, args):
            choices = ", ".join(map(repr, args))
            close = difflib.get_close_matches(str(value), map(str, args), n=1)
            nearest = f" (close: {close[0]!r})" if close else ""
            raise ConfigError(name, value, f"write one of {choices}{nearest}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(name, value, "write a tuple")
        inner_hints = (args[0],) * len(value) if args[-1] is Ellipsis else args
        if len(inner_hints) != len(value):
            raise ConfigError(name, value, f"write a tuple of {len(inner_hints)} values")
        return tuple(
            _check(inner, item, f"{name}[{i}]")
            for i, (inner, item) in enumerate(zip(inner_hints, value, strict=True))
        )
    if hint is float and type(value) is int:
        return float(value)
    # Not isinstance: True is no integer here.
    if type(value) is not hint:
        raise ConfigError(name, value, f"write {_WORDS[hint]}")
    if hint is float and not math.isfinite(value):
        raise ConfigError(name, value, "write a finite number")
    return value
