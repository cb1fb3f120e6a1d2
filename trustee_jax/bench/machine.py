"""The machine that is measured on: what it is, and how fast it can be."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import pathlib
import platform
import subprocess
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trustee_jax.bench.timing import Spread

_PACKAGES = ("trustee-jax", "jax", "jaxlib", "flax", "optax", "numpy", "llguidance")
_CALLS = 4  # in one timing, so that the host's part of a call does not count


@dataclasses.dataclass(frozen=True)
class Roofline:
    """What all devices together can do at best (roofline model, doi 10.1145/1498765.1498785).

    Attributes:
      bytes_per_second: Memory bandwidth of a copy, of which reads and writes both count.
      flops_per_second: Of a large square matrix product in the model's dtype.
      devices: How many there are; one was measured, and counts so often.
    """

    bytes_per_second: Spread
    flops_per_second: Spread
    devices: int

    def seconds(self, flops: float, read: float) -> float:
        """The least time for so many FLOPs and bytes, whichever takes longer."""
        slowest = max(flops / self.flops_per_second.median, read / self.bytes_per_second.median)
        return slowest / self.devices

    def utilisation(self, flops: float, seconds: float) -> float:
        """The share of the peak at which so many FLOPs were computed."""
        return flops / seconds / (self.flops_per_second.median * self.devices)


def measure_roofline(dtype: Any, runs: int) -> Roofline:
    """Measures one of the devices.

    Args:
      dtype: Of the matrix product.
      runs: How often; at least 1.
    """
    large = jax.default_backend() != "cpu"
    size, side = (1 << 29, 8192) if large else (1 << 27, 2048)
    device = jax.local_devices()[0]
    vector = jax.device_put(jnp.zeros(size // 4, jnp.float32), device)
    # Adding is as fast as copying, and is never left out. In place: new memory would be measured
    # with the system's time to hand it out.
    copied = _time(jax.jit(lambda x: x + 1, donate_argnums=0), vector, runs)
    matrix = jax.device_put(jnp.full((side, side), 1 / side, dtype), device)
    multiplied = _time(jax.jit(lambda x, y: x @ y), matrix, runs, jnp.copy(matrix))
    return Roofline(
        Spread.of([2 * size / seconds for seconds in copied]),
        Spread.of([2 * side**3 / seconds for seconds in multiplied]),
        jax.device_count(),
    )


def _time(
    program: Callable[..., jax.Array], x: jax.Array, runs: int, *others: jax.Array
) -> list[float]:
    """Seconds of a call, of each run; every call takes what the one before gave."""
    found = []
    x = jax.block_until_ready(program(x, *others))
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(_CALLS):
            x = program(x, *others)
        jax.block_until_ready(x)
        found.append((time.perf_counter() - start) / _CALLS)
    return found


def describe() -> dict[str, Any]:
    """Device, versions and commit, as JSON values."""
    device = jax.devices()[0]
    return {
        "device": {
            "kind": device.device_kind,
            "platform": device.platform,
            "count": jax.device_count(),
            "processor": _processor(),
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = [line for line in text.splitlines() if line.startswith("model name")]
        return f"{names[0].partition(': ')[2]}, {len(names)} cores"
    except (OSError, IndexError):
        return platform.processor()


def _commit() -> str | None:
    """The commit of this package's checkout, with "+" where files differ; None if it is in none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(pathlib.Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # or it is the repository around a venv
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


class PeakMemory:
    """The most memory that was in use since this was made, or since the process began.

    Attributes:
      kind: "device": the fullest device's, since the process began, which is all that devices
        tell; "resident": the process's since this was made.
    """

    def __init__(self) -> None:
        """Starts anew where the system lets it."""
        self.kind = "device" if jax.local_devices()[0].memory_stats() else "resident"
        try:
            pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        except OSError:
            self.kind = self.kind if self.kind == "device" else "resident since the start"

    def bytes(self) -> int:
        """The most up to now."""
        if self.kind == "device":
            stats = [device.memory_stats() or {} for device in jax.local_devices()]
            return max(int(one.get("peak_bytes_in_use", 0)) for one in stats)
        try:
            status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
            return 1024 * int(status.partition("VmHWM:")[2].split()[0])
        except (OSError, IndexError):
            import resource

            return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
