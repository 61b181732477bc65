"""Several training seeds: their spread, and a comparison of two arms over seeds and problems. Pure.

    spread([0.21, 0.26, 0.19])                    # Spread(n=3, mean=0.22, sd=0.036, least=0.19, most=0.26)
    compare_over_seeds({1: a1, 2: a2}, {1: b1, 2: b2})       # SeedComparison(seeds=2, n=80, difference=0.03, ...)

Seeds and problems are crossed: every seed answers the same problems. So both are resampled, each by itself (the
pigeonhole bootstrap of Owen, Annals of Applied Statistics 1 (2007) 386-411, which errs to the wide side). Two or three
seeds say little about the next one, whatever the method: the spread stands beside the interval.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isnan, nan

RESAMPLES = 2_000
# With fewer, where the difference varies by 8 points from seed to seed, the interval of equal arms leaves zero out in 9
# to 21% of simulated comparisons (docs/evaluation.md).
ENOUGH = 5
_SHOWN_4_IN_5 = 1.96 + 0.8416  # standard errors: of a 95% interval, and of 80% power


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of several seeds."""

    n: int
    mean: float
    sd: float | None  # of a sample (n - 1); None for one seed
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """Two arms over the seeds that both have and the same problems, b minus a. Differences are shares."""

    seeds: tuple[int, ...]
    n: int
    difference: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    problem_variance: float  # over the problems, of the difference averaged over seeds
    residual_variance: float  # of what neither the seed nor the problem explains; NaN for one seed or one problem

    @property
    def is_enough(self) -> bool:
        """Whether there are as many seeds as the interval takes to keep what it promises."""
        return len(self.seeds) >= ENOUGH


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and range. Raises ValueError without any value."""
    if not values:
        raise ValueError("a spread needs a value")
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(len(values), statistics.fmean(values), sd, min(values), max(values))


def compare_over_seeds(
    a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]], *, seed: int = 1
) -> SeedComparison:
    """Compare two arms; a[s][p] and b[s][p]: whether seed s solves problem p, or in which share of its checkpoints.

    The interval (95%) is a percentile bootstrap that draws seeds and, by themselves, problems; a seed's two arms and a
    problem's answers stay together.

    Raises ValueError without a common seed, or for lists of several lengths.
    """
    import numpy as np

    common = sorted(a.keys() & b.keys())
    lengths = {len(side[s]) for side in (a, b) for s in common}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError("a comparison over seeds needs seeds that both arms have, on the same problems")
    gains = np.array([np.subtract(b[s], a[s], dtype=float) for s in common])
    seeds, problems = gains.shape
    random = np.random.default_rng(seed)
    drawn_seeds = random.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    drawn_problems = random.multinomial(problems, [1 / problems] * problems, size=RESAMPLES)
    sums = (drawn_seeds * (drawn_problems @ gains.T)).sum(axis=1)
    low, high = np.quantile(sums / (seeds * problems), [0.025, 0.975])
    residuals = gains - gains.mean(axis=0) - gains.mean(axis=1, keepdims=True) + gains.mean()
    free = (seeds - 1) * (problems - 1)
    return SeedComparison(
        seeds=tuple(common),
        n=problems,
        difference=float(gains.mean()),
        low=float(low),
        high=float(high),
        by_seed=tuple(map(float, gains.mean(axis=1))),
        problem_variance=float(gains.mean(axis=0).var()),
        residual_variance=float((residuals**2).sum() / free) if free else nan,
    )


def seeds_needed(compared: SeedComparison, difference: float) -> int | None:
    """How many seeds would show a true `difference` (a share) 4 times in 5, were they and the problems to vary as those
    of `compared` do: the interval's half is then 1.96 standard errors, and the difference 2.8 of them.

    None: no number of seeds would, with so few problems. The variance of the pigeonhole bootstrap over s seeds and n
    problems is seeds' / s + problems' / n + 3 residual / (s n), one of the three being in the seeds' own means already.
    From a few seeds this is a rough figure; at least ENOUGH. Raises ValueError for fewer than two seeds or problems.
    """
    seeds, residual = len(compared.by_seed), compared.residual_variance
    if isnan(residual):
        raise ValueError("how much seeds and problems vary needs two of each")
    of_problems = max(0.0, compared.problem_variance - residual / seeds)
    allowed = (difference / _SHOWN_4_IN_5) ** 2 - of_problems / compared.n
    if allowed <= 0:
        return None
    return max(ENOUGH, ceil((statistics.variance(compared.by_seed) + 2 * residual / compared.n) / allowed))
