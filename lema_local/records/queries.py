"""Named queries: the views of db/views/*.sql and db/queries/*.sql, each with its question, its columns and parameters.

They stand in the comment above a view, and at the top of a query's file, where the name is the file's:

    -- rejections: why were corrections rejected, by reasoner and corrector?
    --   corrections: rejected for it
    --   share: of all corrections of this reasoner by this corrector, kept ones too, 0 to 1
    create or replace view rejections as
    ...

A line of a query that begins with `$` is a parameter: `--   $id: how the record's id begins`, and with a default
`--   $arm = lema: the arm`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from lema_local.errors import StoreError, did_you_mean
from lema_local.records.schema import tables, views_sql
from lema_local.records.store import Store

_VIEW = re.compile(r"^-- (\w+): (.+\n(?:--.*\n)*)create or replace view \1 as\n([^;]+);$", re.MULTILINE)
_COLUMNS = re.compile(r"^--   (\w+(?:, \w+)*): (.+)$", re.MULTILINE)
_PARAMETER = re.compile(r"^--   \$(\w+)(?: = (\S+))?: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A `$name` of a query."""

    meaning: str
    default: str | None  # None: it must be given


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A view or query that is shipped. `columns`: in their order, what each is, with its unit."""

    name: str
    question: str
    columns: Mapping[str, str]
    sql: str  # that answers it
    definition: str  # as written, for people
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@cache
def named_queries() -> dict[str, NamedQuery]:
    """All views and queries, by name."""
    found = [
        NamedQuery(name, head.partition("\n")[0], _columns(head), f"from {name}", select)
        for name, head, select in _VIEW.findall(views_sql())
    ]
    for file in files("lema_local.db").joinpath("queries").iterdir():
        if file.name.endswith(".sql"):
            text = file.read_text(encoding="utf-8").strip().removesuffix(";")
            comments = re.match(r"(?:--.*\n)*", text)
            head = comments[0] if comments else ""
            parameters = {
                name: Parameter(meaning, default or None) for name, default, meaning in _PARAMETER.findall(head)
            }
            question = head.partition("\n")[0].removeprefix("-- ")
            select = text[len(head) :]
            found.append(
                NamedQuery(file.name.removesuffix(".sql"), question, _columns(head), select, select, parameters)
            )
    return {query.name: query for query in sorted(found, key=lambda query: query.name)}


def _columns(head: str) -> dict[str, str]:
    return {name: meaning for names, meaning in _COLUMNS.findall(head) for name in names.split(", ")}


def run_query(store: Store, query: str, parameters: Mapping[str, str]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of a named query, a view, a table or SQL text. Raises StoreError, one line, for SQL that is
    wrong and for parameters that do not fit."""
    return store.table(query_text(query), **query_parameters(query, parameters))


def query_text(query: str) -> str:
    """The SQL of a named query, a view or a table; SQL text is itself. Raises StoreError for an unknown name."""
    if not re.fullmatch(r"\w+", query):
        return query
    if query in named_queries():
        return named_queries()[query].sql
    if query in tables():
        return f"from {query}"
    raise StoreError(f"No query named {query!r}{_nearest(query)}. List them: lema sql --list")


def query_parameters(query: str, given: Mapping[str, str]) -> dict[str, str]:
    """What is given, and the defaults of a named query for the rest. StoreError where one is missing or unknown."""
    if query not in named_queries():
        return dict(given)
    wanted = named_queries()[query].parameters
    for name in given:
        if name not in wanted:
            has = f"its parameters: {', '.join(wanted)}" if wanted else "it has none"
            raise StoreError(f"{query} has no parameter {name!r}, {has}.")
    values = {name: given.get(name, parameter.default) for name, parameter in wanted.items()}
    for name, value in values.items():
        if value is None:
            raise StoreError(f"{query} needs --param {name}=...: {wanted[name].meaning}.")
    return {name: value for name, value in values.items() if value is not None}


def describe_query(query: str) -> str:
    """A named query for people: question, columns, parameters, SQL. StoreError for an unknown name."""
    if query not in named_queries():
        raise StoreError(f"No query named {query!r}{_nearest(query)}. List them: lema sql --list")
    found = named_queries()[query]
    widest = max(map(len, found.columns))
    lines = [f"{query}: {found.question}", ""]
    lines += [f"  {name:{widest}}  {meaning}" for name, meaning in found.columns.items()]
    for name, parameter in found.parameters.items():
        default = f" ({parameter.default} if it is not given)" if parameter.default else ""
        lines += ["", f"  --param {name}=...  {parameter.meaning}{default}"]
    return "\n".join([*lines, "", found.definition])


def _nearest(query: str) -> str:
    return did_you_mean(query, [*named_queries(), *tables()])
