"""The statistics against values worked out by hand, printed in the literature, or simulated."""

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lema_local.statistics.comparison import (
    SIGNIFICANT,
    detectable_difference,
    holm,
    mcnemar_exact,
    mcnemar_power,
    newcombe_interval,
    paired_comparison,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (5, 10, 0.23659, 0.76341),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
    ],
)
def test_wilson_interval_has_the_known_values(correct: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (3, 8), (7, 7), (40, 90)])
def test_wilson_interval_is_symmetric_and_holds_the_share(correct: int, n: int) -> None:
    low, high = wilson_interval(correct, n)
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low))
    assert 0 <= low <= correct / n <= high <= 1
    for bound in (low, high):  # Wilson 1927: the shares from which the observed one is 1.96 standard errors away
        assert (correct / n - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / n, abs=1e-6)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (6, 0, 2 / 64), (9, 1, 22 / 1024), (4, 4, 1.0), (10, 2, 158 / 4096)],
)
def test_mcnemar_has_the_exact_binomial_p(gained: int, lost: int, p: float) -> None:
    assert mcnemar_exact(gained, lost) == pytest.approx(p)


def test_mcnemar_is_symmetric() -> None:
    for gained, lost in itertools.product(range(7), repeat=2):
        assert mcnemar_exact(gained, lost) == pytest.approx(mcnemar_exact(lost, gained))


A = [True] * 20 + [False] * 40
B = [True] * 16 + [False] * 4 + [True] * 14 + [False] * 26


def test_a_comparison_counts_what_was_gained_and_lost() -> None:
    paired = paired_comparison(A, B)
    assert (paired.n, paired.gained, paired.lost) == (60, 14, 4)
    assert paired.difference == pytest.approx(10 / 60)
    assert paired.p_value == mcnemar_exact(14, 4)
    # normal approximation: 10/60 +- 1.96 * sqrt(18 - 100/60) / 60
    assert (paired.bootstrap_low, paired.bootstrap_high) == pytest.approx((0.0346, 0.2987), abs=0.02)
    assert (paired.low, paired.high) == newcombe_interval(16, 14, 4, 26)


def test_a_comparison_turned_round_is_its_mirror_image() -> None:
    one, other = paired_comparison(A, B), paired_comparison(B, A)
    assert (other.gained, other.lost, other.difference) == (one.lost, one.gained, -one.difference)
    assert other.p_value == pytest.approx(one.p_value)
    assert (-other.high, -other.low) == pytest.approx((one.low, one.high))
    assert (-other.bootstrap_high, -other.bootstrap_low) == pytest.approx(
        (one.bootstrap_low, one.bootstrap_high), abs=0.02
    )


def test_a_comparison_is_the_same_each_time() -> None:
    assert paired_comparison(A, B) == paired_comparison(A, B)


def test_equal_answers_differ_by_nothing_but_their_interval_has_a_width() -> None:
    paired = paired_comparison(A, A)
    assert (paired.difference, paired.bootstrap_low, paired.bootstrap_high, paired.p_value) == (0, 0, 0, 1)
    assert paired.low < -0.03 < 0.03 < paired.high


