"""Several samples of one problem: pass@k, majority@k, and how often a repeated greedy answer changes. Pure.

pass_at_k(n=4, correct=1, k=2)                                   # 0.5
majority_at_k([("18", True), ("17", False), ("18", True)], 3)    # 1.0
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod

RESAMPLES = 10_000
Answer = tuple[str | None, bool]  # as extracted, and whether it is right


@dataclass(frozen=True, slots=True)
class MeanOverProblems:
    """A share for each problem, averaged, with a percentile bootstrap over problems, 95%."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Repeats:
    """The same greedy calls made several times."""

    problems: int
    repeats: int
    changed: int  # problems whose answer was not the same each time
    flipped: int  # problems that were right at one time and wrong at another
    least: float  # pass@1 of the worst repeat
    most: float  # and of the best


def pass_at_k(*, n: int, correct: int, k: int) -> float:
    """The chance that one of k samples is right, from n samples of which `correct` are: 1 - C(n-c, k) / C(n, k).

    The unbiased estimator of Chen et al., arXiv 2107.03374, as a product, so that no large number is formed. Raises
    ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs {k} samples or more, not {n}")
    if n - correct < k:
        return 1.0
    return 1.0 - prod(1.0 - k / i for i in range(n - correct + 1, n + 1))


def majority_at_k(answers: Sequence[Answer], k: int) -> float:
    """The chance that the most frequent answer of k samples is right (self-consistency; Wang et al., arXiv 2203.11171):
    the mean over the n // k groups of k samples in the order given.

    Right answers are one answer, however they are written; no answer has no vote; of equally frequent ones each wins
    with the same chance. Raises ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= len(answers):
        raise ValueError(f"majority@{k} needs {k} samples or more, not {len(answers)}")
    groups = [answers[first : first + k] for first in range(0, len(answers) - k + 1, k)]
    return sum(map(_majority_is_right, groups)) / len(groups)


def mean_over_problems(values: Sequence[float], *, seed: int = 1) -> MeanOverProblems:
    """The mean of a share for each problem and its interval. Raises ValueError without problems."""
    import numpy as np

    if not values:
        raise ValueError("a mean over problems needs one problem or more")
    each, random = np.array(values), np.random.default_rng(seed)
    levels, counts = np.unique(each, return_counts=True)  # few: a resample is a multinomial draw of them
    draws = random.multinomial(len(each), counts / len(each), size=RESAMPLES) @ levels / len(each)
    low, high = np.quantile(draws, [0.025, 0.975])
    return MeanOverProblems(float(each.mean()), float(low), float(high))


def compare_repeats(problems: Sequence[Sequence[Answer]]) -> Repeats:
    """How the answers to the same calls differ; problems[p][r] is problem p's answer at repeat r.

    Raises ValueError without problems, or unless each has the same number of repeats, two or more.
    """
    counts = {len(answers) for answers in problems}
    if len(counts) != 1 or min(counts) < 2:
        raise ValueError("repeats are compared over problems that were all asked equally often, twice or more")
    (repeats,) = counts
    shares = [sum(answers[r][1] for answers in problems) / len(problems) for r in range(repeats)]
    return Repeats(
        problems=len(problems),
        repeats=repeats,
        changed=sum(len({_vote(answer) for answer in answers}) > 1 for answers in problems),
        flipped=sum(len({is_correct for _, is_correct in answers}) > 1 for answers in problems),
        least=min(shares),
        most=max(shares),
    )


def _vote(answer: Answer) -> Hashable:
    text, is_correct = answer
    return True if is_correct else text


def _majority_is_right(answers: Sequence[Answer]) -> float:
    votes = Counter(vote for answer in answers if (vote := _vote(answer)) is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [vote for vote, count in votes.items() if count == most]
    return (True in winners) / len(winners)
