"""Rows of the records that a profile wants: its ids go into a temporary table, the database does the rest.

A profile's ids are known before anything is read (a completion's id is what was asked for), so nothing else of a
database that many profiles share has to be loaded.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from lema_local.records import bulk
from lema_local.records.store import Store, stage_sql

BATCH = 2_000


def wanted_rows(store: Store, query: str, ids: Iterable[str], **parameters: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of db/stages/QUERY.sql, which joins the table `wanted (id uuid)` of these ids; read as they are used.

    The database is open, and closed to others of this process, until the last row is taken.
    """
    with store.connect() as connection:
        connection.execute("create temp table wanted (id uuid)")
        bulk.append(connection, "wanted", ([i] for i in ids))
        result = connection.execute(stage_sql(query), parameters or None)
        while rows := result.fetchmany(BATCH):
            yield from rows
