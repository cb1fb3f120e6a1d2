"""The benchmark's packages in an environment of their own, since their pins clash with ours."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from trustee_jax.errors import InputError

BFCL_VERSION = "2026.3.23"
# Without what they depend on: `bfcl_worker` says what the checkers use. None has to be compiled.
BFCL_PACKAGES = (
    f"bfcl-eval=={BFCL_VERSION}",
    "filelock==3.20.0",
    "mpmath==1.3.0",
    "overrides==7.7.0",
    "tenacity==9.1.2",
)


class InstallError(InputError):
    """The environment cannot be made; nothing of it is left."""


def default_folder(cache: pathlib.Path) -> pathlib.Path:
    """Where the environment is if no folder is named: by version, of the benchmark and of Python.

    Args:
      cache: The folder of all that the package keeps for the user.
    """
    major, minor = sys.version_info[:2]
    return cache / f"bfcl-eval-{BFCL_VERSION}-py{major}.{minor}"


def ensure_environment(
    folder: pathlib.Path, packages: Sequence[str] = BFCL_PACKAGES
) -> pathlib.Path:
    """Makes the environment if it is not there yet.

    It is made beside `folder` and moved there when it is complete, so that what an interruption
    leaves is never taken for one. Of several processes one makes it, and the others wait.

    Args:
      folder: Where it is, or will be.
      packages: Requirements that are installed, without their dependencies.

    Returns:
      Its interpreter.

    Raises:
      InstallError: The folder holds something else, or making it failed: no network, no space.
    """
    python = folder / "bin" / "python"
    if python.exists():
        return python
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InstallError(
            f"--bfcl_env: {folder} is no working environment of bfcl-eval; name a folder "
            "that does not exist yet, or delete it"
        )
    partial = folder.with_name(folder.name + ".partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock")):
            if python.exists():  # another process has made it meanwhile
                return python
            shutil.rmtree(partial, ignore_errors=True)
            try:
                _run(folder, [sys.executable, "-m", "venv", str(partial)])
                install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-input"]
                install += ["--disable-pip-version-check", "--only-binary=:all:", *packages]
                _run(folder, [str(partial / "bin" / "python"), *install])
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InstallError(_message(folder, os.strerror(error.errno or errno.EIO))) from None
    return python


@contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    """Waits until no other process has it; the lock ends with the process, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(folder: pathlib.Path, command: Sequence[str]) -> None:
    """Runs a command, of whose output the line that says what is wrong is kept."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result.returncode:
        return
    lines = [line.strip() for line in f"{result.stdout}\n{result.stderr}".splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if "error" in line.lower()]
    reason = (errors or lines or [f"status {result.returncode}"])[-1]
    raise InstallError(_message(folder, reason))


def _message(folder: pathlib.Path, reason: str) -> str:
    return (
        f"the environment of bfcl-eval cannot be made in {folder} ({reason}); it needs the package "
        "index and 40 MB: check both, or name another folder by --bfcl_env"
    )
