"""DuckDB is started once for many openings of a file, and holds nothing of it in between."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from commands import ROOT
from facts import completion, evaluation, problem

from lema_local.errors import StoreError
from lema_local.records.exports import writing_rows
from lema_local.records.store import Store, Writer


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One item for each time that DuckDB starts in this process."""
    seen: list[Any] = []
    connect = duckdb.connect

    def counted(*args: Any, **kwargs: Any) -> Any:
        seen.append(args)
        return connect(*args, **kwargs)

    monkeypatch.setattr(duckdb, "connect", counted)
    return seen


def test_many_questions_and_merges_start_duckdb_twice_at_most(store: Writer, starts: list[Any]) -> None:
    for number in range(10):
        store.add(problem(number))
        store.merge()
        assert store.rows("select count(*) as n from problem") == [{"n": number + 1}]
    assert len(starts) <= 2


def test_between_two_questions_the_file_is_free_for_a_shell_that_writes(store: Writer) -> None:
    for number in range(3):
        assert store.rows("select count(*) as n from meta") == [{"n": 1 + number}]
        with duckdb.connect(str(store.path)) as shell:
            shell.execute("insert into meta values ($key, '')", {"key": f"of a shell {number}"})


def test_a_question_that_fails_leaves_the_next_one_as_it_was(store: Writer) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match="no_such_table"):
            store.rows("from no_such_table")
        with pytest.raises(StoreError, match="no_such_table"), store.connect(write=True) as connection:
            connection.execute("begin; insert into meta values ('left open', ''); from no_such_table")
        assert store.rows("from meta where key = 'left open'") == []


def test_what_one_piece_of_writing_sets_is_not_there_in_the_next(store: Writer) -> None:
    asked = "select current_setting('memory_limit'), current_setting('preserve_insertion_order')"
    with store.connect(write=True) as connection:
        before = connection.execute(asked).fetchall()
    store.rederive({"rationale": []})
    with store.connect(write=True) as connection:
        assert connection.execute(asked).fetchall() == before
        assert connection.execute("select table_name from duckdb_tables() where temporary").fetchall() == []


def test_a_file_is_not_read_twice_with_different_reach_at_once(store: Writer, tmp_path: Path) -> None:
    reader = Store(store.path)
    with reader.connect() as connection:
        with pytest.raises(StoreError, match="open already"), writing_rows(reader, tmp_path / "rows.jsonl"):
            pass
        assert connection.execute("select count(*) from meta").fetchall() == [(1,)]
    with writing_rows(reader, tmp_path / "rows.jsonl") as (connection, part):
        connection.execute(f"copy (from meta) to '{part}' (format json)").fetchall()
    assert "schema_version" in (tmp_path / "rows.jsonl").read_text()


@pytest.mark.parametrize("name", ["memory.duckdb", "Memory", "temp.duckdb", 'it\'s "one".duckdb', ".hidden"])
def test_any_name_of_a_file_will_do(tmp_path: Path, name: str) -> None:
    with Writer(tmp_path / name) as store:
        store.add(problem())
    assert Store(tmp_path / name).rows("select count(*) as n from problem") == [{"n": 1}]


def test_a_process_that_was_forked_in_between_asks_and_ends_as_others_do(store: Writer) -> None:
    code = """
import os, sys
from pathlib import Path
from lema_local.records.store import Store
store = Store(Path(sys.argv[1]))
assert store.rows("select count(*) as n from meta") == [{"n": 1}]
child = os.fork()
assert store.rows("select count(*) as n from meta") == [{"n": 1}]
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-c", code, str(store.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_own_views_are_this_lemas_whatever_the_file_says(store: Writer) -> None:
    reader = Store(store.path, own_views=True)
    theirs = [{"n": 77}]
    for _ in range(2):
        with store.connect(write=True) as connection:
            connection.execute("create or replace view never_solved as select 77 as n")
        assert store.rows("from never_solved") == theirs
        assert reader.rows("from never_solved") == reader.rows("from never_solved") == []
        with store.connect(write=True) as connection:
            connection.execute("create or replace view mine as select 5 as five")
        assert reader.rows("from mine") == [{"five": 5}]


def test_own_views_call_this_lemas_macros_whatever_the_file_says(store: Writer) -> None:
    for fact in (problem(), completion(problem())):
        store.add(fact)
    store.merge()
    store.derive("evaluation", [evaluation(problem(), 0, is_correct=True)])
    reader, asked = Store(store.path, own_views=True), "select low from pass_at_1"
    (before,) = reader.rows(asked)
    with store.connect(write=True) as connection:
        connection.execute("create or replace macro wilson_low(k, n) as 7")
    assert store.rows(asked) == [{"low": 7}]
    assert reader.rows(asked) == [before] != [{"low": 7}]
