"""Function documents in the format of the Berkeley Function Calling Leaderboard.

This is for documents of your own that are written in that format. The leaderboard's own functions
are a test set: a policy that trains on them makes its score there worthless.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trustee_jax.tools.importing.candidates import Candidate, Item, Refusal
from trustee_jax.tools.importing.limits import Limits
from trustee_jax.tools.importing.parts import TooLarge, Unusable
from trustee_jax.tools.importing.schemas import SchemaReader
from trustee_jax.tools.tool import ToolError

SUFFIXES = (".json", ".jsonl")


def read_bfcl(source: str, category: str, limits: Limits) -> Iterator[Item]:
    """Yields every function of a file, or of all files in a folder.

    Args:
      source: JSON lines, each a function document {"name", "description", "parameters"} or an
        object with a list of them as "function"; the types of Python, Java and JavaScript
        ("dict", "float", "tuple", "ArrayList", ...) become those of JSON schema.
      category: of all functions; "" takes the name of each file.
      limits: sizes of one function.

    Raises:
      ToolError: the file or folder cannot be read, or the folder has no such file.
    """
    path = Path(source).expanduser()
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file())
        if not files:
            raise ToolError(source, [f"the folder holds no {' or '.join(SUFFIXES)} file"])
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(str(file), [f"cannot be read: {error}; give a UTF-8 file"]) from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield from _line(line, f"{file.name} line {number}", category, file.stem, limits)


def _line(line: str, place: str, category: str, stem: str, limits: Limits) -> Iterator[Item]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        yield Refusal(place, "not valid JSON", str(error))
        return
    functions = entry.get("function", entry) if isinstance(entry, dict) else entry
    functions = functions if isinstance(functions, list) else [functions]
    for index, function in enumerate(functions):
        where = f"{place} [{index}]" if len(functions) > 1 else place
        if isinstance(function, dict) and "name" in function:
            yield _candidate(function, where, category or stem, stem, limits)
        else:
            yield Refusal(where, "not a function", "no object with a name")


def _candidate(
    function: Mapping[str, Any], place: str, category: str, provider: str, limits: Limits
) -> Item:
    reader = SchemaReader({}, limits)
    written = function.get("parameters")
    if written is not None and not isinstance(written, Mapping):
        return Refusal(place, "parameters that are no object", repr(written)[:80])
    try:
        found = reader.demands(written or {})
        schema = reader.arguments(reader.fields(found), found)
    except TooLarge:
        return Refusal(place, f"parameters larger than {limits.bytes} bytes")
    except Unusable as error:
        return Refusal(place, str(error), error.detail)
    name, description = function.get("name", ""), function.get("description", "")
    return Candidate(name, description, schema, category, provider, place, tuple(reader.changes))
