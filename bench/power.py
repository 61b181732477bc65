"""The power of a comparison over several seeds: which difference so many seeds and problems show, before anyone trains.

    python bench/power.py --seeds 3 --problems 300 --pass-at-1 0.3 --changed 0.2 --training-sd 2

Simulated, because no formula has both: each problem has a pass@1 of its own, drawn from a Beta distribution, so that
two runs of equal quality differ in a share `changed` of the problems; each seed has a difference of its own, normal
around the true one with the standard deviation `training-sd` (points). A difference counts as shown where the 95%
interval of lema_local.statistics.seeds leaves zero out. Beside it stands the chance of that where the true difference
is zero, which should be 5% or less. The yardstick is exact McNemar over one seed. A measurement, not a test.
"""

import argparse

import numpy as np

from lema_local.statistics.comparison import mcnemar_power
from lema_local.statistics.seeds import compare_over_seeds

DIFFERENCES = (0, 2, 3, 4, 5, 6, 8, 10, 12)  # points


def shares(mean: float, changed: float, problems: int, random: np.random.Generator) -> np.ndarray:
    """A pass@1 for each problem, (problems,): Beta with this mean, of which two draws differ with chance `changed`."""
    spread = changed / (2 * mean * (1 - mean) - changed)  # a + b of Beta: 2 E[q (1 - q)] = changed
    return random.beta(mean * spread, (1 - mean) * spread, problems)


def moved(q: np.ndarray, by: float) -> np.ndarray:
    """The problems' pass@1 with a mean that is higher by `by`; each keeps its place from 0 to 1."""
    mean = q.mean()
    return q + by * (1 - q) / (1 - mean) if by > 0 else q * max(0.0, 1 + by / mean)


def power(difference: float, options: argparse.Namespace, random: np.random.Generator) -> tuple[float, float]:
    """The share of worlds in which the interval leaves zero out, and its mean half width in points."""
    shown, width = 0, 0.0
    for _ in range(options.worlds):
        q = shares(options.pass_at_1, options.changed, options.problems, random)
        a, b = {}, {}
        for seed in range(options.seeds):
            own = difference + random.normal(0, options.training_sd / 100)
            a[seed] = (random.random(options.problems) < q).tolist()
            b[seed] = (random.random(options.problems) < moved(q, own)).tolist()
        found = compare_over_seeds(a, b)
        shown += found.low > 0 or (found.high < 0 and difference <= 0)  # below a difference above zero is an error
        width += (found.high - found.low) / 2
    return shown / options.worlds, 100 * width / options.worlds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--pass-at-1", type=float, default=0.3, help="of the arm that is compared with")
    parser.add_argument("--changed", type=float, default=0.2, help="share of problems that two equal runs differ in")
    parser.add_argument("--training-sd", type=float, default=2.0, help="points, of a difference from seed to seed")
    parser.add_argument("--worlds", type=int, default=200)
    options = parser.parse_args()
    if not 0 < options.changed < 2 * options.pass_at_1 * (1 - options.pass_at_1):
        parser.error("two independent answers differ in at most 2 p (1 - p) of the problems: --changed is below that")
    random = np.random.default_rng(1)
    print(f"{options.seeds} seeds x {options.problems} problems, training sd {options.training_sd:g} points")
    print("points    shown by the seeds' interval    half width    McNemar, one seed")
    for points in DIFFERENCES:
        shown, width = power(points / 100, options, random)
        one = mcnemar_power(options.problems, max(options.changed, points / 100), points / 100)
        print(f"{points:<10}{shown:<32.0%}{width:<14.1f}{one:.0%}")


if __name__ == "__main__":
    main()
