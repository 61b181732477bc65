"""How far reviewers agree: two by the matrix of their grades and Cohen's kappa, several by Krippendorff's alpha. Pure.

compare(["excellent", "good", "poor"], ["excellent", "excellent", "poor"])
# Agreement(n=3, agreed=2, kappa=0.5, weighted_kappa=0.727, ..., matrix=((1, 0, 0), (1, 0, 0), (0, 0, 1)))
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lema_local.records.types import Grade
from lema_local.review.rubric import GRADES
from lema_local.statistics.comparison import CONFIDENCE

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two reviewers on the corrections that both graded."""

    n: int
    agreed: int
    kappa: float | None  # None: chance alone agrees always (both gave one and the same grade)
    low: float | None  # 95% interval of kappa: percentile bootstrap over problems
    high: float | None
    weighted_kappa: float | None  # linear weights: excellent and poor are twice as far apart as neighbours
    matrix: tuple[tuple[int, ...], ...]  # rows: the one's grades, columns: the other's, in the order of GRADES


def compare(
    one: Sequence[Grade], other: Sequence[Grade], *, problems: Sequence[str] | None = None, seed: int = 1
) -> Agreement:
    """The agreement of two lists of grades, one[i] and other[i] of one correction. ValueError: of two lengths.

    problems[i] is whose correction it is: those of one problem are alike, and are drawn together for the interval.
    None: each has a problem of its own.
    """
    import numpy as np

    of_problem: defaultdict[int | str, Any] = defaultdict(lambda: np.zeros((len(GRADES), len(GRADES)), dtype=int))
    of_each: Sequence[int | str] = range(len(one)) if problems is None else problems
    for a, b, problem in zip(one, other, of_each, strict=True):
        of_problem[problem][GRADES.index(a), GRADES.index(b)] += 1
    matrices = np.array(list(of_problem.values())).reshape(-1, len(GRADES), len(GRADES))
    matrix = matrices.sum(axis=0)
    kappa = cohen_kappa(matrix)
    low = high = None
    if kappa is not None:
        # a resample of problems is a multinomial draw of their kinds; one that chance cannot split has no kappa
        kinds, counts = np.unique(matrices, axis=0, return_counts=True)
        draws = np.random.default_rng(seed).multinomial(len(matrices), counts / len(matrices), size=RESAMPLES)
        kappas = _kappas(np.tensordot(draws, kinds, axes=1))
        low, high = map(float, np.nanquantile(kappas, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    return Agreement(
        n=int(matrix.sum()),
        agreed=int(matrix.trace()),
        kappa=kappa,
        low=low,
        high=high,
        weighted_kappa=cohen_kappa(matrix, weighted=True),
        matrix=tuple(tuple(int(count) for count in row) for row in matrix),
    )


def cohen_kappa(matrix: Any, *, weighted: bool = False) -> float | None:
    """Cohen's kappa of a square matrix of counts (Cohen 1960; with linear weights, Cohen 1968).

    1 - observed disagreement / disagreement by chance. None where chance cannot disagree, or nothing was counted.
    """
    import numpy as np

    kappa = float(_kappas(np.asarray([matrix], dtype=float), weighted=weighted)[0])
    return None if np.isnan(kappa) else kappa


def krippendorff_alpha(grades: Sequence[Sequence[Grade | None]]) -> float | None:
    """Krippendorff's alpha, ordinal, of any number of reviewers: grades[reviewer][correction], None where ungraded.

    Content Analysis (4th edition, 2019), chapter 12, by the package krippendorff. None where no correction has two
    grades, or all grades are one: chance cannot disagree then.
    """
    import krippendorff  # type: ignore[import-untyped]
    import numpy as np

    ranks = np.array([[np.nan if g is None else GRADES.index(g) for g in of_one] for of_one in grades], dtype=float)
    paired = ranks[:, (~np.isnan(ranks)).sum(axis=0) > 1] if ranks.size else ranks
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        return None
    return float(krippendorff.alpha(paired, level_of_measurement="ordinal", value_domain=list(range(len(GRADES)))))


def _kappas(matrices: Any, *, weighted: bool = False) -> Any:
    """Kappa of each matrix of a stack; nan for None."""
    import numpy as np

    size = matrices.shape[-1]
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    distance = distance if weighted else (distance > 0).astype(int)
    totals = matrices.sum(axis=(1, 2))
    by_chance = matrices.sum(axis=2)[:, :, None] * matrices.sum(axis=1)[:, None, :]
    observed, expected = (matrices * distance).sum(axis=(1, 2)) * totals, (by_chance * distance).sum(axis=(1, 2))
    return 1 - np.divide(observed, expected, out=np.full(len(matrices), np.nan), where=expected > 0)
