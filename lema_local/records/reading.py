"""One question to an open database: any text may ask, and nothing but a SELECT is asked.

>>> fetch(connection, "select id, level from problem where split = $split", {"split": "test"})
(['id', 'level'], [('5b0b5d21-6f2d-9c53-8cf0-6d2c4b2cbd9e', '2 steps'), ...])
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import duckdb

from lema_local.errors import MissingPackageError, StoreError, is_interrupt
from lema_local.records.damage import first_line, is_damage

NO_STATEMENT = "SQL: there is no statement in it."  # nothing but spaces and comments
# FROM, VALUES, DESCRIBE, SUMMARIZE and SHOW are SELECTs for DuckDB's parser. MULTI is what a PIVOT becomes that finds
# its columns by itself; one inside of an INSERT is MULTI too, and meets a connection that changes and writes nothing.
_ASKS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI)


def one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The one statement of a text, by DuckDB's own parser. StoreError where it is wrong, is no SELECT or not alone."""
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise StoreError(f"SQL: {first_line(error)}") from error
    if not statements:
        raise StoreError(NO_STATEMENT)
    if len(statements) > 1:
        raise StoreError(f"SQL: {len(statements)} statements. Ask one at a time.")
    (statement,) = statements
    if statement.type not in _ASKS:
        raise StoreError(
            f"SQL: {statement.type.name} is no SELECT, and the database is only read here. "
            "--output FILE and lema export write files."
        )
    return statement


def fetch(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query; ids come as text. StoreError for SQL that is wrong or no SELECT."""
    statement = one_select(connection, sql)
    with _in_one_line():
        result = connection.execute(statement, dict(parameters) or None)
        columns = [d[0] for d in result.description or []]
        return columns, [tuple(str(v) if isinstance(v, UUID) else v for v in row) for row in result.fetchall()]


def fetch_frame(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any]) -> Any:
    """The same as a pandas DataFrame, with DuckDB's types. MissingPackageError where pandas is not installed."""
    statement = one_select(connection, sql)
    if importlib.util.find_spec("pandas") is None:
        raise MissingPackageError("Data frames need pandas: pip install 'lema-local[notebook]'")
    with _in_one_line():
        result = connection.execute(statement, dict(parameters) or None)
        ids = [d[0] for d in result.description or [] if d[1] == "UUID"]
        frame = result.df()
    for name in ids:
        frame[name] = frame[name].map(str, na_action="ignore")
    return frame


@contextmanager
def _in_one_line() -> Iterator[None]:
    """What DuckDB says of the SQL as StoreError; what it says of the file, and Ctrl-C, as they are."""
    try:
        yield
    except (duckdb.IOException, duckdb.FatalException):
        raise
    except duckdb.Error as error:
        if is_damage(error):
            raise
        raise StoreError(f"SQL: {first_line(error)}") from error
    except RuntimeError as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise
