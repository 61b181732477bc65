"""The statistics against values worked out by hand or printed in textbooks."""

import itertools

import pytest

from lema_local.statistics import mcnemar_exact, paired_comparison, wilson_interval


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
    assert (paired.low, paired.high) == pytest.approx((0.0346, 0.2987), abs=0.02)


def test_a_comparison_turned_round_is_its_mirror_image() -> None:
    one, other = paired_comparison(A, B), paired_comparison(B, A)
    assert (other.gained, other.lost, other.difference) == (one.lost, one.gained, -one.difference)
    assert other.p_value == pytest.approx(one.p_value)
    assert (-other.high, -other.low) == pytest.approx((one.low, one.high), abs=0.02)


def test_a_comparison_is_the_same_each_time() -> None:
    assert paired_comparison(A, B) == paired_comparison(A, B)


def test_equal_answers_differ_by_nothing() -> None:
    paired = paired_comparison(A, A)
    assert (paired.difference, paired.low, paired.high, paired.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize(("a", "b"), [([], []), ([True], [True, False])], ids=["empty", "of two lengths"])
def test_lists_that_cannot_be_paired_are_refused(a: list[bool], b: list[bool]) -> None:
    with pytest.raises(ValueError, match="the same problems on both sides"):
        paired_comparison(a, b)
