"""The GGUF container: metadata and tensor table.

`gguf.GGUFReader` makes several array views per vocabulary entry, which takes 4 s for 49,000 tokens
and a quarter of a minute for 150,000; this reader takes a fraction of a second. Format: ggml's
docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import mmap
import pathlib
import struct
from typing import Any

import numpy as np

from trustee_jax.weights.checkpoint import CheckpointError

_AGAIN = "get the complete file again"
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


@dataclasses.dataclass(frozen=True)
class GGUFTensor:
    """One entry of the tensor table.

    Attributes:
      shape: Row-major (the file lists dimensions in reverse).
      quantisation: Storage type, `gguf.GGMLQuantizationType`.
      block: Elements and bytes of one quantisation block.
      data: uint8[rows, bytes per row], memory-mapped; rows are the product of all dimensions but
        the last.
      path: The file that holds it.
    """

    shape: tuple[int, ...]
    quantisation: Any
    block: tuple[int, int]
    data: np.ndarray
    path: pathlib.Path

    def read(self, rows: slice | np.ndarray, columns: slice) -> np.ndarray:
        """Dequantises a part.

        Args:
          rows: Which rows, in which order.
          columns: Which elements of each; only blocks that it touches are dequantised.

        Returns:
          float32[rows, columns], possibly a read-only view of the file.
        """
        import gguf

        elements, size = self.block
        start, stop, _ = columns.indices(self.shape[-1])
        first, last = start // elements, -(-stop // elements)
        blocks = np.ascontiguousarray(self.data[rows, first * size : last * size])
        values = gguf.dequantize(blocks, self.quantisation)
        return values[:, start - first * elements : stop - first * elements]


# What reading a header that is none, or not all of one, can raise.
_BROKEN = (
    struct.error,
    EOFError,
    KeyError,
    UnicodeError,
    OverflowError,
    MemoryError,
    RecursionError,
)


class _Cursor:
    """Reads little-endian values one after the other."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self.buffer = buffer
        self.at = 0

    def scalar(self, code: str) -> Any:
        value = struct.unpack_from("<" + code, self.buffer, self.at)[0]
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        text = self.buffer[self.at : self.at + length]
        if len(text) != length:
            raise EOFError("end of file within a string")
        self.at += length
        return text.decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind in (_STRING, _ARRAY):
            return [self.value(kind) for _ in range(count)]
        layout = f"<{count}{_SCALARS[kind]}"
        values = list(struct.unpack_from(layout, self.buffer, self.at))
        self.at += struct.calcsize(layout)
        return values


def read_gguf(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, GGUFTensor]]:
    """Reads metadata and tensor table; tensor data stay on disk until they are used.

    Raises:
      CheckpointError: The file is missing, truncated, or not a GGUF file of a supported version and
        type.
    """
    try:
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"not readable ({error})", "check the path") from error
    cursor = _Cursor(buffer)
    if buffer[:4] != b"GGUF":
        raise CheckpointError(path, "not a GGUF file (it does not start with 'GGUF')", _AGAIN)
    try:
        cursor.at = 4
        version = cursor.scalar("I")
        if version not in (2, 3):
            raise CheckpointError(
                path, f"GGUF version {version} is not supported", "convert it to version 3"
            )
        num_tensors, num_fields = cursor.scalar("Q"), cursor.scalar("Q")
        metadata: dict[str, Any] = {}
        for _ in range(num_fields):
            key = cursor.string()
            metadata[key] = cursor.value(cursor.scalar("I"))
        table = [_tensor_entry(cursor) for _ in range(num_tensors)]
    except _BROKEN as error:
        raise CheckpointError(
            path, f"header broken or truncated at byte {cursor.at} ({error})", _AGAIN
        ) from error
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise CheckpointError(path, f"general.alignment={alignment!r} is no size", _AGAIN)
    names = collections.Counter(name for name, *_ in table)
    if twice := [name for name, count in names.items() if count > 1]:
        raise CheckpointError(path, f"tensor {twice[0]} is in it twice", _AGAIN)
    start = -(-cursor.at // alignment) * alignment
    tensors = {
        name: _map_tensor(path, buffer, name, shape, kind, start + offset)
        for name, shape, kind, offset in table
    }
    return metadata, tensors


def _tensor_entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string()
    dims = [cursor.scalar("Q") for _ in range(cursor.scalar("I"))]
    return name, tuple(reversed(dims)), cursor.scalar("I"), cursor.scalar("Q")


@functools.cache
def storage_types() -> dict[int, tuple[Any, tuple[int, int]]]:
    """What `gguf` can dequantise.

    Returns:
      By number in the file: the `gguf.GGMLQuantizationType`, and elements and bytes of a block.
    """
    import gguf

    types = {}
    for quantisation, block in gguf.GGML_QUANT_SIZES.items():
        try:
            gguf.dequantize(np.zeros((1, block[1]), np.uint8), quantisation)
        except NotImplementedError:
            continue
        types[int(quantisation)] = (quantisation, block)
    return types


def _map_tensor(
    path: pathlib.Path, buffer: mmap.mmap, name: str, shape: tuple[int, ...], kind: int, start: int
) -> GGUFTensor:
    if kind not in storage_types():
        known = ", ".join(quantisation.name for quantisation, _ in storage_types().values())
        raise CheckpointError(
            path,
            f"tensor {name} has storage type {_type_name(kind)}, which cannot be dequantised",
            f"use a file with tensors of {known}",
        )
    quantisation, block = storage_types()[kind]
    rows = math.prod(shape[:-1])
    if not shape or shape[-1] % block[0]:
        raise CheckpointError(path, f"tensor {name} of shape {shape} has broken rows", _AGAIN)
    row_bytes = shape[-1] // block[0] * block[1]
    if (missing := start + rows * row_bytes - len(buffer)) > 0:
        problem = f"truncated: tensor {name} ends {missing} bytes past the end of the file"
        raise CheckpointError(path, problem, _AGAIN)
    data = np.frombuffer(buffer, np.uint8, rows * row_bytes, start).reshape(rows, row_bytes)
    return GGUFTensor(shape, quantisation, block, data, path)


def _type_name(kind: int) -> str:
    import gguf

    try:
        return f"{kind} ({gguf.GGMLQuantizationType(kind).name})"
    except ValueError:
        return str(kind)
