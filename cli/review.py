"""lema review: grade corrections on a local page; their counts and agreement; a model as judge."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import click

from lema_local.review.serve import PORT
from lema_local.settings.assignments import Assignment

from .options import call_options, db_option, notice, refuse_options_before, require_database, set_option
from .output import echo, echo_json
from .review_tables import summary_tables
from .tables import format_rows


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
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
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
        refuse_options_before(context)
        return
    from lema_local.records.shared_journal import shared_path
    from lema_local.records.store import Store
    from lema_local.review.rubric import name_fault
    from lema_local.review.sampling import Wish
    from lema_local.review.serve import serve

    fault = name_fault(reviewer) if reviewer is not None else None
    if fault is not None:
        raise click.UsageError(fault)
    require_database(db)

    def ready(address: str, drawn: int) -> None:
        notice(f"{drawn} corrections drawn. Open this address; Ctrl-C ends it.")
        echo(address)

    if serve(Store(db), Wish(**wish), reviewer=reviewer, port=port, on_ready=ready, on_notice=notice):
        notice("Every grade is in the database. Counts and agreement: lema review summary")
    else:
        notice(
            f"Another process has {db}: grades wait on disk, in {shared_path(db)}. The next run that writes the "
            "database takes them in, and so does: lema review summary"
        )


@command.command("summary")
@db_option
@click.option("--json", "as_json", is_flag=True, help="All of it, with intervals and matrices.")
def summary(db: Path, as_json: bool) -> None:
    """Count grades by corrector, as excellent / good / poor, and say how far reviewers and judges agree.

    \b
    lema review summary
    lema review summary --json
    """
    from lema_local.records.store import Store
    from lema_local.review.desk import settle
    from lema_local.review.summary import summarise

    require_database(db)
    store = Store(db, own_views=True)
    settle(store, on_notice=notice)
    found = summarise(store)
    if as_json:
        echo_json(found.as_dict())
        return
    if not found.tallies:
        notice(f"Nobody has graded a correction of {db} yet: lema review")
    for text in summary_tables(found):
        echo(text)


@command.command("judge")
@click.option("--profile", default="laptop", show_default=True, help="A profile's name, or a TOML file.")
@set_option
@db_option
@sample_options
@click.option("--judge-url", help="Base URL of the judge, e.g. https://api.openai.com/v1.")
@click.option("--judge-model", help="The judge's model name there.")
@click.option("--judge-key-env", help="The environment variable that holds its API key.")
@click.option("--max-tokens", default=512, show_default=True, type=click.IntRange(16), help="Of a reply.")
@click.option("--dry-run", is_flag=True, help="Print calls, tokens and cost of what is pending, and stop.")
@call_options
def judge(
    profile: str, db: Path, judge_url: str | None, judge_model: str | None, judge_key_env: str | None,
    max_tokens: int, dry_run: bool, budget: float | None, offline: bool, assignments: tuple[Assignment, ...],
    **wish: Any,
) -> None:  # fmt: skip
    """Let a model grade a sample by the same rubric. With the same options it is the sample that people get.

    \b
    lema review judge --judge-url https://api.openai.com/v1 --judge-model gpt-4o --judge-key-env OPENAI_API_KEY
    lema review judge --sample 50 --dry-run
    """
    from lema_local.calls.pacing import Budget
    from lema_local.records.store import Store, Writer
    from lema_local.review.sampling import Wish
    from lema_local.settings.profiles import Overrides, load_profile
    from lema_local.stages import judge as stage
    from lema_local.stages.run import Experiment, Run

    overrides = Overrides(
        assignments=assignments, judge_url=judge_url, judge_model=judge_model, judge_key_env=judge_key_env
    )
    loaded = load_profile(profile, overrides)
    stage.refuse_without_judge(loaded)
    require_database(db)
    if dry_run:
        experiment = Experiment(loaded, Store(db), notice)
        row = dataclasses.asdict(stage.estimate_judging(experiment, Wish(**wish), max_tokens=max_tokens))
        echo(format_rows(list(row), [list(row.values())]))
        return
    with Writer(db, on_notice=notice) as store:
        run = Run(loaded, store, notice, budget=Budget(budget) if budget else None, offline=offline)
        done = stage.judge(run, Wish(**wish), max_tokens=max_tokens)
    echo(f"{done.judge}: {done.graded} of {done.wanted} corrections graded, {done.new} replies new")
    if done.graded < done.wanted:
        notice(f"{done.wanted - done.graded} have no grade: the call failed, or no grade can be read in the reply.")
