"""Function documents in the format of the Berkeley Function Calling Leaderboard.

This is for documents of your own that are written in that format. The leaderboard's own functions
are a test set: a policy that trains on them makes its score there worthless.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from trustee_jax.paths import user_path
from trustee_jax.toolsets.importing.candidates import Candidate, Item, Refusal
from trustee_jax.toolsets.importing.limits import Limits
from trustee_jax.toolsets.importing.parts import TooLarge, Unusable
from trustee_jax.toolsets.importing.schemas import SchemaReader
from trustee_jax.toolsets.json_values import json_values
from trustee_jax.toolsets.tool import ToolError

SUFFIXES = (".json", ".jsonl")


def read_bfcl(source: str, category: str, limits: Limits) -> Iterator[Item]:
    """Yields every function of a file, or of all files in a folder.

    Args:
      source: function documents {"name", "description", "parameters"}, or objects with one or a
        list of them as "function" (questions, say): as JSON lines, as a JSON list or one after
        another; the types of Python, Java and JavaScript ("dict", "float", "tuple", "ArrayList",
        ...) become those of JSON schema.
      category: of all functions; "" takes the name of each file.
      limits: sizes of one function.

    Raises:
      ToolError: the file or folder cannot be read, or the folder has no such file.
    """
    path = user_path(source)
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file())
        if not files:
            raise ToolError(source, [f"the folder holds no {' or '.join(SUFFIXES)} file"])
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(str(file), [f"cannot be read: {error}; give a UTF-8 file"]) from error
        for number, value, problem in json_values(text):
            place = f"{file.name} line {number}"
            if problem:
                yield Refusal(place, "not valid JSON", problem)
                continue
            functions = list(_functions(value))
            for index, function in enumerate(functions):
                where = f"{place} [{index}]" if len(functions) > 1 else place
                if isinstance(function, dict) and "name" in function:
                    yield _candidate(function, where, category or file.stem, file.stem, limits)
                else:
                    yield Refusal(where, "not a function", "no object with a name")


def _functions(value: Any) -> Iterator[Any]:
    """The function documents of a value, one or many of them, with or without questions."""
    for entry in value if isinstance(value, list) else [value]:
        found = entry.get("function", entry) if isinstance(entry, dict) else entry
        yield from found if isinstance(found, list) else [found]


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
