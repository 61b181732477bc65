"""Which checkpoint of an arm counts, and how much choosing it on the test split flatters it. Pure.

The paper reports the best three checkpoints by their test accuracy. Beside that stand the checkpoint that a dev split
chose, and the optimism of choosing on the test split:

    optimism([[True, False, True], [True, True, False]])       # rows: checkpoints; columns: problems
    # Optimism(best=0.67, honest=0.45, optimism=0.22)
"""

from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Optimism:
    """What the best of several checkpoints scores where it was chosen, and what it scores on problems that had no say.
    All are shares."""

    best: float  # mean pass@1 of the chosen, on the problems that chose them
    honest: float  # on problems that had no say, by bootstrap
    optimism: float  # best - honest


def best(values: Sequence[float], count: int = 1) -> list[int]:
    """The places of the `count` highest values, highest first; of equals, the earliest."""
    return sorted(range(len(values)), key=lambda k: (-values[k], k))[:count]


def optimism(solved: Sequence[Sequence[bool]], *, count: int = 1, seed: int = 1) -> Optimism:
    """How much choosing the best `count` checkpoints flatters them; solved[c][p]: checkpoint c solves problem p.

    In each of 2,000 bootstrap samples of the problems, the best are chosen on the sample and scored on the problems
    outside it; the mean of those scores is `honest`. This is the bootstrap of Tsamardinos, Greasidou and Borboudakis,
    Machine Learning 107 (2018) 1895-1922 (BBC-CV), whose configurations are our checkpoints. Where nothing competed
    the optimism is 0.

    Raises ValueError without checkpoints or problems, or where they did not all get the same problems.
    """
    import numpy as np

    table = np.array([list(row) for row in solved], dtype=float)
    if table.ndim != 2 or not table.size:
        raise ValueError("the optimism of a choice needs checkpoints that all got the same problems")
    checkpoints, problems = table.shape
    means = table.mean(axis=1)
    top = float(means[best(means.tolist(), count)].mean())
    if checkpoints <= count or problems == 1:
        return Optimism(top, top, 0.0)
    drawn = np.random.default_rng(seed).multinomial(problems, [1 / problems] * problems, size=RESAMPLES)
    drawn = drawn[(drawn == 0).any(axis=1)]
    outside = (drawn == 0).astype(float)
    chosen = np.argsort(-(drawn @ table.T), axis=1, kind="stable")[:, :count]  # of equals, the earliest
    scores = outside @ table.T / outside.sum(axis=1, keepdims=True)
    honest = float(np.take_along_axis(scores, chosen, axis=1).mean())
    return Optimism(top, honest, top - honest)
