"""Whether two JSON values are one, which Python's `==` does not tell: there, true is 1."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values, or schemas, are one, at any depth: 1 and 1.0 are, true and 1 not."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Returns the first of each of the values that are one."""
    found: list[Any] = []
    for value in values:
        if not is_among(value, found):
            found.append(value)
    return found


def is_among(value: Any, values: Sequence[Any]) -> bool:
    """Whether one of the values is this one."""
    return any(equal(value, other) for other in values)
