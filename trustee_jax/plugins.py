"""A part that an option names: one of ours, or a function of a user's file."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from trustee_jax.errors import ConfigError, one_line
from trustee_jax.paths import user_path

F = TypeVar("F", bound=Callable[..., Any])

_loaded: dict[tuple[pathlib.Path, int, int], types.ModuleType] = {}


def find(spec: str, table: Mapping[str, F], field: str) -> F:
    """The function that an option names.

    Args:
      spec: A name in the table, or `path/to/file.py:function`.
      table: Our functions by name.
      field: The option's dotted name, for the error.

    Raises:
      ConfigError: There is no such name, file or function, or the file does not import.
    """
    if spec in table:
        return table[spec]
    match = re.fullmatch(r"(.+\.py)(?::(.*))?", spec)
    if match is None:
        close = difflib.get_close_matches(spec, table, n=1)
        nearest = f" (close: {close[0]!r})" if close else ""
        known = ", ".join(map(repr, table))
        fix = f"write one of {known}{nearest}, or path/to/file.py:function"
        raise ConfigError(field, spec, fix)
    path, name = match[1], match[2] or ""
    module = load(path, field, spec)
    found: F | None = getattr(module, name, None)
    if not callable(found):
        defined = ", ".join(functions(module)) or "none"
        problem = f"{path} has no function {name!r}" if name else "name a function after a colon"
        raise ConfigError(field, spec, f"{problem}; the file's functions: {defined}")
    return found


def load(path: str, field: str, value: str | None = None) -> types.ModuleType:
    """Runs a user's Python file and returns it as a module, the same one until the file changes.

    So tools and a judge of one file share what it keeps.

    Args:
      path: Of the file; a leading `~` is the user's home folder.
      field: Dotted name of the option that names it, for the error.
      value: The option's value, where it is more than the path.

    Raises:
      ConfigError: There is no such file, or it does not import; the error says at which line.
    """
    value = path if value is None else value
    try:
        file = user_path(path).resolve(strict=True)
        state = file.stat()
    except (OSError, ValueError):
        fix = f"there is no file {path}; check the path"
        raise ConfigError(field, value, fix) from None
    version = (file, state.st_mtime_ns, state.st_size)
    if version in _loaded:
        return _loaded[version]
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    # A file is a program: anything can go wrong in it.
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        fix = f"{_place(path, file, error)}: mend the file"
        raise ConfigError(field, value, fix) from error
    _loaded[version] = module
    return module


def functions(module: types.ModuleType) -> dict[str, Callable[..., Any]]:
    """The public functions that a file defines itself, by name, in their order."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def _place(path: str, file: pathlib.Path, error: BaseException) -> str:
    """Where and why a file does not import, on one line."""
    if isinstance(error, SyntaxError):
        where = path if error.filename == str(file) else error.filename
        return f"{where}, line {error.lineno}: {error.msg}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    line = f", line {frames[-1].lineno}" if frames else ""
    return f"{path}{line}: {one_line(error)}"
