"""lema data: problems, sampling, correction and building, one after the other."""

from pathlib import Path
from typing import Any

import click

from .options import notice, open_run, run_options


@click.command("data")
@run_options
def command(profile: str, db: Path, **overrides: Any) -> None:
    """Sample rationales, have the mistakes corrected, build the training sets.

    What is in the database is never bought again: interrupt it, and the same command goes on.

    \b
    lema data --profile laptop
    lema data --corrector-url https://api.openai.com/v1 --corrector-model gpt-4o --corrector-key-env OPENAI_API_KEY
    """
    from lema_local.serving import check_endpoints
    from lema_local.stages.build import build
    from lema_local.stages.correct import correct
    from lema_local.stages.sample import sample

    with open_run(db, profile, overrides) as run:
        check_endpoints(run.profile)
        train, test = len(run.problems.train), len(run.problems.test)
        notice(f"{train} train and {test} test problems of {run.profile.data.dataset}")
        unsolved = sum(problem.solution is None for problem in run.problems.train)
        if unsolved:
            notice(f"{unsolved} train problems have no solution: no gold CoT for them, and nothing for an oracle.")
        sampled, corrected = sample(run), correct(run)
        notice(f"{sampled.done} rationales and {corrected.done} corrections are new.")
        for built in build(run):
            s = built.training_set
            click.echo(f"{s.arm}: {s.cot_examples} CoT + {s.correction_examples} corrections  training set {s.id}")
