"""Paths that a user wrote."""

from __future__ import annotations

import os
import pathlib


def user_path(text: str | os.PathLike[str]) -> pathlib.Path:
    """The path, with `~` and `~name` expanded; of an unknown user it stays as it was written."""
    return pathlib.Path(os.path.expanduser(text))
