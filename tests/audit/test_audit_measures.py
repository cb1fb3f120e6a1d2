import numpy as np
import pytest
import scipy.stats

from trustee_jax.audit.measures import auroc, calibration, kappa


def test_calibration_by_hand():
    # Bins of width 0.25: [0.1 F, 0.25 T], none, [0.6 T], [0.8 F, 1.0 T].
    found = calibration([0.1, 0.25, 0.6, 0.8, 1.0], [False, True, True, False, True], bins=4)
    assert [(b.count, b.mean, b.met) for b in found.bins] == [
        (2, pytest.approx(0.175), 0.5),
        (1, pytest.approx(0.6), 1.0),
        (2, pytest.approx(0.9), 0.5),
    ]
    # (2 |0.175 - 0.5| + |0.6 - 1| + 2 |0.9 - 0.5|) / 5
    assert found.ece == pytest.approx((0.65 + 0.4 + 0.8) / 5)
    # (0.01 + 0.5625 + 0.16 + 0.64 + 0) / 5
    assert found.brier == pytest.approx(1.3725 / 5)
    # Met 0.25, 0.6, 1.0 against not met 0.1, 0.8: 1, 1, 1 against the first; 0, 0, 1.
    assert found.auroc == pytest.approx(4 / 6)
    assert (found.count, found.met) == (5, 0.6)


def test_bins_hold_their_upper_edge_and_the_first_holds_zero():
    found = calibration([0.0, 0.1, 1.0], [True, True, True])
    assert [(b.low, b.high, b.count) for b in found.bins] == [
        (0.0, pytest.approx(0.1), 2),
        (pytest.approx(0.9), 1.0, 1),
    ]


def test_perfect_probabilities_have_no_error():
    found = calibration([0.0, 1.0, 1.0], [False, True, True])
    assert (found.ece, found.brier, found.auroc) == (0.0, 0.0, 1.0)


def test_auroc_is_the_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    # Rounded, so that there are ties.
    positives, negatives = rng.normal(0.3, 1, 40).round(1), rng.normal(0, 1, 25).round(1)
    statistic = scipy.stats.mannwhitneyu(positives, negatives).statistic
    assert auroc(positives, negatives) == pytest.approx(statistic / (40 * 25))
    assert auroc([0.5], []) is None


def test_no_probabilities_no_calibration():
    assert calibration([], []) is None


def test_kappa_by_hand():
    yes, no = True, False
    pairs = [(yes, yes)] * 20 + [(yes, no)] * 5 + [(no, yes)] * 10 + [(no, no)] * 15
    # Observed 35/50; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([(yes, yes)] * 9) is None
    assert kappa([]) is None
