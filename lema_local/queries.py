"""Named queries: db/queries/*.sql and the views of db/views.sql, each with the question that it answers.

The first comment line of a query says the question: `-- rejections: why were corrections rejected?`
"""

import difflib
import re
from functools import cache
from importlib.resources import files
from typing import Any

from lema_local.errors import StoreError
from lema_local.store import Store

_VIEW = re.compile(r"^-- (\w+): (.+)\ncreate or replace view \1 as$", re.MULTILINE)


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
    """Columns and rows of a named query, a view, or SQL text. Raises StoreError, one line, for an unknown name or SQL
    that is wrong."""
    if re.fullmatch(r"\w+", query):
        if query not in named_queries():
            match = difflib.get_close_matches(query, named_queries(), n=1, cutoff=0.4)
            nearest = f" (did you mean {match[0]!r}?)" if match else ""
            raise StoreError(f"No query named {query!r}{nearest}. List them: lema sql --list")
        file = files("lema_local.db").joinpath("queries", f"{query}.sql")
        query = file.read_text(encoding="utf-8") if file.is_file() else f"from {query}"
    return store.table(query, **parameters)
