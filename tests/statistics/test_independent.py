"""The statistics against statsmodels and SciPy's own figures, on tables that are small, lopsided or degenerate."""

import itertools
from math import comb

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom, multinomial, norm
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import Table, mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from lema_local.records.types import Grade
from lema_local.review.agreement import cohen_kappa, krippendorff_alpha
from lema_local.review.rubric import GRADES
from lema_local.statistics.comparison import holm, mcnemar_exact, mcnemar_power, wilson_interval
from lema_local.statistics.sample_metrics import pass_at_k
from lema_local.statistics.seeds import compare_over_seeds
from lema_local.statistics.trends import fisher_exact, trend


@pytest.mark.parametrize("n", [1, 2, 3, 10, 72, 300, 1319])
def test_wilson_interval_is_that_of_statsmodels(n: int) -> None:
    for correct in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        assert wilson_interval(correct, n) == pytest.approx(proportion_confint(correct, n, method="wilson"), abs=1e-12)


def test_mcnemar_is_that_of_statsmodels_in_every_small_table() -> None:
    for gained, lost in itertools.product(range(9), repeat=2):
        theirs = mcnemar([[5, gained], [lost, 7]], exact=True).pvalue
        assert mcnemar_exact(gained, lost) == pytest.approx(min(1.0, theirs)), (gained, lost)


@pytest.mark.parametrize(
    "p_values",
    [[], [0.2], [0.04, 0.04], [0.0, 1.0], [0.01, 0.02, 0.03, 0.04, 0.05], [1e-300, 0.049, 0.9], [0.5] * 7],
)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    theirs = multipletests(p_values, method="holm")[1].tolist() if p_values else []
    assert holm(p_values) == pytest.approx(theirs)


def test_a_comparison_without_a_p_is_refused_and_not_called_significant() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        holm([0.01, float("nan"), 0.5])


TWO_RATES = [((0, 5), (5, 5)), ((3, 4), (1, 9)), ((0, 3), (0, 8)), ((10, 10), (0, 10)), ((7, 9), (8, 9))]


@pytest.mark.parametrize("table", TWO_RATES)
def test_fisher_sums_the_tables_that_are_no_more_likely(table: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (k1, n1), (k2, n2) = table
    chances = hypergeom(n1 + n2, k1 + k2, n1).pmf(np.arange(n1 + 1))
    assert fisher_exact(*table) == pytest.approx(chances[chances <= chances[k1] * (1 + 1e-7)].sum())


@pytest.mark.parametrize("successes", [(30, 20, 10), (1, 0, 3), (0, 0, 1), (40, 40, 39)])
def test_the_trend_is_that_of_statsmodels(successes: tuple[int, ...]) -> None:
    totals, scores = (40, 40, 40), (1, 2, 5)
    found = trend(successes, totals, scores)
    table = Table(np.array([successes, np.subtract(totals, successes)]), shift_zeros=False)
    theirs = table.test_ordinal_association(np.arange(2), np.array(scores))
    # there the variance is of tables whose margins are both fixed: n - 1 stands where Cochran and Armitage have n
    z = abs(theirs.zscore) * np.sqrt(sum(totals) / (sum(totals) - 1))
    assert found is not None
    assert found.p_value == pytest.approx(2 * norm.sf(z), rel=1e-6)


@pytest.mark.parametrize(("n", "changed", "difference"), [(6, 1.0, 1.0), (30, 0.4, 0.2), (20, 0.3, 0.0)])
def test_the_power_is_summed_over_every_pair_of_gains_and_losses(n: int, changed: float, difference: float) -> None:
    up, down = (changed + difference) / 2, (changed - difference) / 2
    gained, lost = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    whole = gained + lost <= n
    chances = multinomial.pmf(np.stack([gained, lost, n - gained - lost], axis=-1)[whole], n, [up, down, 1 - changed])
    found = [
        mcnemar(([0, g], [k, 0]), exact=True).pvalue < 0.05 for g, k in zip(gained[whole], lost[whole], strict=True)
    ]
    assert mcnemar_power(n, changed, difference) == pytest.approx(float(chances @ np.array(found)), abs=1e-9)


MATRICES = [((10, 2, 0), (1, 5, 3), (0, 2, 7)), ((1, 0, 0), (1, 0, 0), (0, 0, 1)), ((0, 3, 0), (3, 0, 0), (0, 0, 1))]


@pytest.mark.parametrize("matrix", MATRICES)
def test_kappa_is_that_of_statsmodels(matrix: tuple[tuple[int, ...], ...]) -> None:
    assert cohen_kappa(matrix) == pytest.approx(cohens_kappa(matrix).kappa)
    assert cohen_kappa(matrix, weighted=True) == pytest.approx(cohens_kappa(matrix, wt="linear").kappa)


def test_alpha_is_the_published_one_of_several_reviewers_with_gaps() -> None:
    # Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), part C, with its values 4 and 5 left out as gaps
    scale: dict[str, Grade | None] = {"1": "excellent", "2": "good", "3": "poor", "4": None, "5": None, ".": None}
    observers = ("12332141242...", "1233224125.31.", ".33322343.21..", "12332441251...")
    width = max(map(len, observers))
    grades = [[scale[value] for value in observer.ljust(width, ".")] for observer in observers]
    assert krippendorff_alpha(grades) == pytest.approx(ordinal_alpha(grades))


def ordinal_alpha(grades: list[list[Grade | None]]) -> float:
    """By the definition: 1 - observed / expected disagreement over pairable values, ordinal distances."""
    units = [[GRADES.index(g) for g in unit if g is not None] for unit in zip(*grades, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    counts = np.bincount([value for unit in units for value in unit], minlength=len(GRADES))

    def distance(a: int, b: int) -> float:
        low, high = sorted((a, b))
        return float(counts[low : high + 1].sum() - (counts[low] + counts[high]) / 2) ** 2

    observed = sum(distance(a, b) / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2))
    pairs = itertools.product(range(len(GRADES)), repeat=2)
    expected = sum(counts[a] * counts[b] * distance(a, b) for a, b in pairs) / (counts.sum() - 1)
    return 1 - observed / expected


def test_alpha_is_of_two_grades_at_least() -> None:
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([["good", None], [None, "poor"]]) is None
    assert krippendorff_alpha([["good", "good"], ["good", "good"]]) is None
    assert krippendorff_alpha([["good", "poor"], ["good", "poor"]]) == pytest.approx(1)


def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one() -> None:
    for n, correct, k in itertools.product(range(1, 8), range(8), range(1, 8)):
        if correct <= n and k <= n:
            assert pass_at_k(n=n, correct=correct, k=k) == pytest.approx(1 - comb(n - correct, k) / comb(n, k))


def test_mean_squares_over_seeds_and_problems_are_those_of_an_analysis_of_variance() -> None:
    random = np.random.default_rng(8)
    gains = random.integers(-1, 2, (4, 30)) + random.normal(0, 1, (4, 1))
    cells = [(seed, problem, gains[seed, problem]) for seed in range(4) for problem in range(30)]
    table = pd.DataFrame(cells, columns=["seed", "problem", "gain"])
    theirs = anova_lm(ols("gain ~ C(seed) + C(problem)", table).fit())["mean_sq"]
    ours = compare_over_seeds({seed: [0.0] * 30 for seed in range(4)}, dict(enumerate(gains.tolist()))).mean_squares
    assert (ours.seeds, ours.problems, ours.rest) == pytest.approx(tuple(theirs))
