"""The TPU script against a stand-in for gcloud that records what it is asked to do."""

import os
import pathlib
import shutil
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "launch" / "tpu.sh"
FLAGS = ["--config=configs/debug.py", "--workdir=/mnt/runs/a b"]
GCLOUD = """#!/usr/bin/env bash
printf '%s\\n' "${*//$'\\n'/; }" >> "$CALLS"
case "$*" in
  *queued-resources*describe*) cat "$QUEUE" 2>/dev/null; [ -s "$QUEUE" ] || exit 1 ;;
  *tpu-vm*describe*) cat "$NODE" 2>/dev/null; [ -s "$NODE" ] || exit 1 ;;
  *queued-resources*create*) echo ACTIVE > "$QUEUE" ;;
esac
"""

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="the script packs what git lists")


class _Cloud:
    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        (folder / "gcloud").write_text(GCLOUD)
        (folder / "gcloud").chmod(0o755)

    def run(self, *arguments: str, node: str = "", queue: str = "", **settings: str) -> list[str]:
        """The calls of gcloud, other than questions about the state."""
        (self._folder / "node").write_text(node)
        (self._folder / "queue").write_text(queue)
        (self._folder / "calls").write_text("")
        names = {name.upper(): str(self._folder / name) for name in ("calls", "node", "queue")}
        path = f"{self._folder}:{os.environ['PATH']}"
        self.done = subprocess.run(
            ["bash", str(SCRIPT), *arguments],
            env={**os.environ, **names, "PATH": path, "POLL_SECONDS": "0", **settings},
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = (self._folder / "calls").read_text().splitlines()
        return [call.removeprefix("compute tpus ") for call in calls if " describe " not in call]


@pytest.fixture
def cloud(tmp_path: pathlib.Path) -> _Cloud:
    return _Cloud(tmp_path)


def _verbs(calls: list[str]) -> list[str]:
    return [" ".join(call.split()[:2]) for call in calls]


def test_up_creates_installs_and_trains(cloud: _Cloud) -> None:
    calls = cloud.run("up", "run", *FLAGS, ZONE="z", SLICE="v6e-16", SHARE="10.0.0.2:/runs")
    assert cloud.done.returncode == 0, cloud.done.stderr
    assert _verbs(calls) == ["tpu-vm create", "tpu-vm scp", *["tpu-vm ssh"] * 3]
    assert "--accelerator-type=v6e-16" in calls[0]
    assert "--version=v2-alpha-tpuv6e" in calls[0]
    assert "--spot" not in calls[0]
    assert all("--zone=z" in call for call in calls)
    assert all("--worker=all" in call for call in calls[1:])
    assert "-e '.[tpu]'" in calls[2]
    assert "mount -t nfs 10.0.0.2:/runs /mnt/runs" in calls[3]
    assert (
        r"trustee train --distributed --config=configs/debug.py --workdir=/mnt/runs/a\ b"
        in (calls[4])
    )


def test_flags_may_have_their_value_after_a_space(cloud: _Cloud) -> None:
    spaced = [part for flag in FLAGS for part in flag.split("=")]
    calls = cloud.run("train", "run", *spaced, ZONE="z")
    assert cloud.done.returncode == 0, cloud.done.stderr
    assert r"--config configs/debug.py --workdir /mnt/runs/a\ b" in calls[0]


def test_up_goes_on_where_the_slice_exists(cloud: _Cloud) -> None:
    assert _verbs(cloud.run("up", "run", *FLAGS, node="READY", ZONE="z")) == [
        "tpu-vm scp",
        "tpu-vm ssh",
        "tpu-vm ssh",
    ]


def test_up_replaces_a_preempted_slice(cloud: _Cloud) -> None:
    calls = cloud.run("up", "run", *FLAGS, node="PREEMPTED", ZONE="z", SPOT="1")
    assert _verbs(calls)[:2] == ["tpu-vm delete", "tpu-vm create"]
    assert "--spot" in calls[1]


def test_a_queued_slice_is_waited_for(cloud: _Cloud) -> None:
    calls = cloud.run("create", "run", ZONE="z", QUEUED="1", SPOT="1")
    assert cloud.done.returncode == 0, cloud.done.stderr
    (call,) = calls
    assert call.startswith("queued-resources create run --node-id=run ")
    assert "--runtime-version=v2-alpha-tpuv5-lite --accelerator-type=v5litepod-16 --spot" in call
    # One that waits already is not asked for again; one that failed is told.
    assert cloud.run("create", "run", queue="ACTIVE", ZONE="z", QUEUED="1") == []
    cloud.run("create", "run", queue="SUSPENDED", ZONE="z", QUEUED="1")
    assert cloud.done.returncode == 2
    assert "SUSPENDED; run delete" in cloud.done.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["up"], {"ZONE": "z"}, "slice's name"),
        (["up", "run", *FLAGS], {"ZONE": ""}, "set ZONE"),
        (["up", "run", "--config=a"], {"ZONE": "z"}, "--workdir="),
        (["create", "run", "--spot"], {"ZONE": "z"}, "takes no flags"),
        (["create", "run"], {"ZONE": "z", "SLICE": "v1-8"}, "set RUNTIME"),
        (["destroy", "run"], {"ZONE": "z"}, "unknown command destroy"),
    ],
)
def test_wrong_use_is_told_before_anything_is_done(
    cloud: _Cloud, arguments: list[str], settings: dict[str, str], words: str
) -> None:
    assert cloud.run(*arguments, **settings) == []
    assert cloud.done.returncode == 2
    assert words in cloud.done.stderr
