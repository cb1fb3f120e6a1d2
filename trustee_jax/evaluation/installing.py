"""A benchmark's packages in an environment of their own, since their pins clash with ours."""

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
from dataclasses import dataclass

from trustee_jax.errors import InputError


@dataclass(frozen=True)
class Requirements:
    """What a benchmark needs. None of it has to be compiled.

    Attributes:
      name: The benchmark.
      version: Its own, or whatever else tells two sets of packages apart.
      packages: As pip reads them.
      dependencies: Whether those of the packages are installed, too.
      flag: Of the command line, which names another folder.
      room: What it takes on the disk.
    """

    name: str
    version: str
    packages: Sequence[str]
    dependencies: bool
    flag: str
    room: str


BFCL_VERSION = "2026.3.23"
# Without what they depend on: `bfcl_worker` says what the checkers use.
BFCL = Requirements(
    name="bfcl-eval",
    version=BFCL_VERSION,
    packages=(
        f"bfcl-eval=={BFCL_VERSION}",
        "filelock==3.20.0",
        "mpmath==1.3.0",
        "overrides==7.7.0",
        "tenacity==9.1.2",
    ),
    dependencies=False,
    flag="--bfcl_env",
    room="40 MB",
)


class InstallError(InputError):
    """The environment cannot be made; nothing of it is left."""


def default_folder(cache: pathlib.Path, requirements: Requirements) -> pathlib.Path:
    """Where the environment is if no folder is named: by version, of the benchmark and of Python.

    Args:
      cache: The folder of all that the package keeps for the user.
      requirements: What it holds.
    """
    major, minor = sys.version_info[:2]
    return cache / f"{requirements.name}-{requirements.version}-py{major}.{minor}"


def ensure_environment(folder: pathlib.Path, requirements: Requirements) -> pathlib.Path:
    """Makes the environment if it is not there yet.

    It is made beside `folder` and moved there when it is complete, so that what an interruption
    leaves is never taken for one. Of several processes one makes it, and the others wait.

    Args:
      folder: Where it is, or will be.
      requirements: What it holds.

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
            f"{requirements.flag}: {folder} is no working environment of {requirements.name}; "
            "name a folder that does not exist yet, or delete it"
        )
    partial = folder.with_name(folder.name + ".partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock")):
            if python.exists():  # another process has made it meanwhile
                return python
            shutil.rmtree(partial, ignore_errors=True)
            try:
                install = ["-m", "pip", "install", "--quiet", "--no-input"]
                install += ["--disable-pip-version-check", "--only-binary=:all:"]
                install += [] if requirements.dependencies else ["--no-deps"]
                commands = (
                    [sys.executable, "-m", "venv", str(partial)],
                    [str(partial / "bin" / "python"), *install, *requirements.packages],
                )
                for command in commands:
                    if reason := _run(command):
                        raise InstallError(_message(folder, requirements, reason))
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise InstallError(_message(folder, requirements, reason)) from None
    return python


@contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    """Waits until no other process has it; the lock ends with the process, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str]) -> str | None:
    """Runs a command; returns the line of its output that says what is wrong, if anything is."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result.returncode:
        return None
    lines = [line.strip() for line in f"{result.stdout}\n{result.stderr}".splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or [f"status {result.returncode}"])[-1]


def _message(folder: pathlib.Path, requirements: Requirements, reason: str) -> str:
    return (
        f"the environment of {requirements.name} cannot be made in {folder} ({reason}); it needs "
        f"the package index and {requirements.room}: check both, or name another folder by "
        f"{requirements.flag}"
    )
