"""The store: nothing acknowledged is lost, nothing is doubled, and readers are served while a run goes on."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from facts import HOSTILE, completion, problem, rationale
from waiting import wait_until

from lema_local.errors import StoreError
from lema_local.records.schema import newest
from lema_local.records.store import Store, Writer
from lema_local.records.types import Completion, Example, Rationale, TrainingSet


def test_a_fact_written_twice_is_there_once_and_keeps_its_first_form(db: Path) -> None:
    for text in ("first", "second"):
        with Writer(db) as store:
            store.add(problem())
            store.add(problem())
            store.add(completion(problem(), text=text))
    assert Store(db).rows("select count(*) as n from problem") == [{"n": 1}]
    assert Store(db).rows("select text from completion") == [{"text": "first"}]


def test_a_completion_comes_back_as_it_went_in(store: Writer) -> None:
    given = completion(problem(), cost_usd=0.25, prompt_tokens=None)
    store.add(given)
    store.merge()
    (row,) = store.rows("from completion")
    assert Completion(**row) == given


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_kept_to_the_letter(store: Writer, text: str) -> None:
    store.add(problem(question=text))
    store.merge()
    assert store.rows("select question from problem where question = $q", q=text) == [{"question": text}]
    store.derive("example", [Example("cot", text, text, problem().id, problem().id)])
    assert store.rows("select prompt, output from example") == [{"prompt": text, "output": text}]


def test_readers_answer_while_a_writer_is_at_work(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.records.store.MERGE_EVERY_S", 0.5)
    count = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('from problem').shape[0])"
    seen = []
    with Writer(db) as store:
        over = threading.Event()

        def write() -> None:
            number = 0
            while not over.is_set():
                store.add(problem(number := number + 1))
                time.sleep(0.002)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(3):
                for _ in range(20):  # plain DuckDB tries once, as in a user's shell: again where it meets a merge
                    done = subprocess.run([sys.executable, "-c", count, db], capture_output=True, text=True)
                    if done.returncode == 0:
                        break
                assert done.returncode == 0, done.stderr
                seen.append(int(done.stdout))
                seen.append(store.rows("select count(*) as n from problem")[0]["n"])
        finally:
            over.set()
            thread.join()
    assert seen == sorted(seen)
    assert Store(db).rows("select count(*) as n from problem")[0]["n"] > seen[0]


def test_queries_and_merges_of_one_process_do_not_meet(store: Writer) -> None:
    errors: list[BaseException] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            try:
                store.rows("select count(*) from problem")
            except BaseException as error:
                errors.append(error)
                return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(60):
            store.add(problem(number))
            store.merge()
    finally:
        over.set()
        thread.join()
    assert errors == []


def test_a_merge_does_not_run_after_what_is_added_meanwhile(store: Writer) -> None:
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.wait(0.001):
            store.add(problem(number := number + 1))

    writing = threading.Thread(target=write)
    writing.start()
    merging = threading.Thread(target=store.merge)
    try:
        time.sleep(0.1)
        merging.start()
        merging.join(5)
        assert not merging.is_alive()
    finally:
        over.set()
        writing.join()
        merging.join()


def test_a_second_writer_says_who_holds_the_file(db: Path) -> None:
    script = (
        f"from pathlib import Path; from lema_local.records.store import Writer\nwith Writer(Path({str(db)!r})): pass"
    )
    with Writer(db) as store:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        pid = store.writer_pid()
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "StoreError: Another lema (PID " in last
    assert f"kill {pid}" in last
    assert Store(db).writer_pid() is None


HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_run_goes_on_while_a_database_shell_holds_the_file(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.records.store.MERGE_EVERY_S", 0.05)
    notices: list[str] = []
    with Writer(db, on_notice=notices.append) as store:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, db], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as shell:
            assert shell.stdout is not None
            assert shell.stdout.readline() == "held\n"
            store.add(problem(1))
            wait_until(lambda: bool(notices), limit_s=20, every_s=0.01)
            store.add(problem(2))
            assert f"PID {shell.pid}" in notices[0]
            assert "The run goes on into lema.duckdb.journal" in notices[0]
            with pytest.raises(StoreError, match=f"PID {shell.pid}"), Store(db).connect(patience_s=0.1):
                pass
        wait_until(lambda: len(notices) > 1, limit_s=20, every_s=0.01)
        assert notices[1:] == [f"{db} is free again."]
        assert store.rows("select count(*) as n from problem") == [{"n": 2}]


def test_what_is_no_database_of_ours_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"  # the word "lock" in a path is not a lock
    folder.mkdir()
    with duckdb.connect(str(folder / "foreign.duckdb")) as connection:
        connection.execute("create table meta as select 1 as a")
    with Writer(folder / "newer.duckdb"):
        pass
    with duckdb.connect(str(folder / "newer.duckdb")) as connection:
        connection.execute("update meta set value = '999'")
    (folder / "text.duckdb").write_text("not a database, whatever its name says" * 500)
    expected = {
        "foreign.duckdb": "something else. Name another file with --db",
        "newer.duckdb": f"schema version 999, this lema reads {newest()}",
        "text.duckdb": "Cannot open",
    }
    for name, words in expected.items():
        with pytest.raises(StoreError) as caught, Writer(folder / name):
            pass
        assert words in str(caught.value)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_database_that_is_not_there_is_not_made_by_reading(db: Path) -> None:
    with pytest.raises(StoreError, match="No database at"):
        Store(db).rows("select 1")
    assert not db.exists()


def test_missing_is_what_the_table_does_not_hold(store: Writer) -> None:
    store.add(problem(1))
    store.merge()
    assert store.missing("problem", [problem(1).id, problem(2).id]) == {problem(2).id}
    assert store.missing("problem", []) == set()


def test_rederive_replaces_rows_and_drops_those_that_are_gone(store: Writer) -> None:
    p = problem()
    store.derive("rationale", [rationale(p, n, is_correct=False) for n in (1, 2)])
    store.rederive({"rationale": [rationale(p, n, is_correct=True) for n in (2, 3)]})
    rows = store.rows("select id, is_correct from rationale order by id")
    assert rows == [{"id": completion(p, n).id, "is_correct": True} for n in (2, 3)]
    store.rederive({"rationale": []})
    assert store.rows("from rationale") == []


def test_rederive_counts_the_flips_and_leaves_the_file_free_while_records_are_made(store: Writer) -> None:
    p = problem()
    store.derive("rationale", [rationale(p, n, is_correct=n > 2) for n in (1, 2, 3, 4)])

    def records() -> Iterator[Rationale]:
        for n in (1, 2, 3, 5):
            assert len(store.rows("from rationale")) == 4  # a reader sees the old state until all is ready
            yield rationale(p, n, is_correct=n == 2)

    assert store.rederive({"rationale": records()}) == {"rationale": (4, 1, 1, 2)}
    right = store.rows("select id, is_correct from rationale order by id")
    assert right == [{"id": completion(p, n).id, "is_correct": n == 2} for n in (1, 2, 3, 5)]


def test_a_rederive_that_fails_changes_nothing_and_leaves_no_files(store: Writer) -> None:
    p = problem()
    store.derive("rationale", [rationale(p, 1, is_correct=False)])

    def records() -> Iterator[Rationale]:
        yield rationale(p, 1, is_correct=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.rederive({"rationale": records()})
    assert store.rows("select is_correct from rationale") == [{"is_correct": False}]
    assert not [path for path in store.path.parent.iterdir() if path.is_dir()]


def test_deriving_what_is_there_changes_nothing(store: Writer) -> None:
    p = problem()
    for is_correct in (False, True):
        store.derive("rationale", [rationale(p, 1, is_correct=is_correct)])
    assert store.rows("select is_correct from rationale") == [{"is_correct": False}]


def test_a_training_set_keeps_its_examples_and_is_added_once(store: Writer) -> None:
    example = Example("cot", "p", "o", problem().id, problem().id)
    built = TrainingSet(completion(problem(), 9).id, "cot", "d", 1, 1, 0, "{}", (example.id,))
    for _ in range(2):
        store.add_training_set(built, [example])
    rows = store.rows("select arm, training_set_id, example_id, prompt from training_example")
    assert rows == [{"arm": "cot", "training_set_id": built.id, "example_id": example.id, "prompt": "p"}]
