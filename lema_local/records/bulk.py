"""Rows into DuckDB in bulk, by its Appender. Never executemany.

No table has an index. A key stays unique because a file has one writer, and that writer adds a row only where its key
is not there: an anti-join on the 16 bytes of each id, which costs less than keeping an index in the file would.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

# What makes a row of a table the same as another, where it is not the id.
KEYS: dict[str, tuple[str, ...]] = {
    "training_set_example": ("training_set_id", "example_id"),
    "mended": ("record", "id", "field"),
    "batch_call": ("batch_id", "completion_id"),
    "batch_end": ("batch_id",),
    "training_metric": ("run_id", "step"),
}


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        with suppress(duckdb.Error):
            connection.rollback()
        raise


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[list[Any]]) -> None:
    """Add rows to a table; those whose key is there already, or came before in `rows`, stay as they are."""
    staged = stage(connection, table)
    append(connection, staged, rows)
    settle(connection, table, staged)


def stage(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """An empty temporary table with the columns of `table`; returns its name."""
    staged = f"staged_{name(table)}"
    connection.execute(f"create or replace temp table {staged} as from {name(table)} limit 0")
    return staged


def settle(connection: duckdb.DuckDBPyConnection, table: str, staged: str) -> None:
    """Move the staged rows whose key is new into the table: of one key the first."""
    key = ", ".join(KEYS.get(table, ("id",)))
    connection.execute(f"""
        insert into {name(table)}
        select {staged}.*
        from {staged}
        semi join (select min(rowid) as first from {staged} group by {key}) as firsts on {staged}.rowid = firsts.first
        anti join (select {key} from {name(table)} semi join {staged} using ({key})) as present using ({key})
    """)
    connection.execute(f"drop table {staged}")


def append(connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[list[Any]]) -> None:
    """Load rows, values in the order of the columns."""
    with connection.appender(name(table)) as appender:
        for row in rows:
            appender.append_row(*row)


def export(connection: duckdb.DuckDBPyConnection, table: str, rows: list[list[Any]], file: Path) -> None:
    """Write rows of a table's columns to a Parquet file."""
    connection.execute(f"create or replace temp table exported as from {name(table)} limit 0")
    append(connection, "exported", rows)
    connection.execute("copy (from exported) to $file (format parquet)", {"file": str(file)})


def replace(connection: duckdb.DuckDBPyConnection, table: str, files: str) -> tuple[int, int, int, int]:
    """Make a table of graded rows what Parquet files hold, and write only what differs.

    Returns how many rows it has then, and of those that were there: how many became correct (a correction: are now
    kept), how many became wrong (no longer kept), and in how many anything changed.
    """
    old = name(table)
    is_correction = table == "correction"  # whose `resolved` is set later, and tells of no change here
    columns = "* exclude (resolved)" if is_correction else "*"
    good = "rejected_because is null" if is_correction else "is_correct"
    counts = connection.execute(
        f"with new as (select {columns}, {good} as is_good from read_parquet($files)), "
        f"old as (select {columns}, {good} as is_good from {old}) "
        f"select count(*), count(*) filter (new.is_good and not old.is_good), "
        f"count(*) filter (old.is_good and not new.is_good), "
        f"count(*) filter (old.id is not null and old is distinct from new) "
        f"from new left join old on new.id = old.id",
        {"files": files},
    ).fetchone()
    connection.execute(
        f"create or replace temp table changed as "
        f"select new.* from read_parquet($files) as new left join {old} as old using (id) "
        f"where old is distinct from new",
        {"files": files},
    )
    connection.execute(f"delete from {old} where id not in (select id from read_parquet($files))", {"files": files})
    connection.execute(f"delete from {old} where id in (select id from changed)")
    connection.execute(f"insert into {old} by name from changed")
    connection.execute("drop table changed")
    return counts or (0, 0, 0, 0)


def name(table: str) -> str:
    """A table name that is safe in SQL text; ours are all plain words."""
    if not table.replace("_", "").isalnum():
        raise ValueError(f"not a table name: {table!r}")
    return table
