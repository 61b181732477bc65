"""A migration killed at any moment: the file is of one version or the other, with every row, and the copy is whole."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import duckdb
import pytest
from commands import DATA
from forked_lema import ForkedLema, how_many

from lema_local.records import schema

FIRST = (DATA / "schema_1.sql").read_text(encoding="utf-8")
ROWS = 3_000
WHAT_IS_THERE = "select count(*), bit_xor(hash(id, text, sampling, created_at)) from completion"


def first_version(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(FIRST)
        connection.execute("insert into meta values ('schema_version', '1')")
        connection.execute(f"""
            insert into completion select uuid(), 'sample', 'm', 'i', 't.1', uuid(), null, null, '{{}}', range,
            repeat(md5(range::varchar), 20), 'stop', 1, 2, 0.5, null, 'reasoner', false, now() from range({ROWS})
        """)


def version_and_rows(path: Path) -> tuple[int, tuple[int, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        (version,) = connection.execute("select value::int from meta where key = 'schema_version'").fetchall()[0]
        return version, connection.execute(WHAT_IS_THERE).fetchall()[0]


@pytest.mark.parametrize("kills", [3, pytest.param(how_many(50), marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_migration_that_is_killed_loses_no_row_and_goes_on(
    db: Path, tmp_path: Path, forked: ForkedLema, kills: int
) -> None:
    original = tmp_path / "original"
    first_version(original)
    _, rows = version_and_rows(original)
    shutil.copyfile(original, db)
    began = time.monotonic()
    code, said = forked.run("db", "compact", "--db", db, cwd=db.parent)
    whole_s = time.monotonic() - began
    assert code == 0, said
    assert version_and_rows(db) == (schema.newest(), rows)
    moments, half_way, backup = random.Random(5), 0, db.with_name("lema.duckdb.version-1.bak")
    for _ in range(kills):
        for file in db.parent.glob("lema.duckdb*"):
            file.unlink()
        shutil.copyfile(original, db)
        pid = forked.start("db", "compact", "--db", db, cwd=db.parent)
        time.sleep(moments.uniform(0, whole_s))
        os.kill(pid, signal.SIGKILL)  # of a run that is over already too: nobody has waited for it
        ended = forked.wait()
        version, found = version_and_rows(db)
        assert (version in (1, schema.newest()), found) == (True, rows)
        half_way += ended != 0 and backup.exists()
        if backup.exists():
            assert backup.read_bytes() == original.read_bytes()
        code, said = forked.run("db", "compact", "--db", db, cwd=db.parent)
        assert code == 0, said
        assert version_and_rows(db) == (schema.newest(), rows)
    assert half_way > 0
    print(f"{kills} kills of a migration, {half_way} with the copy begun; no row lost")
