"""Full disks, and what is on the disk when a checkpoint is begun."""

import dataclasses
import errno
import json
import os
import pathlib

import pytest
from scripted_step import Script

from trustee_jax.environment import Stopped
from trustee_jax.storage import StorageError, replacing, storage_errors
from trustee_jax.training import loop
from trustee_jax.training.checkpoint import RestoreError
from trustee_jax.training.metrics import MetricWriter
from trustee_jax.training.records import EpisodeLog
from trustee_jax.training.workdir import Workdir

TENSORSTORE = ValueError(
    "RESOURCE_EXHAUSTED: Failed to write 9 bytes: No space left on device [os_error_code='28']"
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "whatever"), "No space left on device"),
        (OSError(errno.EROFS, "whatever"), "Read-only file system"),
        (TENSORSTORE, "No space left on device"),
    ],
)
def test_a_disk_that_cannot_be_written_is_named(error: Exception, reason: str) -> None:
    with (
        pytest.raises(StorageError, match=rf"^/a/run cannot be written \({reason}\); make room"),
        storage_errors(pathlib.Path("/a/run")),
    ):
        raise error


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "a"), ValueError("b"), ConnectionError("c")]
)
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_errors(pathlib.Path("/a")):
        raise error
    assert caught.value is error


class Saved:
    """A trainer's `save` that looks at what a machine that stops now would still have."""

    def __init__(self, monkeypatch, trainer: loop.Trainer) -> None:
        self.steps: dict[int, dict[str, list[int]]] = {}
        self.files: dict[int, pathlib.Path] = {}
        self._trainer = trainer
        self._synced: dict[int, int] = {}
        monkeypatch.setattr(os, "fsync", self._fsync)
        monkeypatch.setattr(trainer, "save", self._save)

    def watch(self, *paths: pathlib.Path) -> None:
        self.files = {path.stat().st_ino: path for path in paths}

    def _fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._synced[status.st_ino] = status.st_size

    def _save(self, checkpointer, score) -> None:
        self.steps[self._trainer.step] = {
            path.name: [
                json.loads(line)["step"]
                for line in path.read_bytes()[: self._synced.get(inode, 0)].splitlines()
            ]
            for inode, path in self.files.items()
        }


@pytest.mark.parametrize("steps", [3, 99])
def test_a_checkpoint_is_begun_when_all_lines_up_to_it_are_on_the_disk(
    monkeypatch, tmp_path: pathlib.Path, steps: int
) -> None:
    """At its time, after the last step, and when the run is stopped (in step 4)."""

    def rewards(key):
        if key[0] == 4:
            raise Stopped
        return (1.0, -1.0)[key[2] % 2]

    options = {"training.steps": steps, "training.checkpoint_every": 2}
    script = Script(monkeypatch, rewards, **options)
    trainer = script.trainer()
    saved = Saved(monkeypatch, trainer)
    with Workdir(tmp_path, dataclasses.asdict(script.config), primary=True) as workdir:
        layout = workdir.layout
        with (
            MetricWriter(layout.tensorboard, layout.metrics) as metrics,
            EpisodeLog(layout.episodes) as log,
        ):
            saved.watch(layout.episodes, layout.metrics)
            loop.run(trainer, workdir, None, metrics, log)
    expected = {
        step: {
            "episodes.jsonl": [s for s in range(1, step + 1) for _ in range(12)],
            "metrics.jsonl": [*range(1, step + 1)],
        }
        for step in (2, 3)
    }
    assert saved.steps == expected


def test_what_says_already_what_is_wrong_is_left_alone(tmp_path: pathlib.Path) -> None:
    unreadable = "checkpoints/3 is damaged (os_error_code='5'); delete this folder"
    with pytest.raises(RestoreError, match="delete this folder"), storage_errors(tmp_path):
        raise RestoreError(unreadable)


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path: pathlib.Path, sync: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path, sync=sync) as file:
        file.write("half of the n")
        raise KeyboardInterrupt
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
    with replacing(path, sync=sync) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert (path.read_text(), list(tmp_path.iterdir())) == ("new", [path])
