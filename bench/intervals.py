"""How often 95% intervals of a rate over several samples of a problem hold the true rate: those of the views, by
`effective_n`, beside Wilson's over all samples as if each were of a problem of its own. Simulated.

    python bench/intervals.py --problems 60 --samples 4

In each world the problems' chances are drawn from a beta distribution with the true rate as its mean, which makes two
samples of one problem correlate by 1 / (a + b + 1).
"""

import argparse
from pathlib import Path

import duckdb
import numpy as np
import pyarrow
from tabulate import tabulate

_VIEWS = Path(__file__).parents[1] / "db" / "views" / "1_mistakes.sql"
_HELD = """
with sampled as (
    select *, count(*) over of_one as m, count(*) filter (hit) over of_one as y
    from samples
    window of_one as (partition by world, problem)
),
counted as (
    select
        world, count(*) as n, count(*) filter (hit) / n as rate, effective_n(true, hit, problem, m, y) as n_eff
    from sampled
    group by world
)
select
    avg((wilson_low(rate * n, n) <= $true and $true <= wilson_high(rate * n, n))::int),
    avg((wilson_low(rate * n_eff, n_eff) <= $true and $true <= wilson_high(rate * n_eff, n_eff))::int)
from counted
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--samples", type=int, default=4, help="of each problem")
    parser.add_argument("--worlds", type=int, default=2000)
    options = parser.parse_args()
    found = [
        (rate, correlation, *held(rate, correlation, options))
        for rate in (0.1, 0.35, 0.9)
        for correlation in (0.0, 0.3, 0.5, 0.7)
    ]
    headers = ("true rate", "correlation", "samples as problems", "effective_n")
    print(f"{options.worlds} worlds of {options.problems} problems, {options.samples} samples each")
    print(tabulate(found, headers, floatfmt=("g", "g", ".1%", ".1%")))


def held(rate: float, correlation: float, options: argparse.Namespace) -> tuple[float, float]:
    """The shares of worlds whose interval holds the true rate."""
    generator, shape = np.random.default_rng(1), (options.worlds, options.problems)
    spread = 1 / correlation - 1 if correlation else np.inf
    chances = generator.beta(rate * spread, (1 - rate) * spread, shape) if correlation else np.full(shape, rate)
    hits = generator.random((*shape, options.samples)) < chances[..., None]
    world, problem, _ = np.indices(hits.shape)
    columns = {"world": world.ravel(), "problem": problem.ravel(), "hit": hits.ravel()}
    with duckdb.connect() as connection:
        connection.execute(_VIEWS.read_text(encoding="utf-8").partition("-- mistake:")[0])
        connection.register("samples", pyarrow.table(columns))
        plain, effective = connection.execute(_HELD, {"true": rate}).fetchall()[0]
    return plain, effective


if __name__ == "__main__":
    main()
