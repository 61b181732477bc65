"""lema review: grade corrections on a local page; their counts and agreement; a model as judge."""

import re
from pathlib import Path
from typing import Any

import click

from .options import db_option, notice, require_database


def _sizes(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> Any:
    """50 is for every corrector, gpt-3.5-turbo=20 for one."""
    from lema_local.review.sampling import SampleSize

    each, named = SampleSize().each, {}
    for text in value:
        name, _, number = text.rpartition("=")
        if not re.fullmatch(r"[1-9]\d{0,6}", number):
            raise click.BadParameter(f"{text!r}: write a number, 1 or more, or CORRECTOR=NUMBER.")
        if name:
            named[name] = int(number)
        else:
            each = int(number)
    return SampleSize(each, named)


_SAMPLE = (
    click.option(
        "--sample",
        "size",
        multiple=True,
        callback=_sizes,
        metavar="N|CORRECTOR=N",
        help="How many corrections of each corrector, or of one; may be given several times.  [default: 50]",
    ),
    click.option("--seed", default=1, show_default=True, help="Which sample is drawn."),
    click.option("--corrector", "correctors", multiple=True, help="Only this corrector's."),
    click.option("--reasoner", "reasoners", multiple=True, help="Only corrections of this reasoner's mistakes."),
    click.option("--dataset", "datasets", multiple=True, help="Only of this data set."),
    click.option("--rejected", "with_rejected", is_flag=True, help="Rejected corrections too, not only those kept."),
)


def sample_options(function: Any) -> Any:
    """What says which corrections are drawn."""
    for option in reversed(_SAMPLE):
        function = option(function)
    return function


@click.group("review", invoke_without_command=True)
@db_option
@sample_options
@click.option("--reviewer", metavar="NAME", help="Who grades; without it the page asks.")
@click.option("--port", default=8650, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.pass_context
def command(context: click.Context, /, db: Path, reviewer: str | None, port: int, **wish: Any) -> None:
    """Grade corrections on a page of this machine: excellent, good or poor, by the paper's rubric.

    The sample is drawn by seed over reasoner, corrector and level, and does not show who wrote what. Grades are safe as
    they are given; run it while `lema data` works, stop it and go on any time.

    \b
    lema review --reviewer ada
    lema review --sample 50 --sample gpt-3.5-turbo=20 --seed 2
    lema review summary
    """
    if context.invoked_subcommand is not None:
        return
    from lema_local.review.rubric import name_fault
    from lema_local.review.sampling import Wish
    from lema_local.review.serve import serve
    from lema_local.store import Store

    fault = name_fault(reviewer) if reviewer is not None else None
    if fault is not None:
        raise click.UsageError(fault)
    require_database(db)

    def ready(address: str, drawn: int) -> None:
        notice(f"{drawn} corrections drawn. Open this address; Ctrl-C ends it.")
        click.echo(address)

    serve(Store(db), Wish(**wish), reviewer=reviewer, port=port, on_ready=ready)
    notice("Every grade is in the database. Counts and agreement: lema review summary")
