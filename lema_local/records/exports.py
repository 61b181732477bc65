"""Rows of the database as files for others: JSON lines, Parquet, or a folder for Hugging Face `datasets`.

    lema-arm/                                  datasets.load_dataset("lema-arm")["train"][0]
      README.md                                {"kind": "cot", "prompt": "Below is ...", "output": "...", ...}
      data/train-00000-of-00001.parquet

Ids are written as text in all of them: few readers of Parquet know a UUID.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from lema_local.errors import StoreError
from lema_local.records.access import first_line
from lema_local.records.store import NO_STATEMENT, Store

Form = Literal["jsonl", "parquet", "datasets"]
PARQUET = "data/train-00000-of-00001.parquet"  # format: hf.co/docs/datasets/repository_structure

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
    """Write a query's rows; returns how many. StoreError for SQL that is wrong or names two columns alike, or for a
    place that cannot be written."""
    refuse_own_files(store, output)
    with store.connect() as connection:
        try:
            relation = connection.sql(sql, params=parameters or None)
            if relation is None:
                raise StoreError(NO_STATEMENT)
            refuse_doubled(relation.columns)
            file = _new_folder(output) / PARQUET if form == "datasets" else output
            types = dict(zip(relation.columns, map(str, relation.types), strict=True))
            uuids = [name for name, kind in types.items() if kind == "UUID"]
            if uuids:
                relation = relation.select(*[_as_text(name) if name in uuids else _column(name) for name in types])
            form_ = "json" if form == "jsonl" else "parquet"
            row = connection.execute(
                f"copy (from relation) to $output (format {form_})", {"output": str(file)}
            ).fetchone()
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"Cannot export to {output}: {first_line(error)}") from error
        del relation
    rows = int(row[0]) if row else 0
    if form == "datasets":
        types |= dict.fromkeys(uuids, "VARCHAR")
        columns = "\n".join(f"| `{name}` | {kind} |" for name, kind in types.items())
        card = CARD.format(
            title=title, rows=rows, date=f"{datetime.now():%Y-%m-%d}", source=store.path.name, columns=columns
        )
        (output / "README.md").write_text(card, encoding="utf-8")
    return rows


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


def _as_text(name: str) -> duckdb.Expression:
    return duckdb.ColumnExpression(name).cast("varchar").alias(name)


def _new_folder(output: Path) -> Path:
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise StoreError(f"{output} exists already and is no empty folder. Name another.")
        (output / PARQUET).parent.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"Cannot make the folder {output}: {error.strerror}.") from error
    return output


def refuse_own_files(store: Store, output: Path) -> None:
    """StoreError where `output` is the database or one of the files beside it that hold its records."""
    ends = ("", ".wal", ".lock", ".journal", ".journal.merging", ".reviews", ".reviews.merging")
    own = {store.path.with_name(store.path.name + end).resolve() for end in ends}
    if output.resolve() in own:
        raise StoreError(f"{output} is the database itself, or belongs to it: name another file with --output.")