@pytest.mark.parametrize(("a", "b"), [([], []), ([True], [True, False])], ids=["empty", "of two lengths"])
def test_lists_that_cannot_be_paired_are_refused(a: list[bool], b: list[bool]) -> None:
    with pytest.raises(ValueError, match="the same problems on both sides"):
        paired_comparison(a, b)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # both, gained, lost, neither. Newcombe 1998: 36 / 12 / 2 / 0 and 20 / 12 / 2 / 16
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        # Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8: 1 / 1 / 7 / 12
        ((1, 1, 7, 12), -0.507, -0.026),
        # by hand: both shares 0, so phi = 0, and the wider side is Wilson's z^2 / (n + z^2)
        ((0, 0, 0, 72), -3.841459 / 75.841459, 3.841459 / 75.841459),
    ],
)
def test_newcombe_interval_has_the_published_values(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    assert newcombe_interval(*counts) == pytest.approx((low, high), abs=6e-4)


COUNTS = st.tuples(*[st.integers(0, 60)] * 4).filter(any)


@settings(deadline=None)
@given(COUNTS)
def test_newcombe_interval_holds_the_difference_and_stays_in_range(counts: tuple[int, int, int, int]) -> None:
    _, gained, lost, _ = counts
    low, high = newcombe_interval(*counts)
    assert -1 - 1e-9 <= low <= (gained - lost) / sum(counts) <= high <= 1 + 1e-9
    assert low < high


@settings(deadline=None)
@given(COUNTS)
def test_newcombe_interval_turned_round_is_its_mirror_image(counts: tuple[int, int, int, int]) -> None:
    both, gained, lost, neither = counts
    low, high = newcombe_interval(*counts)
    assert newcombe_interval(both, lost, gained, neither) == pytest.approx((-high, -low))
    assert newcombe_interval(neither, lost, gained, both) == pytest.approx((-high, -low))  # failures counted


@pytest.mark.parametrize("shares", [(0.2, 0.1, 0.05, 0.65), (0.0, 0.03, 0.0, 0.97)], ids=["common", "rare"])
def test_newcombe_interval_covers_the_truth_as_often_as_it_says(shares: tuple[float, ...]) -> None:
    random, interval = np.random.default_rng(2), cache(newcombe_interval)
    samples = random.multinomial(72, shares, size=1_000).tolist()
    intervals = [interval(*counts) for counts in samples]
    assert np.mean([low <= shares[1] - shares[2] <= high for low, high in intervals]) > 0.93


def test_the_bootstrap_does_not_where_changes_are_rare() -> None:
    # so Newcombe's interval is the one that is printed: 0.97 ** 72 = 11% of such samples have no change at all
    nothing_changed = paired_comparison([False] * 72, [False] * 72)
    assert nothing_changed.bootstrap_high == 0.0 < 0.03 < nothing_changed.high


def test_holm_has_the_values_worked_out_by_hand() -> None:
    # 4 x 0.005, 3 x 0.01, then 2 x 0.03; 0.04 may not fall below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7]) == [0.7]
    assert holm([0.6, 0.9]) == [1.0, 1.0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= min(1, p * len(p_values)) + 1e-12 for p, q in zip(p_values, adjusted, strict=True))
    by_p = [adjusted[k] for k in sorted(range(len(p_values)), key=lambda k: p_values[k])]
    assert by_p == sorted(by_p)


@pytest.mark.parametrize(("n", "changed", "difference"), [(72, 0.19, 0.10), (72, 0.19, 0.0), (300, 0.1, 0.05)])
def test_the_power_is_that_of_simulated_comparisons(n: int, changed: float, difference: float) -> None:
    shares = [(changed + difference) / 2, (changed - difference) / 2, 1 - changed]
    p_value = cache(mcnemar_exact)
    draws = np.random.default_rng(3).multinomial(n, shares, size=20_000)
    found = [p_value(gained, lost) < SIGNIFICANT for gained, lost, _ in draws.tolist()]
    assert mcnemar_power(n, changed, difference) == pytest.approx(np.mean(found), abs=0.012)


def test_six_changes_in_one_direction_are_the_fewest_that_count() -> None:
    assert mcnemar_power(5, 1.0, 1.0) == 0.0
    assert mcnemar_power(6, 1.0, 1.0) == pytest.approx(1.0)  # p = 2 / 64
    assert detectable_difference(5, 0.2) is None
    assert detectable_difference(6, 0.2) == pytest.approx(0.8 ** (1 / 6), abs=1e-3)  # all six must change


@pytest.mark.parametrize(("n", "changed"), [(72, 0.0), (72, 0.19), (1319, 0.05), (1319, 0.2)])
def test_the_smallest_difference_that_shows_has_just_the_power_it_is_said_to_have(n: int, changed: float) -> None:
    found = detectable_difference(n, changed)
    assert found is not None
    assert mcnemar_power(n, max(changed, found), found) == pytest.approx(0.8, abs=0.01)


def test_more_problems_show_smaller_differences() -> None:
    found = [detectable_difference(n, 0.2) or 1.0 for n in (50, 200, 800, 3200)]
    assert found == sorted(found, reverse=True)
    # near the usual normal approximation: (1.96 + 0.84) * sqrt(0.2 / n)
    assert found[-1] == pytest.approx(2.8 * (0.2 / 3200) ** 0.5, rel=0.05)
