"""lema db: compact, back up and check a database file."""

from pathlib import Path

import click

from .options import db_option, notice, require_database
from .output import echo


@click.group("db", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look after a database file.

    \b
    lema db check
    lema db backup --output lema-2026-11-24.duckdb
    lema db compact
    """


@command.command("compact")
@db_option
def compact_command(db: Path) -> None:
    """Write the file anew without what deleted rows left behind; a file of an older lema is brought up to date.

    \b
    lema db compact --db lema.duckdb
    """
    from lema_local.records.store import Writer

    require_database(db)
    with Writer(db, on_notice=notice) as store:
        before, after = store.compact()
    echo(f"{db}: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB after")


@command.command("backup")
@db_option
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The copy to make.")
def backup_command(db: Path, output: Path) -> None:
    """Copy the database to another file, also while a run writes it.

    \b
    lema db backup --output lema-2026-11-24.duckdb
    """
    from lema_local.records.exports import refuse_own_files
    from lema_local.records.store import Store
    from lema_local.records.upkeep import backup

    store = Store(db)
    refuse_own_files(store, output)
    echo(f"{output}: {backup(store, output) / 1e6:.1f} MB")


@command.command("check")
@db_option
def check_command(db: Path) -> int:
    """Look for rows without what they stand for, doubled keys, journal left-overs and foreign versions.

    One line for each finding, and exit code 1 where there is any.

    \b
    lema db check --db lema.duckdb
    """
    from lema_local.records.store import Store
    from lema_local.records.upkeep import check

    found = check(Store(db))
    for line in found:
        echo(line)
    if not found:
        notice(f"{db}: nothing wrong.")
    return 1 if found else 0
