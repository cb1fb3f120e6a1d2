"""Repositories on disk: a tensorflow-datasets folder of ArrayRecord files, read without TensorFlow.

A record is one tool; `metadata.json` lists the records of each category, so that a category is
sampled without reading any tool but those drawn. `tfds.builder_from_directory` opens the folder as
well.
"""

import functools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from trustee_jax.text import compact_json
from trustee_jax.toolsets.repository import ToolRepository, ToolView
from trustee_jax.toolsets.tool import Tool, ToolError

SPLIT = "train"
FIELDS = ("name", "description", "parameters", "category")
_VERSION = "1.0.0"
_MARKER = "dataset_info.json"
_CATEGORIES = "categories"
_RECORDS_A_FILE = 20_000
_BATCH = 1_000
_WRITE_IT = "a stored repository is a folder that `trustee tools import --output=FOLDER` wrote"
_WRITE_AGAIN = "write it again with `trustee tools import`"


def write_store(folder: Path, tools: Iterable[Tool]) -> int:
    """Writes tools as they come; memory holds one batch of them, all names and the index.

    Args:
      folder: Is made, complete or not at all; must not exist, or be empty.
      tools: With distinct names, in the order that `open_store` gives them back in.

    Returns:
      The number of tools.

    Raises:
      ToolError: The folder is taken or cannot be written, a name comes twice, or there are none.
    """
    check_free(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise ToolError(str(folder), [f"cannot be written: {error}"]) from error
    try:
        count = _write(partial, folder, iter(tools))
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def check_free(folder: Path) -> None:
    """Makes sure that a folder can be written, before long work for it begins.

    Raises:
      ToolError: There is something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ToolError(str(folder), ["exists already; name another output or remove it"])


def open_store(folder: Path) -> ToolRepository:
    """Opens what `write_store` wrote, without reading its tools.

    Raises:
      ToolError: The folder is no stored repository, or a damaged one.
    """
    if not (folder / _MARKER).is_file():
        raise ToolError(str(folder), [f"cannot be read: it lacks {_MARKER}; {_WRITE_IT}"])
    try:
        builder = tfds.builder_from_directory(folder)
        features, splits = builder.info.features, builder.info.splits
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        groups = _groups(metadata)
        if set(features or ()) != set(FIELDS) or SPLIT not in splits or groups is None:
            raise ToolError(str(folder), [f"is a dataset of something else; {_WRITE_IT}"])
        listed = np.sort(np.concatenate(list(groups.values())))
        if not np.array_equal(listed, np.arange(splits[SPLIT].num_examples)):
            raise ValueError("metadata.json and dataset_info.json list different tools")
        source = builder.as_data_source(split=SPLIT)
        # A damaged file shows when its first record is read; better now than in a run.
        for first in np.cumsum([0, *splits[SPLIT].shard_lengths[:-1]]):
            source[int(first)]
    except ToolError:
        raise
    except Exception as error:  # each layer below has its own kind
        raise ToolError(str(folder), [f"is damaged: {_line(error)}; {_WRITE_AGAIN}"]) from error
    read = functools.partial(_read, folder, source)
    return ToolRepository(ToolView(read, range(len(source))), groups)


def _write(partial: Path, folder: Path, tools: Iterator[Tool]) -> int:
    metadata = tfds.core.MetadataDict()
    # Not a builder: one would hold up to a gigabyte of records back before it writes the first.
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="tools",
        version=tfds.core.Version(_VERSION),
        data_dir=str(partial),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="Tools: JSON Schema parameters, grouped by category.",
        features=tfds.features.FeaturesDict({name: tfds.features.Text() for name in FIELDS}),
        metadata=metadata,
        disable_shuffling=True,
    )
    writer = tfds.core.SequentialWriter(info, _RECORDS_A_FILE, file_format="array_record")
    writer.initialize_splits([SPLIT])
    names: set[str] = set()
    groups: dict[str, list[int]] = {}
    count = 0
    while batch := list(islice(tools, _BATCH)):
        for tool in batch:
            if tool.name in names:
                raise ToolError(str(folder), [f"{tool.name!r}: name: comes twice; rename one"])
            names.add(tool.name)
            groups.setdefault(tool.category, []).append(count)
            count += 1
        writer.add_examples({SPLIT: [_record(tool) for tool in batch]})
    if not count:
        raise ToolError(str(folder), ["there are no tools to write"])
    metadata[_CATEGORIES] = groups
    writer.close_all()
    return count


def _record(tool: Tool) -> dict[str, str]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": compact_json(tool.parameters),
        "category": tool.category,
    }


def _read(folder: Path, source: Sequence[Mapping[str, bytes]], index: int) -> Tool:
    try:
        record = {key: value.decode() for key, value in source[index].items()}
        parameters = json.loads(record["parameters"])
        return Tool(record["name"], record["description"], parameters, record["category"])
    except Exception as error:
        problem = f"record {index}: cannot be read: {_line(error)}; {_WRITE_AGAIN}"
        raise ToolError(str(folder), [problem]) from error


def _groups(metadata: Any) -> dict[str, np.ndarray] | None:
    """The index of a folder; None if it is no such index."""
    groups = metadata.get(_CATEGORIES) if isinstance(metadata, dict) else None
    if not isinstance(groups, dict):
        return None
    return {name: np.asarray(indices, np.int32) for name, indices in groups.items()}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
