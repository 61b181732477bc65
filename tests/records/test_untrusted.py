"""Databases and SQL of others: a question reads one database, writes nothing, and nothing there is disguised."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from commands import lema
from facts import completion, problem

from lema_local.errors import StoreError
from lema_local.records.exports import export
from lema_local.records.queries import run_query
from lema_local.records.reading import one_select
from lema_local.records.store import Store, Writer
from lema_local.records.upkeep import check

SELECTS = [
    "from problem",
    "with few as (select 1 as a) from few;",
    "values (1) -- one",
    "(select 1)",
    "describe problem",
    "summarize problem",
    "show tables",
    "explain select 1",
    "pivot problem on split using count(*)",
    "pivot problem on split in ('test') using count(*)",
]
NO_SELECTS = [
    "copy problem to 'out.csv'",
    "export database 'out'",
    "attach 'other.duckdb'",
    "set memory_limit = '1GB'",
    "pragma database_list",
    "call duckdb_tables()",
    "create temp table t as select 1",
    "load json",
    "force checkpoint",
    "select 1; select 2",
    "select 1; copy problem to 'out.csv'",
]
OUTSIDE = [
    "from read_text('beside.txt')",
    "from 'beside.csv'",
    "from glob('*')",
    "from read_csv('beside.txt')",
    "from read_duckdb('beside.duckdb', table_name = 'problem')",
    "copy (pivot problem on split using count(*)) to 'beside.out'",
    "from enable_logging(storage = 'file', storage_path = 'beside.out')",
    "from enable_profiling(save_location => 'beside.out')",
]


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "lema.duckdb"
    with Writer(path) as store:
        for number in range(3):
            store.add(problem(number))
            store.add(completion(problem(number), number))
    return path


@pytest.fixture
def filled(db: Path, filled_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(db.parent)
    shutil.copy(filled_once, db)
    for name in ("beside.txt", "beside.csv"):
        Path(name).write_text("of somebody else\n")
    return db


@pytest.mark.parametrize("sql", SELECTS)
def test_one_question_is_answered(filled: Path, sql: str) -> None:
    found = len(run_query(Store(filled, own_views=True), sql, {})[1])
    assert found
    if not sql.startswith(("explain", "show", "pivot problem on split using")):
        assert export(Store(filled), sql, Path("out"), form="parquet", title="t", parameters={}) == found


@pytest.mark.parametrize("sql", NO_SELECTS)
def test_what_is_no_single_select_is_refused_in_one_line_and_does_nothing(filled: Path, sql: str) -> None:
    before = sorted(Path().iterdir())
    with pytest.raises(StoreError, match=r"^SQL: .*(is no SELECT|statements\. Ask one)") as caught:
        run_query(Store(filled), sql, {})
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=r"^SQL: .*(is no SELECT|statements\. Ask one)"):
        export(Store(filled), sql, Path("out.jsonl"), form="jsonl", title="t", parameters={})
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("sql", OUTSIDE)
def test_a_question_reaches_nothing_outside_of_the_database(filled: Path, sql: str) -> None:
    before = sorted(Path().iterdir())
    with pytest.raises(StoreError) as caught:
        run_query(Store(filled), sql, {})
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError):
        export(Store(filled), sql, Path("out.parquet"), form="parquet", title="t", parameters={})
    assert sorted(Path().iterdir()) == before


def test_an_export_writes_its_one_file_and_a_failed_one_leaves_the_file_of_before(filled: Path) -> None:
    output = Path("out.jsonl")
    output.write_text("of before")
    late = "select if(question = 'q2', error('at the end'), question) as q from problem order by question"
    with pytest.raises(StoreError, match="at the end"):
        export(Store(filled), late, output, form="jsonl", title="t", parameters={})
    assert output.read_text() == "of before"
    assert export(Store(filled), "from problem", output, form="jsonl", title="t", parameters={}) == 3
    assert len([json.loads(line) for line in output.read_text().splitlines()]) == 3
    assert not list(Path().glob("*.part"))


def test_lema_sql_says_in_one_line_what_it_is_for(filled: Path) -> None:
    done = lema("sql", "copy problem to 'out.csv'", "--db", filled, cwd=filled.parent)
    said = "SQL: COPY is no SELECT, and the database is only read here. --output FILE and lema export write files."
    assert (done.returncode, done.stderr) == (1, f"Error: {said}\n")


def as_a_view(db: Path) -> None:
    with duckdb.connect(str(db)) as connection:
        connection.execute("alter table correction rename to moved")
        connection.execute(f"create view correction as select * from read_csv('{db.parent / 'beside.csv'}')")


def as_a_macro(db: Path) -> None:
    with duckdb.connect(str(db)) as connection:
        connection.execute("create macro count(a) as 99")
        connection.execute("create macro duckdb_functions() as table select 'none' as function_name, false as internal")


DISGUISES = [
    (as_a_view, "its correction is a view in the place of a table"),
    (as_a_macro, "it defines count, which is"),
]


@pytest.mark.parametrize(("disguise", "named"), DISGUISES, ids=["view", "macro"])
def test_what_passes_for_a_table_or_a_function_is_refused_by_name(
    filled: Path, disguise: Callable[[Path], None], named: str
) -> None:
    disguise(filled)
    openers: list[Callable[[], object]] = [
        lambda: Store(filled).rows("select 1"),
        lambda: check(Store(filled)),
        lambda: Writer(filled).__enter__(),
        lambda: export(Store(filled), "from problem", Path("o.jsonl"), form="jsonl", title="t", parameters={}),
    ]
    for opener in openers:
        with pytest.raises(StoreError, match=named) as caught:
            opener()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("disguise", "named"), DISGUISES, ids=["view", "macro"])
@pytest.mark.parametrize(
    "command",
    [("status",), ("sql", "cost"), ("explain", "abcd"), ("report",), ("review", "summary"), ("db", "check"),
     ("db", "compact"), ("db", "backup", "--output", "copy"), ("export", "--table", "problem", "--output", "x")],
    ids=lambda command: "-".join(command[:2]),
)  # fmt: skip
@pytest.mark.slow
def test_every_command_that_opens_a_database_refuses_it(
    filled: Path, disguise: Callable[[Path], None], named: str, command: tuple[str, ...]
) -> None:
    disguise(filled)
    done = lema(*command, "--db", filled, cwd=filled.parent)
    assert done.returncode == 1
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_macro_and_a_view_of_the_users_own_are_left_alone(filled: Path) -> None:
    with duckdb.connect(str(filled)) as connection:
        connection.execute("create macro twice(a) as 2 * a")
        connection.execute("create view mine as select twice(count(*)) as n from problem")
        connection.execute("create view outside as from read_text('beside.txt')")
    assert Store(filled).rows("from mine") == [{"n": 6}]
    with pytest.raises(StoreError, match="Permission Error"):
        Store(filled).rows("from outside")
    with Writer(filled) as store:
        store.compact()
        assert store.rows("from mine") == [{"n": 6}]


def test_what_writes_reaches_the_files_beside_the_database_and_no_others(filled: Path, tmp_path: Path) -> None:
    inner = tmp_path / "folder" / "lema.duckdb"
    with Writer(inner) as store:
        inner.with_name("near.txt").write_text("near")
        with store.connect(write=True) as connection:
            near = connection.execute(
                "select content from read_text($file)", {"file": str(inner.with_name("near.txt"))}
            )
            assert near.fetchall() == [("near",)]
        with pytest.raises(StoreError, match="Permission Error"), store.connect(write=True) as connection:
            connection.execute("from read_text($file)", {"file": str(tmp_path / "beside.txt")})


def test_two_connections_of_one_process_read_side_by_side(filled: Path) -> None:
    with Store(filled).connect() as one, Store(filled, own_views=True).connect() as two:
        assert one.execute("select count(*) from problem").fetchone() == (3,)
        assert two.execute("select count(*) from problem").fetchone() == (3,)
        with pytest.raises(StoreError, match="is no SELECT"):
            one_select(two, "set threads = 1")
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            two.execute("set threads = 1")
