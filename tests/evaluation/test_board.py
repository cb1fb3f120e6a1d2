"""Categories by name, and the board's figures by hand."""

import math

import pytest

from trustee_jax.evaluation.board import (
    CATEGORIES,
    CategoryError,
    choose_categories,
    scores,
    weights,
)
from trustee_jax.rates import Rate

SIZES = dict(zip(CATEGORIES, range(100, 100 + len(CATEGORIES)), strict=True))


def test_names_and_groups():
    assert choose_categories(["all"]) == CATEGORIES
    assert choose_categories(["multi_turn", "irrelevance", "irrelevance"]) == (
        "irrelevance",
        *CATEGORIES[-4:],
    )
    assert set(choose_categories(["live", "non_live"])) == set(choose_categories(["single_turn"]))


@pytest.mark.parametrize("names", [[], ["simple_pyton"], ["memory"], ["live", ""]])
def test_unknown_names_are_one_error_with_the_choices(names):
    with pytest.raises(CategoryError) as caught:
        choose_categories(names)
    assert all(name in str(caught.value) for name in ("non_live", "multi_turn_base"))


def test_every_figure_is_a_mean():
    found = weights(SIZES)
    assert list(found) == ["non_live", "live", "irrelevance", "multi_turn", "overall"]
    for parts in found.values():
        assert math.fsum(parts.values()) == pytest.approx(1)


def test_the_figures_of_a_whole_board():
    shares = {name: i / 20 for i, name in enumerate(CATEGORIES)}
    rates = {name: Rate(round(share * 200), 200) for name, share in shares.items()}
    found = scores(rates, SIZES)
    simple = (shares["simple_python"] + shares["simple_java"] + shares["simple_javascript"]) / 3
    non_live = (simple + shares["multiple"] + shares["parallel"] + shares["parallel_multiple"]) / 4
    live_names = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
    live = sum(shares[n] * SIZES[n] for n in live_names) / sum(SIZES[n] for n in live_names)
    irrelevance = (shares["irrelevance"] + shares["live_irrelevance"]) / 2
    multi_turn = sum(shares[name] for name in CATEGORIES[-4:]) / 4
    overall = (10 * non_live + 10 * live + 10 * irrelevance + 30 * multi_turn) / 60
    expected = (non_live, live, irrelevance, multi_turn, overall)
    assert [score.value for score in found.values()] == pytest.approx(list(expected))
    assert found["live"].missing == ()
    assert found["overall"].missing == ("agentic",)


def test_what_is_not_measured_is_left_out_and_named():
    found = scores({"simple_java": Rate(1, 2), "multiple": Rate(2, 2)}, SIZES)
    assert list(found) == ["non_live", "overall"]
    assert found["non_live"].value == found["overall"].value == 0.75
    assert "simple_python" in found["non_live"].missing
    assert "multi_turn_base" in found["overall"].missing
    assert scores({}, SIZES) == {}


def test_the_interval_of_one_category_is_its_own():
    rate = Rate(3, 40)
    found = scores({"parallel": rate}, SIZES)["non_live"]
    assert (found.low, found.high) == pytest.approx(rate.interval)


def test_the_interval_of_a_mean_of_two():
    one, other = Rate(10, 40), Rate(30, 40)
    found = scores({"irrelevance": one, "live_irrelevance": other}, SIZES)["irrelevance"]
    below = [(0.5 * (rate.share - rate.interval[0])) ** 2 for rate in (one, other)]
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - math.sqrt(sum(below)))
    assert found.high == pytest.approx(1 - found.low)  # the two are mirror images
