"""Files that appear whole, what has to be closed, and a full or failing disk as one clear line."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Self, TextIO

from trustee_jax.errors import InputError

# Anything else that the system refuses is a defect of ours, and wants its traceback.
_CAUSES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class StorageError(InputError):
    """A run's folder cannot be written; what is in it stays as it is."""


@contextlib.contextmanager
def storage_errors(folder: pathlib.Path) -> Iterator[None]:
    """Turns what a full, failing or read-only disk raises within it into a StorageError.

    Args:
      folder: The run's; the message names it.

    Raises:
      StorageError: The folder could not be written.
    """
    try:
        yield
    except InputError:
        raise  # it says already what is wrong, e.g. with a checkpoint that cannot be read
    except (OSError, ValueError) as error:
        code = _code(error)
        if code not in _CAUSES:
            raise
        raise StorageError(
            f"{folder} cannot be written ({os.strerror(code)}); make room there, and the same "
            "command goes on from the newest checkpoint"
        ) from error


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces a file at once: readers, and a machine that fails, find the old or the new one."""
    with replacing(path, sync=True) as file:
        file.write(text)


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, sync: bool = False) -> Iterator[TextIO]:
    """A UTF-8 file that takes the place of `path` when the block ends well, and is removed if not.

    Args:
      path: What readers go on to find until then.
      sync: Whether the new file is on the disk before it takes the place, and its name after.
    """
    partial = path.with_name(path.name + ".tmp")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


class Closing:
    """What is closed at the end of a `with` block."""

    def close(self) -> None:
        """Lets go of what it holds."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def sync_folder(folder: pathlib.Path) -> None:
    """Returns when the names in a folder, of new files too, are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _code(error: OSError | ValueError) -> int | None:
    """The system's error number."""
    if isinstance(error, OSError):
        return error.errno
    # TensorStore, which writes the arrays of a checkpoint, says it in its message.
    match = re.search(r"os_error_code='(\d+)'", str(error))
    return int(match[1]) if match else None
