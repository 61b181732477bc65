"""Upkeep: compacting keeps every row, a backup is whole, and the check finds what should not be there."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from commands import lema
from facts import completion, evaluation, problem, rationale

from lema_local.errors import StoreError
from lema_local.records.store import Store, Writer
from lema_local.records.upkeep import backup, check


def fill(db: Path, *, rows: int = 20) -> None:
    with Writer(db) as store:
        for number in range(rows):
            store.add(problem(number))
            store.add(completion(problem(number), number, text=f"{number} " * 400))
        store.merge()
        store.derive("evaluation", [evaluation(problem(n), n, is_correct=True) for n in range(rows)])


def test_compacting_gives_room_back_and_keeps_every_row_and_view(db: Path) -> None:
    fill(db, rows=2000)
    with Writer(db) as store:
        # many versions of a derived table leave holes in the file
        for _ in range(5):
            store.rederive({"evaluation": [evaluation(problem(n), n, is_correct=True) for n in range(2000)]})
        rows = store.rows("from completion order by id")
        before, after = store.compact()
        assert after <= before == db.stat().st_size + before - after
        assert store.rows("from completion order by id") == rows
        assert store.rows("select n, correct from pass_at_1") == [{"n": 2000, "correct": 2000}]
        store.add(problem(3000))
    assert Store(db).rows("select count(*) as n from problem") == [{"n": 2001}]
    assert sorted(p.name for p in db.parent.iterdir()) == ["lema.duckdb", "lema.duckdb.lock"]


def test_a_large_file_with_holes_is_compacted_when_a_run_ends(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(db, rows=2000)
    before = db.stat().st_size
    with duckdb.connect(str(db)) as connection:
        connection.execute(
            "insert into completion select completion.* replace (uuid() as id) from completion, range(20)"
        )
        connection.execute("checkpoint")
        connection.execute("delete from completion where id not in (select id from evaluation)")
        connection.execute(
            "insert into evaluation select evaluation.* replace (uuid() as id) from evaluation, range(20)"
        )
    monkeypatch.setattr("lema_local.records.store.HOLES_MATTER_FROM_BYTES", 1)
    monkeypatch.setattr("lema_local.records.store.HOLES_ALLOWED", 0.0)
    with Writer(db) as store:
        ours = "from pragma_database_size() where database_name = 'lema'"
        assert store.rows(f"select free_blocks > 0 as holes {ours}") == [{"holes": True}]
    assert Store(db).rows(f"select free_blocks {ours}") == [{"free_blocks": 0}]
    assert Store(db).rows("select count(*) as n from completion") == [{"n": 2000}]
    assert db.stat().st_size < before * 20


def test_compacting_beside_a_reader_gives_the_file_its_place(db: Path) -> None:
    fill(db)
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, db], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "held\n"
        with Writer(db) as store:
            inode = db.stat().st_ino
            store.compact()
            assert db.stat().st_ino != inode
        shell.communicate("\n")
    assert Store(db).rows("select count(*) as n from completion") == [{"n": 20}]


def test_a_backup_is_whole_and_never_overwrites(db: Path, tmp_path: Path) -> None:
    fill(db)
    with Writer(db) as store:
        backup(Store(db), tmp_path / "copy.duckdb")
        store.add(problem(99))
    assert Store(tmp_path / "copy.duckdb").rows("select count(*) as n from completion") == [{"n": 20}]
    with pytest.raises(StoreError, match="exists already"):
        backup(Store(db), tmp_path / "copy.duckdb")
    with pytest.raises(StoreError, match="No database"):
        backup(Store(tmp_path / "none.duckdb"), tmp_path / "other.duckdb")


def test_a_backup_of_a_file_that_a_crash_left_with_a_wal_holds_what_is_in_it(db: Path, tmp_path: Path) -> None:
    fill(db)
    with duckdb.connect(str(db)) as connection:
        connection.execute("pragma disable_checkpoint_on_shutdown")
        connection.execute("insert into completion select * replace (uuid() as id) from completion")
    assert db.with_name("lema.duckdb.wal").exists()
    backup(Store(db), tmp_path / "copy.duckdb")
    assert Store(tmp_path / "copy.duckdb").rows("select count(*) as n from completion") == [{"n": 40}]


def test_the_check_is_silent_on_a_sound_file(db: Path) -> None:
    fill(db)
    assert check(Store(db)) == []
    done = lema("db", "check", "--db", db, cwd=db.parent)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_check_finds_orphans_doubles_and_left_overs(db: Path) -> None:
    fill(db)
    with Writer(db) as store:
        store.derive("rationale", [rationale(problem(), 77, is_correct=True)])
    with duckdb.connect(str(db)) as connection:
        connection.execute("insert into problem from problem limit 1")
        connection.execute("delete from completion where text like '7 %'")
        connection.execute("create table mine as select 1 as a")
    db.with_name("lema.duckdb.journal").write_text('{"table": "problem", "row": []}\n')
    db.with_name("lema.duckdb.journal.unreadable-1").write_text("x")
    db.with_name("lema.duckdb.new").write_text("x")
    found = check(Store(db))
    words = [
        "evaluation: 1 row have no completion",
        "rationale: 1 row have no completion",
        "problem: 1 keys are there more than once",
        "lema.duckdb.journal: 1 records wait",
        "lema.duckdb.new: left by a crash",
        "lema.duckdb.journal.unreadable-1: journal lines that could not be merged",
    ]
    assert len(found) == len(words)
    for word in words:
        assert any(word in line for line in found), word
    done = lema("db", "check", "--db", db, cwd=db.parent)
    assert done.returncode == 1
    assert done.stdout.splitlines() == found


def test_the_commands_compact_and_back_up(db: Path) -> None:
    fill(db)
    assert " MB after" in lema("db", "compact", "--db", db, cwd=db.parent).stdout
    assert lema("db", "backup", "--db", db, "--output", "copy.duckdb", cwd=db.parent).returncode == 0
    assert Store(db.with_name("copy.duckdb")).rows("select count(*) as n from completion") == [{"n": 20}]
    failed = lema("db", "compact", "--db", "none.duckdb", cwd=db.parent)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: No database at none.duckdb")
