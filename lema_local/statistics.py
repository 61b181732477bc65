"""The statistics of a comparison, by scipy: intervals for pass@1, exact McNemar for pairs, bootstrap over problems.
Pure.

paired_comparison([True, False, False], [True, True, False])
# PairedComparison(n=3, gained=1, lost=0, difference=0.33, low=0.0, high=1.0, p_value=1.0)
"""

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two models on the same problems. Differences are shares (0.05 = 5 points), b minus a."""

    n: int
    gained: int  # a wrong, b right
    lost: int  # a right, b wrong
    difference: float
    low: float
    high: float
    p_value: float


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share, 95%. Wilson 1927; n must be 1 or more."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p: is a change in either direction equally likely? 1.0 where nothing changed."""
    from scipy.stats import binomtest

    return 1.0 if gained + lost == 0 else float(binomtest(gained, gained + lost, 0.5).pvalue)


def paired_comparison(a: Sequence[bool], b: Sequence[bool], *, seed: int = 1) -> PairedComparison:
    """Compare two models problem by problem; a[i] and b[i] belong to one problem. The interval is a percentile
    bootstrap over problems.

    Raises ValueError for lists that are empty or of two lengths.
    """
    import numpy as np

    if len(a) != len(b) or not a:
        raise ValueError("a paired comparison needs the same problems on both sides, and at least one")
    gained = sum(y and not x for x, y in zip(a, b, strict=True))
    lost = sum(x and not y for x, y in zip(a, b, strict=True))
    n = len(a)
    # a resample of problems is a multinomial draw of the three outcomes gained, lost, same
    draws = np.random.default_rng(seed).multinomial(n, [gained / n, lost / n, (n - gained - lost) / n], size=RESAMPLES)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return PairedComparison(
        n=n,
        gained=gained,
        lost=lost,
        difference=(gained - lost) / n,
        low=float(low),
        high=float(high),
        p_value=mcnemar_exact(gained, lost),
    )
