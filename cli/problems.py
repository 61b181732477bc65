"""lema problems: load, check and count the problems of a profile."""

from pathlib import Path
from typing import Any

import click

from .options import open_run, run_options


@click.command("problems")
@run_options
def command(profile: str, db: Path, **overrides: Any) -> None:
    """Load or generate the problems of a profile, report bad rows with file and line, and count the rest.

    \b
    lema problems --dataset gsm8k --data-path ~/gsm8k
    """
    with open_run(db, profile, overrides) as run:
        for split, problems in (("train", run.problems.train), ("test", run.problems.test)):
            solved = sum(problem.solution is not None for problem in problems)
            kinds = ", ".join(sorted({problem.kind for problem in problems}))
            click.echo(
                f"{run.profile.data.dataset} {split}: {len(problems)} problems ({kinds}), {solved} with a solution"
            )
