"""Rows of the database as files for others: JSON lines, Parquet, or a folder for Hugging Face `datasets`.

    lema-arm/                                  datasets.load_dataset("lema-arm")["train"][0]
      README.md                                {"kind": "cot", "prompt": "Below is ...", "output": "...", ...}
      data/train-00000-of-00001.parquet

Ids are written as text in all of them: few readers of Parquet know a UUID.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import duckdb

from lema_local.errors import StoreError
from lema_local.records.damage import first_line, is_damage
from lema_local.records.quoting import literal
from lema_local.records.reading import one_select
from lema_local.records.store import Store

Form = Literal["jsonl", "parquet", "datasets"]
PARQUET = "data/train-00000-of-00001.parquet"  # format: hf.co/docs/datasets/repository_structure
TYPED_BY = 100  # rows by which readers of JSON lines tell the type of a column

CARD = """\
---
pretty_name: {title}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---

# {title}

{rows} rows, written by lema_local (LeMa, arXiv 2310.20689) on {date} from `{source}`.

```python
from datasets import load_dataset
rows = load_dataset("PATH/TO/THIS/FOLDER", split="train")
```

| column | type |
|---|---|
{columns}

The texts were written by language models, or rewritten from reference solutions of the problems; what may be done with
them is for the licences of the problems and of the models to say.
"""


def export(store: Store, sql: str, output: Path, *, form: Form, title: str, parameters: dict[str, Any]) -> int:
    """Write a query's rows; returns how many. StoreError for SQL that is wrong, is no SELECT or names two columns
    alike, or for a place that cannot be written."""
    refuse_own_files(store, output)
    file = output / PARQUET if form == "datasets" else output
    if form == "datasets" and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise StoreError(f"{output} exists already and is no empty folder. Name another.")
    with writing_rows(store, file) as (connection, part):
        relation = connection.sql(one_select(connection, sql), params=parameters or None)
        if relation is None:
            raise StoreError("SQL: it gives no rows that a file could hold.")
        refuse_doubled(relation.columns)
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        uuids = [name for name, kind in types.items() if kind == "UUID"]
        if uuids:
            relation = relation.select(*[_as_text(name) if name in uuids else _column(name) for name in types])
        if form == "jsonl":  # JSON has no NaN and no Infinity
            relation = relation.select(
                *[_finite(name) if kind in ("DOUBLE", "FLOAT") else _column(name) for name, kind in types.items()]
            )
        if form == "datasets":
            file.parent.mkdir(parents=True)
        rows = copy_rows(relation, part, form="json" if form == "jsonl" else "parquet")
        names = list(relation.columns)
        del relation  # it holds the database
        if form == "jsonl" and part.is_file():
            values_first(part, names)
    if form == "datasets":
        types |= dict.fromkeys(uuids, "VARCHAR")
        columns = "\n".join(f"| `{name}` | {kind} |" for name, kind in types.items())
        card = CARD.format(
            title=title, rows=rows, date=f"{datetime.now():%Y-%m-%d}", source=store.path.name, columns=columns
        )
        (output / "README.md").write_text(card, encoding="utf-8")
    return rows


@contextmanager
def writing_rows(store: Store, output: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A reading connection, and the one file that it can write; what is written there takes the place of `output` when
    all went well. StoreError where it cannot."""
    target = output.resolve()
    is_special = target.exists() and not target.is_file()  # /dev/stdout, a pipe
    part = target if is_special else target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with store.connect(writes=(part,)) as connection:
            try:
                yield connection, part
            except duckdb.Error as error:
                if is_damage(error):
                    raise
                raise StoreError(f"Cannot export to {output}: {first_line(error)}") from error
        if not is_special:
            part.replace(target)
    except OSError as error:
        raise StoreError(f"Cannot export to {output}: {error.strerror or error}.") from error
    finally:
        if not is_special:
            part.unlink(missing_ok=True)


def copy_rows(relation: duckdb.DuckDBPyRelation, part: Path, *, form: Literal["json", "parquet"]) -> int:
    """Write what `writing_rows` is for; returns the rows."""
    options = f"format {form}, use_tmp_file false"
    done = relation.query("exported", f"copy (from exported) to {literal(part)} ({options})")
    return int(done.fetchall()[0][0]) if done is not None else 0


def values_first(file: Path, columns: Sequence[str]) -> None:
    """Put first those lines that hold the first value of a column which is null in the TYPED_BY rows before; all
    others stay in order. Readers that tell a column's type from its first rows (polars: 100) would read nulls, and stop
    at the first value."""
    with file.open("rb") as lines:
        empty = {f"{json.dumps(name, ensure_ascii=False)}:null".encode() for name in columns}
        for line in islice(lines, TYPED_BY):
            empty = {null for null in empty if null in line}
        firsts: list[bytes] = []
        numbers: set[int] = set()
        for number, line in enumerate(lines, TYPED_BY):
            found = {null for null in empty if null not in line}
            if found:
                firsts.append(line)
                numbers.add(number)
                empty -= found
            if not empty:
                break
        if not firsts:
            return
        lines.seek(0)
        ordered = file.with_name(f"{file.name}.ordered")
        try:
            with ordered.open("wb") as out:
                out.writelines(firsts)
                out.writelines(line for number, line in enumerate(lines) if number not in numbers)
            ordered.replace(file)
        finally:
            ordered.unlink(missing_ok=True)


def write_text(output: Path, text: str) -> None:
    """StoreError where the file cannot be written."""
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"Cannot write {output}: {error.strerror}.") from error


def refuse_doubled(columns: Iterable[str]) -> None:
    """StoreError where columns have one name (for DuckDB a and A are one): a row by names would lose one of them."""
    doubled = [name for name, times in Counter(name.lower() for name in columns).items() if times > 1]
    if doubled:
        raise StoreError(
            f"Several columns are called {', '.join(doubled)}: give each its own name, e.g. "
            f"select a.{doubled[0]} as a_{doubled[0]}"
        )


def _column(name: str) -> duckdb.Expression:
    return duckdb.ColumnExpression(name)


def _finite(name: str) -> duckdb.Expression:
    column = duckdb.ColumnExpression(name)
    return duckdb.CaseExpression(duckdb.FunctionExpression("isfinite", column), column).alias(name)


def _as_text(name: str) -> duckdb.Expression:
    return duckdb.ColumnExpression(name).cast("varchar").alias(name)


def refuse_own_files(store: Store, output: Path) -> None:
    """StoreError where `output` is the database or one of the files beside it that hold its records."""
    ends = ("", ".wal", ".lock", ".journal", ".journal.merging", ".reviews", ".reviews.merging")
    own = {store.path.with_name(store.path.name + end).resolve() for end in ends}
    if output.resolve() in own:
        raise StoreError(f"{output} is the database itself, or belongs to it: name another file with --output.")
