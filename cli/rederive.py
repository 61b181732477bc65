"""lema rederive: parse and grade everything anew."""

from pathlib import Path

import click

from .options import db_option, notice, require_database
from .output import echo


@click.command("rederive")
@db_option
def command(db: Path) -> None:
    """Grade and parse everything anew, with no LLM call, and say what flipped.

    \b
    lema rederive --db lema.duckdb
    """
    from lema_local.records.store import Writer
    from lema_local.stages.derive import rederive

    require_database(db)
    with Writer(db, on_notice=notice) as store:
        flips = rederive(store)
    for flip in flips:
        now, no_longer = (
            ("are now kept", "no longer") if flip.table == "correction" else ("became correct", "became wrong")
        )
        echo(f"{flip.table}: {flip.rows} rows, {flip.became_correct} {now}, {flip.became_wrong} {no_longer}")
    echo(f"{', '.join(f'{flip.changed} {flip.table}s' for flip in flips)} changed")
