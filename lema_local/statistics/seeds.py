"""Several training seeds: their spread, and a comparison of two arms over seeds and problems. Pure, by scipy.

    spread([0.21, 0.26, 0.19])                    # Spread(n=3, mean=0.22, sd=0.036, least=0.19, most=0.26)
    compare_over_seeds({1: a1, 2: a2}, {1: b1, 2: b2})       # SeedComparison(seeds=(1, 2), n=80, difference=0.03, ...)

Seeds and problems are crossed: every seed answers the same problems. Both are random effects, since another run would
draw both anew. A table of gains, one row a seed and one column a problem, has three mean squares; from them come the
variance of the mean gain and its degrees of freedom (Satterthwaite's; as Hillis, Statistics in Medicine 26 (2007)
596-619, does it for readers and cases). Two seeds leave one degree of freedom for what a seed does: the interval is as
wide as that makes it, and so may be believed with any number of seeds (docs/evaluation.md has how often it errs).
"""

import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ADVISED = 5  # with fewer, Student's t makes the interval more than twice as wide as ten seeds' is
MOST = 10_000  # seeds that seeds_needed counts up to


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of several seeds."""

    n: int
    mean: float
    sd: float | None  # of a sample (n - 1); None for one seed
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """Of gains by seed and problem: what seeds, problems and neither of them explain. 0 where there is one seed or one
    problem, which explains nothing."""

    seeds: float
    problems: float
    rest: float


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """Two arms over the seeds that both have and the same problems, b minus a. Differences are shares."""

    seeds: tuple[int, ...]
    n: int
    difference: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    mean_squares: MeanSquares


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and range. Raises ValueError without any value."""
    if not values:
        raise ValueError("a spread needs a value")
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(len(values), statistics.fmean(values), sd, min(values), max(values))


def compare_over_seeds(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]]) -> SeedComparison:
    """Compare two arms; a[s][p] and b[s][p]: whether seed s solves problem p, or in which share of its checkpoints.

    The interval (95%) is the mean gain and, to both sides, Student's t times its standard error. It ends at -1 and 1.

    Raises ValueError without a common seed, or for lists of several lengths.
    """
    import numpy as np
    from scipy.stats import t

    common = sorted(a.keys() & b.keys())
    lengths = {len(side[s]) for side in (a, b) for s in common}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError("a comparison over seeds needs seeds that both arms have, on the same problems")
    gains = np.array([np.subtract(b[s], a[s], dtype=float) for s in common])
    found, (seeds, problems) = _mean_squares(gains), gains.shape
    of_seeds, of_problems = _variances(found, seeds, problems)
    mean = float(gains.mean())
    variance, freedom = _of_the_mean(of_seeds, of_problems, seeds, problems)
    half = float(t.ppf(0.975, freedom)) * variance**0.5 if freedom > 0 else 2.0
    return SeedComparison(
        seeds=tuple(common),
        n=problems,
        difference=mean,
        low=max(-1.0, mean - half),
        high=min(1.0, mean + half),
        by_seed=tuple(map(float, gains.mean(axis=1))),
        mean_squares=found,
    )


def seeds_needed(compared: SeedComparison, difference: float) -> int | None:
    """How many seeds would show a true `difference` (a share) 4 times in 5, were they and the problems to vary as those
    of `compared` do: the least number, from two on, whose t of 95% and of 80% times its standard error are no more.

    None: MOST seeds would not, with so few problems. From a few seeds this is a rough figure. Raises ValueError for
    fewer than two seeds or problems.
    """
    from scipy.stats import t

    seeds, problems = len(compared.seeds), compared.n
    if seeds < 2 or problems < 2:
        raise ValueError("how much seeds and problems vary needs two of each")
    of_seeds, of_problems = _variances(compared.mean_squares, seeds, problems)

    def shows(count: int) -> bool:
        variance, freedom = _of_the_mean(of_seeds, of_problems, count, problems)
        return bool((t.ppf(0.975, freedom) + t.ppf(0.8, freedom)) * variance**0.5 <= difference)

    counts = range(2, MOST + 1)
    place = bisect_left(counts, True, key=shows)
    return counts[place] if place < len(counts) else None


def _mean_squares(gains: Any) -> MeanSquares:
    """Of an array of gains, (seeds, problems): a two-way table with one value a cell."""
    seeds, problems = gains.shape
    of_seeds, of_problems = gains.mean(axis=1, keepdims=True), gains.mean(axis=0, keepdims=True)
    residuals = gains - of_seeds - of_problems + gains.mean()
    return MeanSquares(
        seeds=problems * float(of_seeds.var(ddof=1)) if seeds > 1 else 0.0,
        problems=seeds * float(of_problems.var(ddof=1)) if problems > 1 else 0.0,
        rest=float((residuals**2).sum()) / ((seeds - 1) * (problems - 1)) if seeds > 1 and problems > 1 else 0.0,
    )


def _variances(found: MeanSquares, seeds: int, problems: int) -> tuple[float, float]:
    """The variance of one seed's mean gain, and of one problem's own gain: what the mean squares estimate. Seeds vary
    by no less than the rest makes them, and problems by no less than nothing."""
    return max(found.seeds, found.rest) / problems, max(found.problems - found.rest, 0.0) / seeds


def _of_the_mean(of_seeds: float, of_problems: float, seeds: int, problems: int) -> tuple[float, float]:
    """The variance of the mean gain over so many seeds and problems, and its degrees of freedom.

    Where hardly an answer changes, all of that is near 0 and would promise that none ever does: the variance is at
    least that of one changed answer among n + 2 (in the manner of Agresti and Min, Statistics in Medicine 24 (2005)
    729-740, who add half an answer to each cell).
    """
    by_seeds, by_problems = of_seeds / seeds, of_problems / problems
    variance, least = by_seeds + by_problems, 1 / (problems * (problems + 2))
    if variance <= least:
        return least, problems - 1
    unsure = (by_seeds**2 / (seeds - 1) if seeds > 1 else 0) + (by_problems**2 / (problems - 1) if problems > 1 else 0)
    return variance, variance**2 / unsure
