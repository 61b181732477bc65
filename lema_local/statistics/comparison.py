"""The statistics of a comparison, by scipy: intervals for pass@1 and for paired differences, exact McNemar, what a
comparison of this size could have seen, several comparisons at once. Pure.

paired_comparison([True, False, False], [True, True, False])
# PairedComparison(n=3, gained=1, lost=0, difference=0.33, low=-0.23, high=0.75, ..., p_value=1.0)

What is chosen among checkpoints is in selection.py, several seeds in seeds.py, several samples in sample_metrics.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, sqrt

CONFIDENCE = 0.95
RESAMPLES = 10_000
SIGNIFICANT = 0.05
POWER = 0.8


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two models on the same problems. Differences are shares (0.05 = 5 points), b minus a."""

    n: int
    gained: int  # a wrong, b right
    lost: int  # a right, b wrong
    difference: float
    low: float  # Newcombe's interval: not of zero width where no pair changed
    high: float
    bootstrap_low: float  # percentile bootstrap over problems
    bootstrap_high: float
    p_value: float  # exact McNemar, of this comparison alone

    @property
    def detectable(self) -> float | None:
        """The smallest difference that so many problems would have shown with 80% power; None: not even the
        largest."""
        return detectable_difference(self.n, (self.gained + self.lost) / self.n)

    def is_within(self, margin: float) -> bool:
        """Whether the whole interval is within +-margin: the two are level, as far as that margin goes."""
        return -margin <= self.low and self.high <= margin


def wilson_interval(correct: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of a share, 95%. Wilson 1927; n must be 1 or more, and no whole number where it is an
    effective one (scipy's takes whole numbers alone)."""
    from scipy.stats import norm

    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    middle, half = correct / n + z * z / (2 * n), z * sqrt(correct / n * (1 - correct / n) / n + (z / (2 * n)) ** 2)
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def newcombe_interval(both: int, gained: int, lost: int, neither: int) -> tuple[float, float]:
    """Interval, 95%, of a difference of two shares over the same problems: those that both solve, only the second
    (gained), only the first (lost), neither.

    Method 10 of Newcombe, Statistics in Medicine 17 (1998) 2635-2650: the Wilson intervals of the two shares, squared
    and added, less what their correlation phi takes away; phi is corrected for continuity where it is positive.
    """
    n = both + gained + lost + neither
    second, first = both + gained, both + lost
    p2, p1 = second / n, first / n
    (l2, u2), (l1, u1) = wilson_interval(second, n), wilson_interval(first, n)
    product, margins = float(both * neither - gained * lost), second * (n - second) * first * (n - first)
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / sqrt(margins) if margins else 0.0
    below = sqrt(max(0.0, (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2))
    above = sqrt(max(0.0, (u2 - p2) ** 2 - 2 * phi * (u2 - p2) * (p1 - l1) + (p1 - l1) ** 2))
    return p2 - p1 - below, p2 - p1 + above


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p: is a change in either direction equally likely? 1.0 where nothing changed."""
    from scipy.stats import binomtest

    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost, 0.5).pvalue)


def paired_comparison(a: Sequence[bool], b: Sequence[bool], *, seed: int = 1) -> PairedComparison:
    """Compare two models problem by problem; a[i] and b[i] belong to one problem.

    Raises ValueError for lists that are empty or of two lengths.
    """
    import numpy as np

    if len(a) != len(b) or not a:
        raise ValueError("a paired comparison needs the same problems on both sides, and at least one")
    gained = sum(y and not x for x, y in zip(a, b, strict=True))
    lost = sum(x and not y for x, y in zip(a, b, strict=True))
    both, n = sum(x and y for x, y in zip(a, b, strict=True)), len(a)
    low, high = newcombe_interval(both, gained, lost, n - both - gained - lost)
    # a resample of problems is a multinomial draw of the three outcomes gained, lost, same
    draws = np.random.default_rng(seed).multinomial(n, [gained / n, lost / n, (n - gained - lost) / n], size=RESAMPLES)
    quantiles = np.quantile((draws[:, 0] - draws[:, 1]) / n, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return PairedComparison(
        n=n,
        gained=gained,
        lost=lost,
        difference=(gained - lost) / n,
        low=low,
        high=high,
        bootstrap_low=float(quantiles[0]),
        bootstrap_high=float(quantiles[1]),
        p_value=mcnemar_exact(gained, lost),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of several comparisons, adjusted so that the chance of any false finding among them stays at 5%.
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.

    Raises ValueError for NaN: a comparison without a p is none of them, and must be left out before they are counted.
    """
    if any(map(isnan, p_values)):
        raise ValueError("a comparison without a p value is none of those that are adjusted: leave it out")
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = highest
    return adjusted


def mcnemar_power(n: int, changed: float, difference: float) -> float:
    """The chance that exact McNemar over n problems finds p < 0.05, where a share `changed` of the problems changes
    and gains less losses are a share `difference` of all.

    Summed over the number of changed problems, which is binomial; given that, the gains are binomial too.
    """
    import numpy as np
    from scipy.stats import binom

    if not changed:
        return 0.0
    gains = min(1.0, (changed + abs(difference)) / (2 * changed))
    counts = np.arange(n + 1)
    weights = binom.pmf(counts, n, changed)
    kept = weights > 1e-12
    counts, weights = counts[kept], weights[kept]
    # the most that the rarer direction may have: the largest c with 2 P(X <= c) < 0.05 at even odds; -1 where none has
    most = binom.ppf(SIGNIFICANT / 2, counts, 0.5)
    most = np.where(2 * binom.cdf(most, counts, 0.5) < SIGNIFICANT, most, most - 1)
    found = binom.cdf(most, counts, gains) + binom.sf(counts - most - 1, counts, gains)
    return float(np.sum(weights * np.where(most >= 0, found, 0.0)))


@lru_cache(maxsize=256)
def detectable_difference(n: int, changed: float) -> float | None:
    """The smallest difference, as a share, that n problems show with 80% power by exact McNemar at p < 0.05, where a
    share `changed` of them changes; for larger differences than that, where all changes go one way.

    None where not even a difference of 100 points would show (n < 6).
    """

    def power(difference: float) -> float:
        return mcnemar_power(n, max(changed, difference), difference)

    if power(1.0) < POWER:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
