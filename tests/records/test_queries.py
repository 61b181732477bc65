"""Queries and exports: every one runs on an empty database, figures are right, and SQL that is wrong is one line."""

import json
from pathlib import Path

import duckdb
import pytest
from facts import HOSTILE, completion, evaluation, problem

from lema_local.errors import StoreError
from lema_local.records.exports import PARQUET, Form, export
from lema_local.records.queries import named_queries, run_query
from lema_local.records.store import Store, Writer, stage_sql
from lema_local.statistics.comparison import wilson_interval


@pytest.mark.parametrize("name", named_queries())
def test_every_named_query_and_view_runs_on_an_empty_database(store: Writer, name: str) -> None:
    query = named_queries()[name]
    columns, rows = run_query(store, name, dict.fromkeys(query.parameters, "ab"))
    assert rows == []
    assert columns == list(query.columns), "its comment says what each column is, in their order"
    assert query.question.endswith((".", "?"))


def test_status_counts_an_empty_database_as_zeros(store: Writer) -> None:
    assert set(store.rows(stage_sql("status"))[0].values()) == {0}


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (0, 7), (3, 7), (7, 7), (21, 80)])
def test_the_interval_of_pass_at_1_is_wilsons(store: Writer, correct: int, n: int) -> None:
    for number in range(n):
        store.add(problem(number))
        store.add(completion(problem(number), number))
    store.merge()
    store.derive("evaluation", [evaluation(problem(k), k, is_correct=k < correct) for k in range(n)])
    (row,) = store.rows("from pass_at_1")
    assert (row["n"], row["correct"], row["arm"], row["step"]) == (n, correct, "base", 0)
    assert row["pass_at_1"] == pytest.approx(correct / n)
    assert (row["low"], row["high"]) == pytest.approx(wilson_interval(correct, n), abs=1e-12)


WRONG_SQL = ["", "-- nothing", "selec 1", "from nowhere", "select $x", "select error('x')", "delete from problem", "no"]


@pytest.mark.parametrize("sql", WRONG_SQL)
def test_sql_that_is_wrong_is_one_line(store: Writer, sql: str) -> None:
    with pytest.raises(StoreError) as caught:
        run_query(store, sql, {})
    assert "\n" not in str(caught.value)


def test_the_nearest_query_is_named(store: Writer) -> None:
    with pytest.raises(StoreError, match="did you mean 'self_correction_rate'"):
        run_query(store, "self_corection_rate", {})


@pytest.mark.parametrize("form", ["jsonl", "parquet", "datasets"])
def test_an_export_holds_every_row_whole(store: Writer, tmp_path: Path, form: Form) -> None:
    for number, text in enumerate(HOSTILE.values()):
        store.add(problem(number, solution=text))
    store.merge()
    output = tmp_path / f'it\'s a "file".{form}'
    sql = "select question, solution from problem where split = $split"
    assert export(store, sql, output, form=form, title="t", parameters={"split": "test"}) == len(HOSTILE)
    if form == "jsonl":
        rows = [json.loads(line) for line in output.read_text().split("\n") if line]
        found = {row["question"]: row["solution"] for row in rows}
    else:
        found = dict(duckdb.from_parquet(str(output / PARQUET if form == "datasets" else output)).fetchall())
    assert found == {f"q{n}": text for n, text in enumerate(HOSTILE.values())}


def test_the_first_rows_of_json_lines_tell_the_type_of_every_column(store: Writer, tmp_path: Path) -> None:
    output, whole, late = tmp_path / "rows.jsonl", range(400), {"text": 250, "number": 300, "never": 400}
    columns = ", ".join(f"case when k >= {first} then k end as {name}" for name, first in late.items())
    sql = f"select k, {columns}, case when k = 99 then '\"text\":null' end as soon from range(400) as r(k) order by k"
    assert export(store, sql, output, form="jsonl", title="t", parameters={}) == len(whole)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["k"] for row in rows] == [250, 300, *(k for k in whole if k not in (250, 300))]
    assert [path.name for path in tmp_path.glob("rows*")] == ["rows.jsonl"]


def test_an_export_that_cannot_be_written_is_one_line(store: Writer, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Cannot export to") as caught:
        export(store, "from problem", tmp_path / "none" / "x.jsonl", form="jsonl", title="t", parameters={})
    assert "\n" not in str(caught.value)


def test_a_datasets_folder_has_a_card_that_names_its_files_and_columns(store: Writer, tmp_path: Path) -> None:
    store.add(problem())
    store.merge()
    folder = tmp_path / "folder"
    assert export(store, "from problem", folder, form="datasets", title="problem", parameters={}) == 1
    card = (folder / "README.md").read_text()
    assert card.startswith("---\npretty_name: problem\nconfigs:\n")
    assert "path: data/train-*.parquet" in card
    assert "| `id` | VARCHAR |" in card
    assert duckdb.from_parquet(str(folder / PARQUET)).select("id").fetchall() == [(problem().id,)]
    with pytest.raises(StoreError, match="no empty folder"):
        export(store, "from problem", folder, form="datasets", title="problem", parameters={})


def test_a_reader_sees_the_views_of_today_in_a_file_of_an_older_lema(db: Path) -> None:
    with Writer(db) as store:
        store.add(problem(1))
    with duckdb.connect(str(db)) as connection:
        connection.execute("create or replace view cost as select 'old' as old")
        connection.execute("drop view rejections")
    assert run_query(Store(db), "cost", {})[0] == ["old"]
    reader = Store(db, own_views=True)
    assert run_query(reader, "cost", {})[0][0] == "purpose"
    assert run_query(reader, "rejections", {})[1] == []
