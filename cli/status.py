"""lema status: what is in the database, also while a run goes on."""

from pathlib import Path

import click

from .options import db_option
from .output import echo, echo_json


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@db_option
def command(db: Path, as_json: bool) -> None:
    """Count what is in the database, and say who is writing it.

    \b
    lema status --json
    """
    from lema_local.records.store import Store, stage_sql

    store = Store(db)
    counts = store.rows(stage_sql("status"))[0] | {"writer": store.writer_pid()}
    if as_json:
        echo_json(counts, indent=None)
        return
    for name, value in counts.items():
        echo(f"{name:18} {'nobody' if value is None else value}")
