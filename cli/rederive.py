"""lema rederive: parse and grade everything anew."""

from pathlib import Path

import click

from .options import db_option, notice, require_database


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
        for flip in rederive(store):
            click.echo(
                f"{flip.table}: {flip.rows} rows, {flip.became_correct} became correct, {flip.became_wrong} "
                f"became wrong"
            )
