"""What is said of figures, by rules that are checked by hand."""

from collections.abc import Sequence

import pytest

from trustee_jax.evaluation.pairs import pair
from trustee_jax.evidence.claims import Claim, Wanted, claim, decided, holm


def of(only_a: int, only_b: int, wanted: Wanted) -> Claim:
    cases = [(True, False)] * only_a + [(False, True)] * only_b + [(True, True)] * 40
    return claim("A", "B", "calls", wanted, pair(cases, "calls"))


def test_holm_of_a_textbook() -> None:
    # Sorted and times 4, 3, 2, 1; none is below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2] and holm([]) == []


@pytest.mark.parametrize(
    ("only_a", "only_b", "holds"),
    [
        # (only A, only B), and whether B is better, not worse, not better.
        (0, 6, (True, True, False)),  # p = 2 / 2^6 = 0.03125
        (0, 5, (False, True, True)),  # p = 2 / 2^5 = 0.0625
        (6, 0, (False, False, True)),
        (5, 5, (False, True, True)),
        (0, 0, (False, True, True)),
    ],
)
def test_a_claim_holds_by_its_rule(only_a: int, only_b: int, holds: Sequence[bool]) -> None:
    kinds: tuple[Wanted, ...] = ("better", "not worse", "not better")
    assert tuple(of(only_a, only_b, kind).holds for kind in kinds) == holds


def test_only_claims_to_be_better_are_corrected() -> None:
    # 0.03125 and 0.0078125, and among two: 0.03125 and 0.015625.
    claims = [of(0, 6, "better"), of(6, 0, "not worse"), of(0, 8, "better")]
    found = decided(claims)
    assert [one.p for one in found] == [0.03125, 0.03125, 0.015625]
    assert [one.holds for one in found] == [True, False, True]
    found = decided([*claims, of(0, 5, "better")])
    # With a third, 2 * 0.03125 is above the level.
    assert [one.p for one in found] == [0.0625, 0.03125, 3 * 0.0078125, 0.0625]
    assert [one.holds for one in found] == [False, False, True, False]


def test_a_claim_is_a_sentence_with_all_its_figures() -> None:
    text = str(decided([of(0, 10, "better")])[0])
    assert text.startswith("B is better than A on calls: yes. 50 against 40 of 50, +20.0 points (")
    assert text.endswith("p = 0.002 (Holm)")
    assert "not worse than A on calls: no. 40 against 46 of 46, -13.0" in str(of(6, 0, "not worse"))
