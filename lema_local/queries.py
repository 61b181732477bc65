"""Named queries: db/queries/*.sql and the views of db/views.sql, each with the question that it answers.

The first comment line of a query says the question: `-- rejections: why were corrections rejected?`
"""

import re
from functools import cache
from importlib.resources import files
from typing import Any

from lema_local.errors import StoreError, did_you_mean
from lema_local.store import Store

_VIEW = re.compile(r"^-- (\w+): (.+)\n(?:-- .+\n)*create or replace view \1 as$", re.MULTILINE)

_TABLE = re.compile(r"^create table (\w+) ", re.MULTILINE)


@cache
def named_queries() -> dict[str, str]:
    """Name -> the question that it answers, for queries and views, by name."""
    sql = files("lema_local.db")
    found = dict(_VIEW.findall(sql.joinpath("views.sql").read_text(encoding="utf-8")))
    for file in sql.joinpath("queries").iterdir():
        if file.name.endswith(".sql"):
            found[file.name.removesuffix(".sql")] = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("-- ")
    return dict(sorted(found.items()))


def run_query(store: Store, query: str, parameters: dict[str, str]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of a named query, a view, or SQL text. Raises StoreError, one line, for SQL that is wrong."""
    return store.table(query_text(query), **parameters)


def query_text(query: str) -> str:
    """The SQL of a named query, a view or a table; SQL text is itself. Raises StoreError for an unknown name."""
    if not re.fullmatch(r"\w+", query):
        return query
    if query in named_queries():
        file = files("lema_local.db").joinpath("queries", f"{query}.sql")
        return file.read_text(encoding="utf-8").rstrip().rstrip(";") if file.is_file() else f"from {query}"
    if query in tables():
        return f"from {query}"
    nearest = did_you_mean(query, [*named_queries(), *tables()])
    raise StoreError(f"No query named {query!r}{nearest}. List them: lema sql --list")


@cache
def tables() -> tuple[str, ...]:
    """The tables of db/schema.sql."""
    return tuple(_TABLE.findall(files("lema_local.db").joinpath("schema.sql").read_text(encoding="utf-8")))
