import pytest
import scipy.stats

from trustee_jax.rates import Rate


@pytest.mark.parametrize("count, of", [(0, 5), (5, 5), (8, 10), (1, 3), (37, 120)])
def test_wilson_interval_is_that_of_scipy(count, of):
    expected = scipy.stats.binomtest(count, of).proportion_ci(method="wilson")
    assert Rate(count, of).interval == pytest.approx((expected.low, expected.high))


def test_wilson_interval_by_hand():
    # (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with p = 0.8, n = 10, z = 1.959964
    assert Rate(8, 10).interval == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert str(Rate(8, 10)) == "8/10 = 80% (49-94)"


def test_a_rate_of_nothing_says_nothing():
    assert Rate(0, 0).share is None
    assert Rate(0, 0).interval == (0.0, 1.0)
    assert str(Rate(0, 0)) == "-"
