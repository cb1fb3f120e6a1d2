"""A model in one GGUF file, or in the parts that llama-gguf-split makes of it.

Every part says in its metadata which one it is (`split.no`, from 0), of how many (`split.count`),
and how many tensors there are in all (`split.tensors.count`). The model's own metadata are in the
first part, and the parts find each other by their names, `NAME-00001-of-00003.gguf`.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

from trustee_jax.weights.checkpoint import CheckpointError
from trustee_jax.weights.gguf_file import GGUFTensor, read_gguf

_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_TOGETHER = "put all parts of one split into one folder, under the names that they were made with"


def part_names(name: str) -> list[str]:
    """The names of all parts of a split, given the first one's; empty for any other name."""
    match = _NAME.fullmatch(name)
    if match is None or int(match["number"]) != 1:
        return []
    return [_part_name(match["stem"], i, int(match["count"])) for i in range(int(match["count"]))]


def read_model(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, GGUFTensor]]:
    """Reads metadata and tensor table of a whole file, or of all parts of a split.

    Args:
      path: The file; of a split, its first part.

    Raises:
      CheckpointError: As in `read_gguf`; or the file is another part than the first, or parts are
        missing or do not belong together.
    """
    metadata, tensors = read_gguf(path)
    count = metadata.get("split.count", 0)
    if count in (0, 1):  # 0 where the parts were merged again
        return metadata, tensors
    names = _checked_names(path, metadata.get("split.no"), count)
    paths = [path.with_name(name) for name in names]
    if missing := [part.name for part in paths if not part.is_file()]:
        raise CheckpointError(path, f"{_parts(missing)} not beside it", _TOGETHER)
    for number, part in enumerate(paths[1:], 1):
        theirs, more = read_gguf(part)
        _check_metadata(part, theirs, metadata | {"split.no": number}, path.name)
        if twice := sorted(tensors.keys() & more):
            raise CheckpointError(
                part, f"tensor {twice[0]} is in {tensors[twice[0]].path.name} too", _TOGETHER
            )
        tensors |= more
    expected = metadata.get("split.tensors.count", len(tensors))
    if len(tensors) != expected:
        problem = f"split.tensors.count is {expected}, but its {count} parts have {len(tensors)}"
        raise CheckpointError(path, problem, _TOGETHER)
    return metadata, tensors


def _checked_names(path: pathlib.Path, number: Any, count: Any) -> list[str]:
    """The names of the parts, if `path` is the first one by metadata and name."""
    if not isinstance(number, int) or not isinstance(count, int) or not 0 <= number < count:
        problem = f"split.no={number!r} with split.count={count!r} cannot be"
        raise CheckpointError(path, problem, "get the complete file again")
    if number:
        match = _NAME.fullmatch(path.name)
        first = _part_name(match["stem"] if match else "NAME", 0, count)
        problem = f"is part {number + 1} of {count} of a split model"
        raise CheckpointError(path, problem, f"name the first one, {first}")
    names = part_names(path.name)
    if len(names) != count:
        problem = f"is part 1 of {count} of a split model, which its name does not say"
        raise CheckpointError(path, problem, f"name it {_part_name('NAME', 0, count)}")
    return names


def _check_metadata(
    part: pathlib.Path, theirs: dict[str, Any], expected: dict[str, Any], first: str
) -> None:
    """Whatever a part says must be what the first part says."""
    for key in dict.fromkeys(("split.no", "split.count", "split.tensors.count", *theirs)):
        if key in expected and theirs.get(key) != expected[key]:
            problem = (
                f"belongs to another split than {first}: {key} is {_short(theirs.get(key))}, "
                f"not {_short(expected[key])}"
            )
            raise CheckpointError(part, problem, _TOGETHER)


def _part_name(stem: str, number: int, count: int) -> str:
    return f"{stem}-{number + 1:05d}-of-{count:05d}.gguf"


def _parts(names: list[str]) -> str:
    if len(names) == 1:
        return f"part {names[0]} is"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"parts {', '.join(names[:3])}{more} are"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
