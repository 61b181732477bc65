"""The schema of a database file: its version, and the way forward from older ones.

db/schema.sql says what the tables are today; a new file is made from it. A file of an older version is led there by the
numbered files of db/migrations, in order, each in one transaction, after a copy of the file was put beside it:

    lema.duckdb   meta: ('schema_version', '1')   ->   006_first_release.sql   ->   ('schema_version', '6')
    lema.duckdb.version-1.bak                          the file as it was

The version of a file is the number of the last migration. A file of a newer version, or one that is not ours, is
refused.
"""

import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb

from lema_local.errors import StoreError
from lema_local.records import bulk
from lema_local.records.damage import tables_of

_TABLE = re.compile(r"^create table (\w+) ", re.MULTILINE)
_MACRO = re.compile(r"^create or replace temp macro .*?;$", re.MULTILINE | re.DOTALL)
_made_here: set[str] = set()  # _views_mark() of what this process made


@cache
def migrations() -> dict[int, str]:
    """Version -> the SQL that leads there from every version between it and the migration before."""
    folder = files("lema_local.db").joinpath("migrations")
    found = {
        int(file.name[:3]): file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name[:3].isdigit()
    }
    return dict(sorted(found.items()))


@cache
def views_sql() -> str:
    """The views: the files of db/views, one script in the order of their names."""
    scripts = [file for file in files("lema_local.db").joinpath("views").iterdir() if file.name.endswith(".sql")]
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(scripts, key=lambda file: file.name))


@cache
def tables() -> tuple[str, ...]:
    """The tables of db/schema.sql."""
    return tuple(_TABLE.findall(files("lema_local.db").joinpath("schema.sql").read_text(encoding="utf-8")))


def newest() -> int:
    """The version that this lema reads and writes."""
    return max(migrations())


def version_of(path: Path, connection: duckdb.DuckDBPyConnection) -> int | None:
    """The version of an open file; None: it holds no table yet. StoreError for a file that is not ours."""
    tables = set(tables_of(connection))
    if not tables:
        return None
    if {"meta", "completion"} <= tables:
        # all rows: a result that is left open keeps DuckDB 2.0 from other work on the connection
        rows = connection.execute("select value from meta where key = 'schema_version'").fetchall()
        if rows and str(rows[0][0]).isdecimal():
            return int(rows[0][0])
    refuse_disguised(path, connection)
    raise StoreError(f"{path} is a DuckDB database of something else. Name another file with --db.")


def check(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """StoreError, in one line, for a file that this lema cannot read as it is."""
    found = version_of(path, connection)
    if found is None:
        raise StoreError(f"{path} is empty. Make a database with `make data`, or name another with --db.")
    _refuse_newer(path, found)
    if found < newest():
        raise StoreError(
            f"{path} has schema version {found}, this lema reads {newest()}. Bring it up to date, "
            f"a copy kept: lema db compact --db {path}"
        )


def refuse_disguised(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """StoreError for a file in which something passes for what it is not, by name: a view in the place of a table,
    which might read any file where rows should be; a function that the file defines under the name of one of DuckDB's,
    which would change what every query counts."""
    found = disguised(connection)
    if found:
        raise StoreError(f"{path} is not opened: {found[0]}")


def disguised(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """What passes for something else in a file, a line each that says what to do."""
    views = connection.execute("select view_name from system.main.duckdb_views() where not internal").fetchall()
    found = [
        f"its {name} is a view in the place of a table. Drop it in a database shell, or go back to a backup."
        for name in sorted({name for (name,) in views} & set(tables()))
    ]
    # asked once, since to list the 3,300 takes 20 ms, and by DuckDB's own name: the file's would answer otherwise
    listed = connection.execute(
        "select distinct function_name, internal from system.main.duckdb_functions()"
    ).fetchall()
    own, macros = ({name for name, internal in listed if internal is wanted} for wanted in (True, False))
    found += [
        f'it defines {name}, which is a function of DuckDB\'s. In a database shell: drop macro "{name}" '
        "(a table macro: drop macro table)"
        for name in sorted(macros & own)
    ]
    return found


def shadow_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Let a reading connection see this lema's views: those in the file may be of the lema that wrote it last."""
    sql = views_sql().replace("create or replace ", "create or replace temp ")
    if _views_mark(connection) in _made_here:  # the same to the letter; that says nothing of the macros that they call
        connection.execute("\n".join(_MACRO.findall(sql)))
    else:
        connection.execute(sql)
        _made_here.add(_views_mark(connection, temporary=True))


def _views_mark(connection: duckdb.DuckDBPyConnection, *, temporary: bool = False) -> str:
    """A hash over the texts of the file's views, or of the connection's own. In lower case: DuckDB writes `as double`
    in a view that was just made for older shells, and `AS DOUBLE` once the file is read again."""
    texts = connection.execute(
        "select sql from system.main.duckdb_views() where not internal and temporary = $temporary order by view_name",
        {"temporary": temporary},
    ).fetchall()
    text = "".join(text for (text,) in texts).replace("CREATE TEMP VIEW", "CREATE VIEW")
    return hashlib.sha256(text.lower().encode()).hexdigest()


def _refuse_newer(path: Path, found: int) -> None:
    if found > newest():
        raise StoreError(
            f"{path} has schema version {found}, this lema reads {newest()}. Use the lema that made it, "
            "or another --db."
        )


def needs_migrating(path: Path, connection: duckdb.DuckDBPyConnection) -> int | None:
    """The version of a file that is older than this lema; StoreError for one that is newer or not ours."""
    found = version_of(path, connection)
    refuse_disguised(path, connection)
    if found is not None:
        _refuse_newer(path, found)
    return found if found != newest() else None


def bring_up_to_date(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables of a new file, or migrate an older one; then the views. StoreError where a migration fails."""
    sql = files("lema_local.db")
    found = version_of(path, connection)
    if found is None:
        with bulk.transaction(connection):
            connection.execute(sql.joinpath("schema.sql").read_text(encoding="utf-8"))
            connection.execute("insert into meta values ('schema_version', $version)", {"version": str(newest())})
    for version, text in migrations().items():
        if found is not None and version > found:
            try:
                with bulk.transaction(connection):
                    connection.execute(text)
                    connection.execute(
                        "update meta set value = $version where key = 'schema_version'", {"version": str(version)}
                    )
            except duckdb.Error as error:
                line = (str(error).splitlines() or ["?"])[0]
                raise StoreError(
                    f"{path} stays at its version: migration {version} failed ({line}). The copy beside it is whole."
                ) from error
    # to make the views takes four times as long as to open a file; what the file says of itself is no proof of them
    if found != newest() or _views_mark(connection) not in _made_here:
        with bulk.transaction(connection):
            connection.execute(views_sql())
        _made_here.add(_views_mark(connection))
