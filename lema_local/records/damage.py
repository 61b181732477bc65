"""What a damaged database file says of itself, and what of it can still be read.

DuckDB keeps a checksum of every block and refuses a block that does not match, so damage is never read as data. A
block of a table's rows costs the queries over that table, one of the catalog the whole file:

    lema.duckdb is damaged (Corrupt database file: computed checksum 14.. does not match ..). It still reads problem,
    completion; not: evaluation. Put a copy of it in its place, as `lema db backup` makes them ...
"""

from pathlib import Path

import duckdb

from lema_local.errors import StoreError
from lema_local.records.engines import open_file
from lema_local.records.quoting import identifier

_SAYS_SO = ("corrupt database", "corrupt wal", "computed checksum")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB met a block that does not match its checksum; what is wrong with a query or a value may speak of
    checksums too."""
    is_of_the_file = not isinstance(error, duckdb.ProgrammingError | duckdb.DataError)
    return is_of_the_file and any(words in str(error).lower() for words in _SAYS_SO)


class DamagedError(StoreError):
    """A block of the database file does not match its checksum."""


def in_one_line(path: Path, error: duckdb.Error) -> StoreError:
    """What went wrong with a database file, and what to do. The file must not be open: of a damaged one every table is
    tried."""
    line = first_line(error)
    if is_damage(error):
        return DamagedError(_damaged(path, line))
    advice = " Make room, then run the same command again." if "No space left" in line else ""
    return StoreError(f"Cannot use {path}: {line}{advice}")


def _damaged(path: Path, line: str) -> str:
    """The one line for a file of which `line` says that it is damaged."""
    whole, broken = whole_and_broken(path)
    if whole or broken:
        reads = f"It still reads {', '.join(whole)} (lema export --table)" + f"; not: {', '.join(broken)}" * bool(
            broken
        )
    else:
        reads = "Nothing of it can be read now"
    copies = [copy.name for copy in sorted(path.parent.glob(f"{path.name}.version-*.bak*"))]
    beside = f" (beside it: {', '.join(copies)})" if copies else ""
    ends = (".journal", ".journal.merging", ".reviews", ".reviews.merging")
    waiting = [name for end in ends if path.with_name(name := path.name + end).exists()]
    merges = f"; the next run merges {', '.join(waiting)} into it" if waiting else ""
    return (
        f"{path} is damaged ({line.rstrip('.')}). {reads}. Put a copy in its place, as `lema db backup` makes them"
        f"{beside}{merges}."
    )


def whole_and_broken(path: Path) -> tuple[list[str], list[str]]:
    """The tables of a file that can be read to the end, and those that cannot; none of both where it does not open
    (or is held by another program at this moment)."""
    whole, broken = list[str](), list[str]()
    try:
        opened = open_file(path, write=False)
    except duckdb.Error:
        return [], []
    try:
        for table in tables_of(opened.connection):
            try:
                read_all(opened.connection, table)
                whole.append(table)
            except duckdb.Error:
                broken.append(table)
    except duckdb.Error:
        return [], []
    finally:
        opened.close(keep=False)
    return whole, broken


def tables_of(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The names of the tables, in their order. Nothing that the file calls like one of DuckDB's functions is asked."""
    rows = connection.execute("""
        select table_name from system.main.duckdb_tables() where schema_name = 'main' and not internal
        order by table_name
    """).fetchall()
    return [name for (name,) in rows]


def read_all(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Read every value of a table, so that DuckDB compares every checksum of it."""
    connection.execute(f"select system.main.bit_xor(system.main.hash(r)) from {identifier(table)} as r").fetchall()
