"""lema problems: load, check and count the problems of a profile."""

import sys
from pathlib import Path
from typing import Any

import click

from .options import notice, run_options


@click.command("problems")
@run_options
def command(profile: str, db: Path, **overrides: Any) -> None:
    """Read or generate the problems of a profile, report every bad row with file and line, and count the rest.

    \b
    lema problems --dataset gsm8k --data-path ~/gsm8k
    """
    from lema_local.profiles import Overrides, load_profile
    from lema_local.stages.problems import load_problems

    data = load_profile(profile, Overrides(**overrides)).data
    loaded = load_problems(data, notice, bad_rows_shown=sys.maxsize)
    for split, problems in (("train", loaded.train), ("test", loaded.test)):
        solved = sum(problem.solution is not None for problem in problems)
        kinds = ", ".join(sorted({problem.kind for problem in problems}))
        click.echo(f"{data.dataset} {split}: {len(problems)} problems ({kinds}), {solved} with a solution")
