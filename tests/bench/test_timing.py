import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustee_jax.bench.machine import PeakMemory, Roofline, measure_roofline
from trustee_jax.bench.timing import (
    Case,
    NotMeasurableError,
    Spread,
    busy_seconds,
    compilations,
    measure,
    union,
)


def test_spread():
    spread = Spread.of([3.0, 1.0, 2.0, 9.0])
    assert spread == Spread(2.5, 1.0, 9.0)
    assert Spread(1 / 3, 0.0, 123456789.0).to_json() == {
        "median": 0.333333,
        "min": 0.0,
        "max": 123457000.0,
    }


def test_compilations_are_counted():
    program = jax.jit(lambda x: x * 3 + 1)
    with compilations() as first:
        program(jnp.zeros(3))
        inside = len(first)
    with compilations() as second:
        program(jnp.zeros(3))
    assert inside >= 1 and second == []
    program(jnp.zeros(5))  # nobody listens any more
    assert len(first) == inside


def test_a_case_is_warmed_up_until_nothing_compiles():
    sizes = iter([1, 2, 2, 2, 2])
    program = jax.jit(lambda x: x + 1.5)

    def run():
        size = next(sizes)
        program(jnp.zeros(size))
        return {"size": size}

    result = measure(Case("any", {"a": 1}, run), 2)
    # Two compile, the third finds nothing to compile, and the others count.
    assert next(sizes, None) is None
    assert result.to_json() == {
        "a": 1,
        "compilations": 0,
        "figures": {"size": {"median": 2.0, "min": 2.0, "max": 2.0}},
    }


def test_what_compiles_in_every_run_shows():
    sizes = iter(range(1, 10))
    program = jax.jit(lambda x: x + 2.5)

    def run():
        program(jnp.zeros(next(sizes)))
        return {"seconds": 1.0}

    assert measure(Case("any", {}, run), 2).compilations >= 2


def test_what_cannot_be_measured_says_why():
    def run():
        raise NotMeasurableError("no room")

    assert measure(Case("any", {"rows": 3}, run), 2).to_json() == {"rows": 3, "skipped": "no room"}


@pytest.mark.parametrize(
    ("spans", "covered"),
    [
        ([], 0),
        ([(0, 2), (5, 6)], 3),
        ([(5, 6), (0, 2), (1, 3)], 4),
        ([(0, 10), (2, 3), (9, 12)], 12),
    ],
)
def test_union(spans, covered):
    assert union(spans) == covered


def test_busy_seconds_are_those_of_the_device(tmp_path):
    program = jax.jit(lambda x: x @ x / 700)
    matrix = program(jnp.ones((700, 700))).block_until_ready()
    computed = []

    def run():
        for _ in range(3):
            start = time.perf_counter()
            program(matrix).block_until_ready()
            computed.append(time.perf_counter() - start)
            with jax.profiler.TraceAnnotation("the host is at work"):
                time.sleep(0.2)
        return {}

    found = []
    case = Case("any", {}, run, lambda busy: found.append(busy) or {"busy": busy})
    result = measure(case, 1, tmp_path)
    (file,) = tmp_path.rglob("*.xplane.pb")
    assert busy_seconds(file) == found[0] == result.figures["busy"].median
    assert 0.1 * sum(computed[-3:]) < found[0] <= 1.01 * sum(computed[-3:])


def test_the_roofline_is_the_slower_of_both_over_all_devices():
    roofline = Roofline(Spread.of([100.0]), Spread.of([1000.0]), 2)
    assert roofline.seconds(flops=500, read=10) == 0.25
    assert roofline.seconds(flops=500, read=200) == 1.0
    assert roofline.utilisation(flops=500, seconds=1) == 0.25


def test_a_machine_has_a_speed():
    roofline = measure_roofline(jnp.float32, 1)
    assert 1e8 < roofline.bytes_per_second.median < 1e12
    assert 1e9 < roofline.flops_per_second.median < 1e14
    assert roofline.devices == jax.device_count()


def test_peak_memory_starts_anew():
    memory = PeakMemory()
    before = memory.bytes()
    block = np.ones(50_000_000)
    after = memory.bytes()
    assert memory.kind == "resident"
    # Memory that was freed before may be given back meanwhile.
    assert 0.5 * block.nbytes < after - before < 1.5 * block.nbytes
    size = block.nbytes
    del block
    assert PeakMemory().bytes() < after - 0.5 * size
