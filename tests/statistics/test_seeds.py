"""Several seeds: their spread, and two arms over seeds and problems."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lema_local.statistics.seeds import compare_over_seeds, seeds_needed, spread


def test_a_spread_has_mean_standard_deviation_and_range() -> None:
    found = spread([0.2, 0.3, 0.1])
    assert (found.n, found.least, found.most) == (3, 0.1, 0.3)
    assert (found.mean, found.sd) == (pytest.approx(0.2), pytest.approx(0.1))


def test_one_seed_has_no_standard_deviation() -> None:
    assert spread([0.4]).sd is None
    with pytest.raises(ValueError, match="needs a value"):
        spread([])


def random_arms(random: np.random.Generator, *, seeds: int, gain: float, wobble: float) -> list[dict[int, list[bool]]]:
    """Two arms over 80 problems: hard and easy problems, and seeds that are better or worse by `wobble`."""
    ease = random.normal(0, 0.2, 80)
    arms = []
    for shift in (0.0, gain):
        by_seed = {}
        for seed in range(seeds):
            chance = np.clip(0.4 + shift + ease + random.normal(0, wobble), 0, 1)
            by_seed[seed] = (random.random(80) < chance).tolist()
        arms.append(by_seed)
    return arms


def interval_of_the_mean(values: list[float]) -> tuple[float, float]:
    """Student's, by scipy's own test of one sample."""
    found = ttest_1samp(values, 0.0).confidence_interval(0.95)
    return float(found.low), float(found.high)


def test_a_comparison_over_seeds_uses_the_seeds_that_both_arms_have() -> None:
    a = {1: [False, False], 2: [True, False], 9: [True, True]}
    b = {1: [True, False], 2: [True, True], 3: [False, False]}
    found = compare_over_seeds(a, b)
    assert (found.seeds, found.n, found.by_seed) == ((1, 2), 2, (0.5, 0.5))
    assert found.difference == pytest.approx(0.5)


def test_one_seed_is_students_interval_over_problems() -> None:
    gains = [True] * 14 + [False] * 46
    found = compare_over_seeds({1: [False] * 60}, {1: gains})
    assert (found.low, found.high) == pytest.approx(interval_of_the_mean([float(gain) for gain in gains]))


def test_one_problem_says_nothing_of_the_others() -> None:
    found = compare_over_seeds({1: [False], 2: [False], 3: [False]}, {1: [True], 2: [True], 3: [False]})
    assert (found.difference, found.low, found.high) == (pytest.approx(2 / 3), -1.0, 1.0)


def test_seeds_that_alone_make_the_difference_vary_are_students_interval_over_seeds() -> None:
    by_seed = [0.3, 0.1, 0.2, 0.6]  # of every problem
    found = compare_over_seeds(dict(enumerate([[0.0] * 50] * 4)), dict(enumerate([[gain] * 50 for gain in by_seed])))
    assert (found.low, found.high) == pytest.approx(interval_of_the_mean(by_seed))


def test_arms_that_answer_alike_are_not_promised_to_do_so_for_ever() -> None:
    found = compare_over_seeds({1: [False] * 12, 2: [False] * 12}, {1: [False] * 12, 2: [False] * 12})
    assert found.low < -0.1 < 0.1 < found.high


def test_seeds_that_disagree_widen_the_interval() -> None:
    random = np.random.default_rng(4)
    calm = compare_over_seeds(*random_arms(random, seeds=4, gain=0.1, wobble=0.0))
    wild = compare_over_seeds(*random_arms(random, seeds=4, gain=0.1, wobble=0.2))
    assert wild.high - wild.low > 1.3 * (calm.high - calm.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_a_few_seeds_that_vary_much_holds_the_truth_as_often_as_it_says(seeds: int) -> None:
    random, held = np.random.default_rng(5), []
    for _ in range(400):
        found = compare_over_seeds(*random_arms(random, seeds=seeds, gain=0.0, wobble=0.1))
        held.append(found.low <= 0.0 <= found.high)
    assert np.mean(held) > 0.93


@pytest.mark.parametrize(
    ("a", "b"), [({1: [True]}, {2: [True]}), ({1: [True]}, {1: [True, False]}), ({1: []}, {1: []})]
)
def test_arms_that_share_no_seed_or_problems_are_refused(a: dict[int, list[bool]], b: dict[int, list[bool]]) -> None:
    with pytest.raises(ValueError, match="seeds that both arms have"):
        compare_over_seeds(a, b)


def test_as_many_seeds_as_are_needed_show_the_difference_about_four_times_in_five() -> None:
    random = np.random.default_rng(7)
    pilots = [compare_over_seeds(*random_arms(random, seeds=40, gain=0.1, wobble=0.06)) for _ in range(5)]
    needed = sorted(seeds_needed(pilot, 0.1) or 0 for pilot in pilots)[2]
    worlds = [compare_over_seeds(*random_arms(random, seeds=needed, gain=0.1, wobble=0.06)) for _ in range(60)]
    assert 5 <= needed < 30
    assert 0.65 < np.mean([found.low > 0 for found in worlds]) <= 0.95


def test_too_few_problems_are_not_made_good_by_seeds() -> None:
    a = {seed: [True, False, False, True, False] for seed in range(2)}
    b = {seed: [False, True, True, True, False] for seed in range(2)}
    assert seeds_needed(compare_over_seeds(a, b), 0.05) is None
    assert seeds_needed(compare_over_seeds(a, a), 0.05) is None
    with pytest.raises(ValueError, match="needs two"):
        seeds_needed(compare_over_seeds({1: a[0]}, {1: b[0]}), 0.05)
