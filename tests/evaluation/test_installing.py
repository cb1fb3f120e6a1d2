"""The environment is complete or absent; what keeps it from being made is one line."""

import pathlib
import subprocess
import sys
import threading

import pytest

from trustee_jax.evaluation import installing
from trustee_jax.evaluation.installing import (
    BFCL,
    InstallError,
    default_folder,
    ensure_environment,
)


class Commands:
    """Stands in for `subprocess.run`: makes the interpreter, and installs what `outcome` says."""

    def __init__(self, outcome=None):
        self.outcome = outcome
        self.run_commands = []

    def __call__(self, command, **options):
        self.run_commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            (pathlib.Path(command[3]) / "bin").mkdir(parents=True)
            (pathlib.Path(command[3]) / "bin" / "python").touch()
        elif isinstance(self.outcome, BaseException):
            raise self.outcome
        elif self.outcome:
            return subprocess.CompletedProcess(command, 1, "", self.outcome)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def commands(monkeypatch):
    def use(outcome=None):
        found = Commands(outcome)
        monkeypatch.setattr(installing.subprocess, "run", found)
        return found

    return use


def test_it_is_made_once(tmp_path, commands):
    run = commands()
    folder = tmp_path / "cache" / "env"
    python = ensure_environment(folder, BFCL)
    assert python == folder / "bin" / "python" and python.exists()
    assert len(run.run_commands) == 2
    install = run.run_commands[1]
    assert "--no-deps" in install and f"bfcl-eval=={installing.BFCL_VERSION}" in install
    assert ensure_environment(folder, BFCL) == python
    assert len(run.run_commands) == 2
    assert not (tmp_path / "cache" / "env.partial").exists()


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (
            "WARNING: Retrying\nERROR: No matching distribution found for bfcl-eval\n\n",
            "ERROR: No matching distribution found for bfcl-eval",
        ),
        ("ERROR: Could not install: [Errno 28] No space left on device\n", "No space left"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (KeyboardInterrupt(), None),
    ],
)
def test_what_failed_is_absent_and_made_the_next_time(tmp_path, commands, outcome, reason):
    commands(outcome)
    folder = tmp_path / "env"
    with pytest.raises(InstallError if reason else KeyboardInterrupt) as caught:
        ensure_environment(folder, BFCL)
    if reason:
        assert reason in str(caught.value) and str(folder) in str(caught.value)
        assert "--bfcl_env" in str(caught.value) and "\n" not in str(caught.value)
    assert not folder.exists() and not (tmp_path / "env.partial").exists()
    commands()
    assert ensure_environment(folder, BFCL).exists()


def test_what_a_killed_process_left_is_made_again(tmp_path, commands):
    left = tmp_path / "env.partial" / "bin"
    left.mkdir(parents=True)
    (left / "half").touch()
    commands()
    folder = tmp_path / "env"
    assert ensure_environment(folder, BFCL).exists()
    assert not (folder / "bin" / "half").exists() and not left.exists()


def test_of_two_at_once_one_makes_it(tmp_path, commands):
    run = commands()
    threads = [
        threading.Thread(target=ensure_environment, args=(tmp_path / "env", BFCL)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run.run_commands) == 2


def test_a_folder_with_something_else_stays_as_it_is(tmp_path, commands):
    run = commands()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InstallError, match="is no working environment of bfcl-eval"):
        ensure_environment(tmp_path, BFCL)
    assert (tmp_path / "thesis.tex").exists() and not run.run_commands
    with pytest.raises(InstallError, match="is no working environment"):
        ensure_environment(tmp_path / "thesis.tex", BFCL)
    with pytest.raises(InstallError, match="File exists"):
        ensure_environment(tmp_path / "thesis.tex" / "env", BFCL)


def test_the_default_folder_names_both_versions(tmp_path):
    name = default_folder(tmp_path, BFCL).name
    assert installing.BFCL_VERSION in name
    assert name.endswith(f"py{sys.version_info.major}.{sys.version_info.minor}")


@pytest.mark.slow
def test_without_an_index_pip_s_reason_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InstallError, match="No matching distribution found for bfcl-eval"):
        ensure_environment(tmp_path / "env", BFCL)
    assert [path.name for path in tmp_path.iterdir()] == ["env.lock"]
