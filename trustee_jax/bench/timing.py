"""Runs of one case: warm, counted compilations, medians with their spread, traces."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
# The second may find other things in a cache than the first, and compile for them.
_WARM_UPS = range(2, 5)
# Lines of a device's plane that hold what it executes; others repeat it, or hold its steps.
_DEVICE_LINES = ("XLA Modules", "Stream")

Figures = dict[str, float]


class NotMeasurableError(Exception):
    """A case cannot be had with this configuration; the message says why."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over several runs."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """That of one value or more."""
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        """Six digits of each."""
        return {name: float(f"{x:.6g}") for name, x in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
      measurement: What it belongs to, e.g. "decode".
      parameters: What tells it from others of the same measurement, as JSON values.
      run: Does it once and returns its figures. Equal work in every run.
      traced: Figures from a trace of one more run, which this is given the busy seconds of; None
        if there are none.
    """

    measurement: str
    parameters: Mapping[str, Any]
    run: Callable[[], Figures]
    traced: Callable[[float], Figures] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured of a case.

    Attributes:
      case: The case.
      figures: By name; empty if it could not be measured.
      compilations: Programs that were compiled (or loaded) during the measured runs.
      skipped: Why it could not be measured.
    """

    case: Case
    figures: Mapping[str, Spread]
    compilations: int = 0
    skipped: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        found: dict[str, Any] = dict(self.case.parameters)
        if self.skipped is not None:
            return found | {"skipped": self.skipped}
        figures = {name: spread.to_json() for name, spread in self.figures.items()}
        return found | {"compilations": self.compilations, "figures": figures}


def measure(
    case: Case,
    runs: int,
    trace: pathlib.Path | None = None,
    on_run: Callable[[], None] = lambda: None,
) -> Result:
    """Warms a case up until nothing is compiled any more, then runs it.

    Args:
      case: What to run.
      runs: How often, at least once.
      trace: Folder for a trace of one more run; None: no trace, but for figures that need one.
      on_run: Called after every measured run.
    """
    try:
        for count in range(1, _WARM_UPS.stop):
            with compilations() as compiled:
                case.run()
            if not compiled and count in _WARM_UPS:
                break
        found = []
        with compilations() as compiled:
            for _ in range(runs):
                found.append(case.run())
                on_run()
        figures = {name: Spread.of([one[name] for one in found]) for name in found[0]}
        if trace is not None or case.traced is not None:
            busy = _trace(case.run, trace)
            if case.traced is not None:
                figures |= {name: Spread.of([x]) for name, x in case.traced(busy).items()}
    except NotMeasurableError as reason:
        return Result(case, {}, skipped=str(reason))
    return Result(case, figures, len(compiled))


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """Yields what every compilation within the block adds its seconds to.

    A program that comes out of JAX_COMPILATION_CACHE_DIR counts, too: it is waited for.
    """
    found: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == _COMPILED:
            found.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def _trace(run: Callable[[], object], folder: pathlib.Path | None) -> float:
    """Traces a run; returns the seconds in which a device had work."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    options.host_tracer_level = 1
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or pathlib.Path(temporary)
        with jax.profiler.trace(str(place), profiler_options=options):
            run()
        newest = max(place.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
        return busy_seconds(newest)


def busy_seconds(file: pathlib.Path) -> float:
    """Seconds in which a device executed something, the mean over devices.

    Args:
      file: An `.xplane.pb`. On a CPU the operations of all threads are taken together.
    """
    devices, host = [], []
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        is_device = plane.name.startswith("/device:")
        spans = []
        for line in plane.lines:
            if is_device and not line.name.startswith(_DEVICE_LINES):
                continue
            for event in line.events:
                if event.duration_ns and (is_device or any(k == "hlo_op" for k, _ in event.stats)):
                    spans.append((event.start_ns, event.start_ns + event.duration_ns))
        if is_device and spans:
            devices.append(spans)
        else:
            host += spans
    found = [union(spans) for spans in devices or [host]]
    return sum(found) / len(found) / 1e9


def union(spans: Sequence[tuple[float, float]]) -> float:
    """Length of what intervals (start, end) cover together."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
