"""Rates over ordered groups, two rates, and the difference of two effects; by scipy. Pure.

trend([30, 20, 10], [40, 40, 40], [1, 2, 3])     # Trend(slope=-0.25, p_value=7.7e-06)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

Interval = tuple[float, float, float]  # estimate, low, high


@dataclass(frozen=True, slots=True)
class Trend:
    """How a rate moves with a score: its slope per unit, and the two-sided p of no trend."""

    slope: float
    p_value: float


def trend(successes: Sequence[float], totals: Sequence[float], scores: Sequence[float]) -> Trend | None:
    """The Cochran-Armitage test for a linear trend in proportions (Armitage, Biometrics 11 (1955) 375-386).

    Successes and totals are counts, or effective ones. None where nothing can be told: fewer than two groups with
    anything in them, or all alike (rates all 0 or all 1).
    """
    from scipy.stats import norm

    groups = [(k, n, x) for k, n, x in zip(successes, totals, scores, strict=True) if n]
    total, right = sum(n for _, n, _ in groups), sum(k for k, _, _ in groups)
    if len({x for _, _, x in groups}) < 2 or not 0 < right < total:
        return None
    mean_rate, mean_score = right / total, sum(n * x for _, n, x in groups) / total
    spread = sum(n * (x - mean_score) ** 2 for _, n, x in groups)
    slope = sum((k - n * mean_rate) * (x - mean_score) for k, n, x in groups) / spread
    z = slope / sqrt(mean_rate * (1 - mean_rate) / spread)
    return Trend(slope, float(2 * norm.sf(abs(z))))


def fisher_exact(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Two-sided exact p that two rates, each (successes, total), are one; effective counts are rounded."""
    import numpy as np
    from scipy.stats import fisher_exact as test

    (k1, n1), (k2, n2) = ((round(k), round(n)) for k, n in (one, other))
    return float(test(np.array([[k1, n1 - k1], [k2, n2 - k2]])).pvalue)


def difference_of_effects(one: Interval, other: Interval) -> Interval:
    """`other` minus `one`, of two estimates made apart, with its interval: the distances to their bounds squared and
    added (MOVER: Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702)."""
    (a, a_low, a_high), (b, b_low, b_high) = one, other
    below = sqrt((b - b_low) ** 2 + (a_high - a) ** 2)
    above = sqrt((b_high - b) ** 2 + (a - a_low) ** 2)
    return b - a, b - a - below, b - a + above
