"""Sealed journal lines into their tables, in one transaction: all at once by DuckDB's own reader of JSON lines.

DuckDB reads the journal itself because that costs half the CPU of json.loads and the Appender, needs no memory for the
rows, and leaves the interpreter to the client in the meantime. Where some line does not go in (it is damaged, or holds
what its table cannot), the same lines are taken one by one, and each that must stay out says why:

    {3: "its checksum does not match", 7: "completion.sample_index holds no INTEGER: 3000000000"}
"""

from collections.abc import Iterator

import duckdb

from lema_local.records import bulk
from lema_local.records.journal import TABLES, Sealed

_FACTS = (*TABLES.values(), "mended")
_LONGEST_SHOWN = 60  # characters of a value that does not fit


class _SomeStayOutError(Exception):
    """Not every line went in at once."""


def merge(connection: duckdb.DuckDBPyConnection, sealed: Sealed) -> dict[int, str]:
    """Add the rows of sealed lines to their tables. Returns the lines that cannot be merged: number, from 1 -> why."""
    if not sealed.faults:
        try:
            with bulk.transaction(connection):
                _all_at_once(connection, sealed)
        except (_SomeStayOutError, duckdb.ConversionException, duckdb.ConstraintException):
            pass  # one line must not keep the others out, now and for ever
        else:
            return {}
    with bulk.transaction(connection):
        return _one_by_one(connection, sealed)


def _all_at_once(connection: duckdb.DuckDBPyConnection, sealed: Sealed) -> None:
    read = 0
    for table in sealed.tables:
        if table not in _FACTS:
            raise _SomeStayOutError
        columns = _columns(connection, table)
        texts = [f"\"row\"[{k}]->>'$'" for k in range(1, len(columns) + 1)]
        staged = bulk.stage(connection, table)
        row = connection.execute(
            f"""
            insert into {staged}
            select {", ".join(c.value(text, "cast") for c, text in zip(columns, texts, strict=True))}
            from read_json(
                $path, format = 'newline_delimited', columns = {{"table": 'varchar', "row": 'json[]'}},
                ignore_errors = true, maximum_object_size = {max(sealed.longest + 1, 1 << 24)}
            )
            where "table" = $table and len("row") <= {len(columns)}
            """,
            {"path": str(sealed.path), "table": table},
        ).fetchone()
        read += row[0] if row else 0
        bulk.settle(connection, table, staged)
    if read != sealed.lines:
        raise _SomeStayOutError


def _one_by_one(connection: duckdb.DuckDBPyConnection, sealed: Sealed) -> dict[int, str]:
    faults = dict(sealed.faults)
    connection.execute("create or replace temp table journal_line (number bigint, line varchar)")
    with connection.appender("journal_line") as appender:
        for number, line in _sound(sealed, faults):
            appender.append_row(number, line)
    connection.execute("""
        create or replace temp table journal_row as
        select
            number, json_valid(line) as is_json,
            case when is_json then line ->> '$.table' end as "table",
            case when is_json then try_cast(line -> '$.row' as json[]) end as "row"
        from journal_line
        order by number
    """)
    connection.execute("drop table journal_line")
    known = [table for table in sealed.tables if table in _FACTS]
    stray = """
        select number, case when not is_json then 'it is no JSON' else 'it is of no table of this lema' end
        from journal_row where "table" is null or not list_contains($known, "table")
    """
    faults |= dict(connection.execute(stray, {"known": known}).fetchall())
    for table in known:
        columns = _columns(connection, table)
        texts = [f"\"row\"[{k}]->>'$'" for k in range(1, len(columns) + 1)]
        whys = [why for c, text in zip(columns, texts, strict=True) for why in c.whys(table, text)]
        reason = f"""
            case when "row" is null then 'it holds no row'
                when len("row") > {len(columns)}
                    then 'it holds ' || len("row") || ' values, {table} has {len(columns)} columns'
                {" ".join(whys)} end
        """
        out = connection.execute(
            f"""select number, {reason} as why from journal_row where "table" = $table and why is not null""",
            {"table": table},
        ).fetchall()
        faults |= {number: "".join(c if c.isprintable() else "\ufffd" for c in why) for number, why in out}
        staged = bulk.stage(connection, table)
        connection.execute(
            f"""
            insert into {staged}
            select {", ".join(c.value(text, "try_cast") for c, text in zip(columns, texts, strict=True))}
            from journal_row where "table" = $table and ({reason}) is null order by number
            """,
            {"table": table},
        )
        bulk.settle(connection, table, staged)
    connection.execute("drop table journal_row")
    return dict(sorted(faults.items()))


def _sound(sealed: Sealed, faults: dict[int, str]) -> Iterator[tuple[int, str]]:
    """The lines that are as they were written; one that is no text joins the faults."""
    with sealed.path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number not in faults and len(line) > 1:
                try:
                    yield number, line.decode()
                except UnicodeDecodeError:
                    faults[number] = "it is no UTF-8"


class _Column:
    """A column of a table, and what SQL reads it from the text of a JSON value."""

    def __init__(self, name: str, kind: str, default: str | None, is_nullable: bool) -> None:
        self._name, self._kind, self._default, self._is_nullable = name, kind, default, is_nullable

    def value(self, text: str, cast: str) -> str:
        read = f"{cast}({text} as {self._kind})"
        # a line of an older lema is shorter: the columns that came since have defaults
        return f"coalesce({read}, {self._default})" if self._default else read

    def whys(self, table: str, text: str) -> Iterator[str]:
        """WHEN ... THEN of what it cannot hold."""
        column = f"{table}.{self._name}"
        shown = f"replace(left({text}, {_LONGEST_SHOWN}), chr(10), ' ')"
        yield (
            f"when {text} is not null and try_cast({text} as {self._kind}) is null "
            f"then '{column} holds no {self._kind}: ' || {shown}"
        )
        if not self._is_nullable and not self._default:
            yield f"when {text} is null then '{column} is missing'"


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[_Column]:
    found = connection.execute(
        "select column_name, data_type, column_default, is_nullable from duckdb_columns() "
        "where table_name = $table and schema_name = 'main' order by column_index",
        {"table": table},
    ).fetchall()
    return [_Column(*row) for row in found]
