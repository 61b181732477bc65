"""The schema: files of older versions are led forward with a copy kept; others are refused."""

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest
from commands import DATA
from facts import completion, problem

from lema_local.errors import StoreError
from lema_local.records import schema
from lema_local.records.store import Store, Writer
from lema_local.records.types import Batch, BatchCall, BatchEnd

FIRST = (DATA / "schema_1.sql").read_text(encoding="utf-8")
COLUMNS = """
    select table_name, column_name, data_type, is_nullable, column_default from duckdb_columns()
    where schema_name = 'main' and not internal order by table_name, column_index
"""


def first_version(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(FIRST)
        connection.execute("insert into meta values ('schema_version', '1')")
        connection.execute(
            "insert into problem values (uuid(), 'd', 'train', 'q', '1', 'number', null, null, null, null)"
        )
        connection.execute("""
            insert into completion select uuid(), 'sample', 'm', 'i', 't.1', id, null, null, '{}', 0,
            'The answer is 1.', 'stop', 1, 2, 0.5, null, 'reasoner', false, now() from problem
        """)


# What the versions between lacked of version 6, each beside what the later ones lacked.
LACKED = {
    5: "alter table correction drop column mistaken_steps;",
    4: "drop table training_metric;",
    3: "alter table review drop column event; alter table review drop column completion_id;"
    "alter table review alter column grade set not null;",
    2: "".join(
        f"alter table correction drop column {name};"
        for name in ("fault_step", "step_exists", "continues", "arithmetic", "explains", "step_agrees", "resolved")
    ),
}


def version_between(path: Path, version: int) -> None:
    first_version(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("insert into review values (uuid(), uuid(), 'ada', 'good', null, now())")
        connection.execute(schema.migrations()[6])
        for later in range(5, version - 1, -1):
            connection.execute(LACKED[later])
        connection.execute("update meta set value = $version", {"version": str(version)})


def shape(path: Path) -> list[tuple[str, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(COLUMNS).fetchall()


def test_a_migrated_file_has_the_tables_of_a_new_one_and_keeps_its_rows(tmp_path: Path) -> None:
    old, new = tmp_path / "old.duckdb", tmp_path / "new.duckdb"
    first_version(old)
    before = old.read_bytes()
    notices: list[str] = []
    with Writer(old, on_notice=notices.append), Writer(new):
        pass
    assert shape(old) == shape(new)
    (row,) = Store(old).rows(
        "select text, cached_prompt_tokens, shared_by from completion join problem on problem_id = problem.id"
    )
    assert row == {"text": "The answer is 1.", "cached_prompt_tokens": None, "shared_by": 1}
    backup = tmp_path / "old.duckdb.version-1.bak"
    assert backup.read_bytes() == before
    assert str(backup) in notices[0]
    with Writer(old, on_notice=notices.append):
        pass
    assert len(notices) == 1


@pytest.mark.parametrize("version", LACKED)
def test_a_file_of_a_version_between_has_the_tables_of_a_new_one_and_keeps_its_rows(
    tmp_path: Path, version: int
) -> None:
    old, new = tmp_path / "old.duckdb", tmp_path / "new.duckdb"
    version_between(old, version)
    with Writer(old), Writer(new):
        pass
    assert shape(old) == shape(new)
    assert Store(old).rows("select text, shared_by from completion") == [{"text": "The answer is 1.", "shared_by": 1}]
    assert Store(old).rows("select grade, event from review") == [{"grade": "good", "event": "grade"}]


def test_an_older_file_is_not_read_as_if_it_were_new(tmp_path: Path) -> None:
    first_version(tmp_path / "old.duckdb")
    with pytest.raises(StoreError, match=r"schema version 1, this lema reads \d+\. Bring it up to date"):
        Store(tmp_path / "old.duckdb").rows("from completion")


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_version(tmp_path / "old.duckdb")
    broken = schema.migrations() | {6: "create table half (a integer); select no_such_column from problem"}
    monkeypatch.setattr(schema, "migrations", lambda: broken)
    with pytest.raises(StoreError, match="migration 6 failed"), Writer(tmp_path / "old.duckdb"):
        pass
    with duckdb.connect(str(tmp_path / "old.duckdb")) as connection:
        assert connection.execute("from meta").fetchall() == [("schema_version", "1")]
        assert connection.execute("select count(*) from duckdb_tables() where table_name = 'half'").fetchall() == [(0,)]


@pytest.mark.parametrize(
    "change", ["create or replace view pass_at_1 as select 7 as n", "drop view pass_at_1"], ids=["another", "none"]
)
def test_views_are_made_anew_where_they_are_not_ours_and_only_there(db: Path, change: str) -> None:
    """A reader that asks for the views of today gets them from a file that has others."""

    def columns(store: Store) -> list[str]:
        return store.table("from pass_at_1")[0]

    with Writer(db) as store:
        wanted, size = columns(store), db.stat().st_size
    with Writer(db):
        pass
    assert db.stat().st_size == size
    with duckdb.connect(str(db)) as connection:
        connection.execute(change)
    assert columns(Store(db, own_views=True)) == wanted
    with Writer(db):
        pass
    assert columns(Store(db)) == wanted


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(
        file.name for file in files("lema_local.db").joinpath("migrations").iterdir() if file.name.endswith(".sql")
    )
    assert [int(name[:3]) for name in names] == list(range(6, len(names) + 6))


def test_batches_are_facts(store: Writer) -> None:
    now, wanted = datetime(2026, 1, 2, tzinfo=UTC), completion(problem())
    batch = Batch(completion(problem(), 7).id, "batch_abc", "corrector", "https://host/v1", "correct", 1, now)
    for _ in range(2):
        store.add(batch)
        store.add(BatchCall(batch.id, wanted.id))
        store.add(BatchEnd(batch.id, "completed", now))
    store.merge()
    assert store.rows("from batch") == [
        {"id": batch.id, "remote_id": "batch_abc", "endpoint": "corrector", "base_url": "https://host/v1",
         "purpose": "correct", "calls": 1, "created_at": now}
    ]  # fmt: skip
    assert store.rows("from batch_call") == [{"batch_id": batch.id, "completion_id": wanted.id}]
    assert store.rows("from batch_end") == [{"batch_id": batch.id, "status": "completed", "ended_at": now}]
