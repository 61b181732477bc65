"""pass@k, majority@k and repeated greedy runs."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lema_local.statistics.sample_metrics import compare_repeats, majority_at_k, mean_over_problems, pass_at_k


@settings(deadline=None)
@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n: int, data: st.DataObject) -> None:
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n=n, correct=correct, k=k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_has_the_values_of_its_formula() -> None:
    assert pass_at_k(n=200, correct=13, k=1) == pytest.approx(13 / 200)
    assert pass_at_k(n=4, correct=1, k=2) == pytest.approx(0.5)  # 1 - 3 / 6
    assert pass_at_k(n=100_000, correct=1, k=50_000) == pytest.approx(0.5)  # binomials of this size do not fit a float


@pytest.mark.parametrize("k", [0, 5])
def test_more_samples_than_there_are_cannot_be_asked_for(k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} needs"):
        pass_at_k(n=4, correct=1, k=k)
    with pytest.raises(ValueError, match=f"majority@{k} needs"):
        majority_at_k([("1", True)] * 4, k)


R, W, X, N = ("18", True), ("17", False), ("16", False), (None, False)


@pytest.mark.parametrize(
    ("answers", "k", "value"),
    [
        ([R, W, R], 3, 1.0),
        ([W, W, R], 3, 0.0),
        ([R, W], 2, 0.5),
        ([R, W, X], 3, 1 / 3),
        ([N, N, R], 3, 1.0),
        ([N, N], 2, 0.0),
        ([R, ("18.00", True), W, W, X], 5, 0.5),
        ([R, R, W, W, X], 2, 0.5),
        ([R, W, X], 1, 1 / 3),
    ],
    ids=["majority", "outvoted", "tie", "tie of three", "no answer has no vote", "no answer at all",
         "right answers are one answer", "groups of two", "one is pass@1"],
)  # fmt: skip
def test_majority_at_k_is_the_most_frequent_answer(
    answers: list[tuple[str | None, bool]], k: int, value: float
) -> None:
    assert majority_at_k(answers, k) == pytest.approx(value)


def test_a_mean_over_problems_has_an_interval_over_problems() -> None:
    found = mean_over_problems([1.0] * 20 + [0.5] * 20 + [0.0] * 40)
    assert found.value == pytest.approx(0.375)
    # sd of one problem 0.4146; 1.96 * 0.4146 / sqrt(80) = 0.091
    assert (found.low, found.high) == pytest.approx((0.284, 0.466), abs=0.01)
    with pytest.raises(ValueError, match="needs one problem"):
        mean_over_problems([])


def test_repeats_tell_how_many_answers_changed_and_how_many_grades() -> None:
    found = compare_repeats([[R, R, R], [R, W, R], [W, X, W], [R, ("18.0", True), R], [N, W, W]])
    assert (found.problems, found.repeats, found.changed, found.flipped) == (5, 3, 3, 1)
    assert (found.least, found.most) == (pytest.approx(0.4), pytest.approx(0.6))


@pytest.mark.parametrize("problems", [[], [[R]], [[R, R], [R]]], ids=["none", "one repeat", "of two lengths"])
def test_repeats_that_cannot_be_compared_are_refused(problems: list[list[tuple[str | None, bool]]]) -> None:
    with pytest.raises(ValueError, match="equally often, twice or more"):
        compare_repeats(problems)
