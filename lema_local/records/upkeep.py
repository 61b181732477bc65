"""Upkeep of a database file: copy it, look for what should not be there.

check(Store(Path("lema.duckdb")))
["rationale: 3 rows have no completion. Derive everything anew: lema rederive"]
"""

from pathlib import Path

import duckdb

from lema_local.errors import StoreError
from lema_local.records import access, bulk, damage
from lema_local.records.journal import survey
from lema_local.records.store import Store, stage_sql


def backup(store: Store, target: Path) -> int:
    """A whole copy of the file, also while a run writes it; returns its bytes.

    Records that are only in the journal (the last second of a run) are not in it.
    """
    if target.exists():
        raise StoreError(f"{target} exists already. Name another file.")
    if not store.path.exists():
        raise StoreError(f"No database at {store.path}. Name another with --db.")
    with store.path.open("rb") as source, store.connect():
        wal = store.path.with_name(store.path.name + ".wal")
        if wal.exists():  # of a crash: it belongs to the file
            with wal.open("rb") as rest:
                access.copy_file(rest, target.with_name(target.name + ".wal"))
        access.copy_file(source, target)
    return target.stat().st_size


def check(store: Store) -> list[str]:
    """What is wrong in a database, a line each that says what to do; every value is read for it. StoreError for a file
    of another version or program."""
    try:
        found = _in_the_file(store)
    except damage.DamagedError as error:
        found = [str(error)]
    return found + _left_over(store)


def _in_the_file(store: Store) -> list[str]:
    found = []
    with store.connect() as connection:
        for table in damage.tables_of(connection):
            damage.read_all(connection, table)
        for name, rows, problem in connection.execute(stage_sql("check")).fetchall():
            found.append(f"{name}: {rows} {'row' if rows == 1 else 'rows'} {problem}")
        for table in _tables(connection):
            key = ", ".join(bulk.KEYS.get(table, ("id",)))
            row = connection.execute(
                f"select count(*) from (select 1 from {bulk.name(table)} group by {key} having count(*) > 1)"
            ).fetchone()
            if row and row[0]:
                found.append(
                    f"{table}: {row[0]} keys are there more than once, which no lema writes. Go back to a backup, or "
                    "delete the doubles in a database shell."
                )
    return found


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The tables that have a key; a user's own tables may have none."""
    rows = connection.execute("""
        select table_name, list(column_name) from duckdb_columns() join duckdb_tables() using (table_name)
        group by table_name order by table_name
    """).fetchall()
    return [table for table, columns in rows if set(bulk.KEYS.get(table, ("id",))) <= set(columns)]


def _left_over(store: Store) -> list[str]:
    path, found = store.path, []
    if store.writer_pid() is None:  # else they belong to the run at work
        for end in (".journal.merging", ".journal", ".reviews.merging", ".reviews"):
            file = path.with_name(path.name + end)
            if file.exists():
                held = survey(file)
                if held.lines:
                    found.append(f"{file}: {held.lines} records wait. The next run, or lema db compact, merges them.")
                found += [f"{file}: line {number} cannot be merged: {why}." for number, why in held.faults.items()]
        found += [f"{file}: left by a crash. Delete it." for file in access.left_over(path)]
    kept = sorted(file for end in ("journal", "reviews") for file in path.parent.glob(f"{path.name}.{end}.unreadable*"))
    return found + [f"{file}: journal lines that could not be merged. Look at them, then delete it." for file in kept]
