"""Statistics of pairs against scipy and by hand."""

import numpy as np
import pytest
import scipy.stats

from trustee_jax.evaluation.pairs import POOLED, compare, mcnemar
from trustee_jax.evaluation.results import Record, Results, ResultsError, Verdict


def results(rows, version="1", sizes=None):
    """Results of rows (case, category, strict, lenient); None where a reading is missing."""
    records = {}
    for case, category, *right in rows:
        readings = zip(("strict", "lenient"), right, strict=True)
        verdicts = {name: Verdict(valid) for name, valid in readings if valid is not None}
        records[case] = Record(case, category, verdicts)
    sizes = sizes or {record.category: 100 for record in records.values()}
    return Results({"identity": {"bfcl_eval": version}, "sizes": sizes}, records)


def of(category, outcomes):
    return [(f"{category}_{i}", category, right, right) for i, right in enumerate(outcomes)]


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 9), (10, 2), (0, 12), (40, 41)])
def test_mcnemar_is_the_exact_binomial_test(counts):
    one, other = counts
    both = one + other
    tail = sum(scipy.stats.binom.pmf(k, both, 0.5) for k in range(min(counts) + 1))
    assert mcnemar(one, other) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(one, other) == mcnemar(other, one)


def test_mcnemar_of_a_textbook():
    # 2 (1 + 12 + 66) / 2^12
    assert mcnemar(2, 10) == pytest.approx(158 / 4096)


def test_counts_and_difference_by_hand():
    a = results(of("multiple", [True, True, False, False, True, False]))
    b = results(of("multiple", [True, False, True, True, True, False])[::-1])
    found = compare(a, b, ("strict", "strict"))
    for name in ("multiple", POOLED):
        pair = found.pairs[name]
        assert (pair.both, pair.only_a, pair.only_b, pair.neither) == (2, 1, 2, 1)
        assert pair.difference == pytest.approx(1 / 6)
        assert pair.p == 1.0
    assert found.only_in_a == found.only_in_b == 0


def test_the_interval_is_that_of_a_bootstrap_of_cases():
    rng = np.random.default_rng(1)
    one, other = rng.random(300) < 0.5, rng.random(300) < 0.6
    found = compare(
        results(of("multiple", one.tolist())),
        results(of("multiple", other.tolist())),
        ("strict", "strict"),
    )
    difference = other.astype(float) - one
    pair = found.pairs["multiple"]
    expected = scipy.stats.bootstrap(
        (difference,), np.mean, method="percentile", n_resamples=9999, rng=2
    ).confidence_interval
    assert pair.difference == pytest.approx(difference.mean())
    assert (pair.low, pair.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    again = compare(
        results(of("multiple", one.tolist())),
        results(of("multiple", other.tolist())),
        ("strict", "strict"),
    )
    assert again.pairs == found.pairs


def test_the_board_weighs_categories():
    """Live is weighed by the official sizes: 258 to 1053, whatever was measured."""
    sizes = {"live_simple": 258, "live_multiple": 1053}
    gained, same = [False] * 50, [True] * 80
    a = results(of("live_simple", gained) + of("live_multiple", same), sizes=sizes)
    b = results(of("live_simple", [True] * 50) + of("live_multiple", same), sizes=sizes)
    found = compare(a, b, ("strict", "strict"))
    live = found.board["live"]
    assert live.difference == live.low == live.high == pytest.approx(258 / 1311)
    assert found.board["overall"].difference == pytest.approx(258 / 1311)
    assert found.pairs[POOLED].difference == pytest.approx(50 / 130)


def test_only_common_cases_with_the_readings_count():
    a = results([("m_0", "multiple", False, True), ("m_1", "multiple", False, None)])
    b = results([("m_0", "multiple", True, True), ("m_1", "multiple", True, True)])
    strict = compare(a, b, ("strict", "strict")).pairs["multiple"]
    assert (strict.only_b, strict.both) == (2, 0)
    mixed = compare(a, b, ("lenient", "strict"))
    assert (mixed.pairs["multiple"].both, mixed.only_in_a, mixed.only_in_b) == (1, 0, 1)


def test_what_cannot_be_compared_is_one_error():
    a = results(of("multiple", [True]))
    with pytest.raises(ResultsError, match="different versions of the benchmark: 1 and 2"):
        compare(a, results(of("multiple", [True]), "2"), ("strict", "strict"))
    with pytest.raises(ResultsError, match="no case in common"):
        compare(a, results(of("parallel", [True])), ("strict", "strict"))
