"""The store under fire: killed at random moments, on a full disk, beside other writers and beside many readers.

Each runs at a tenth of its size; `make test-slow` runs the whole of it.
"""

import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from facts import HOSTILE, completion, problem

from lema_local.errors import StoreError
from lema_local.records.store import Store, Writer

WHOLE = pytest.mark.slow

ADDER = """
import os, sys, time
from datetime import UTC, datetime
from pathlib import Path
import lema_local.records.store
from lema_local.records.types import Completion, Problem
from lema_local.errors import LemaError
lema_local.records.store.MERGE_EVERY_S = float(sys.argv[3])
start, pause = int(sys.argv[2]), float(sys.argv[4])
p = Problem("d", "train", "What is 6 * 7?", "42")
began = time.process_time()
try:
    with lema_local.records.store.Writer(Path(sys.argv[1])) as store:
        print(f"open {time.process_time() - began:.3f}", flush=True)
        for n in range(start, start + 1_000_000):
            text = os.urandom(300).hex()  # as long as a rationale, and no smaller on disk than it must be
            key = f"00000000-0000-4000-8000-{n:012d}"
            store.add(Completion(key, "sample", "m", "i", "t.1", p.id, None, None, "{}", n, text, "stop", 1, 1, 0.1,
                                 None, "reasoner", False, datetime.now(UTC)))
            print(n, flush=True)
            time.sleep(pause)
except LemaError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


def adder(db: Path, start: int = 0, *, merge_every_s: float = 0.05, pause_s: float = 0) -> "subprocess.Popen[str]":
    """A process that adds completions start, start + 1, ... and prints each number when it is acknowledged."""
    command = [sys.executable, "-c", ADDER, str(db), str(start), str(merge_every_s), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines_of(process: "subprocess.Popen[str]") -> list[str]:
    """What it printed, without a last line that was not said in full."""
    assert process.stdout is not None
    return process.stdout.read().split("\n")[:-1]


def assert_all_there_once(db: Path, acknowledged: set[int]) -> None:
    with Writer(db):
        pass
    rows = Store(db).rows("select sample_index as n, count(*) as copies from completion group by all")
    assert acknowledged <= {row["n"] for row in rows}
    assert {row["copies"] for row in rows} == {1}


@contextmanager
def held_for_reading(db: Path) -> Iterator["subprocess.Popen[str]"]:
    """A read-only shell on the file, left open."""
    script = """
import duckdb, sys, time
while True:
    try:
        connection = duckdb.connect(sys.argv[1], read_only=True)
        break
    except duckdb.IOException:  # a merge
        time.sleep(0.01)
print("held", flush=True)
for line in sys.stdin:
    print(connection.execute("select count(*) from completion").fetchone()[0], flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, db], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdin is not None
        assert shell.stdout.readline() == "held\n"
        yield shell
        shell.stdin.close()


@pytest.mark.parametrize(
    ("kills", "beside_reader"),
    [
        (5, False),
        (3, True),
        pytest.param(50, False, marks=WHOLE),
        pytest.param(30, True, marks=WHOLE),
    ],
    ids=["tenth", "tenth, beside a reader", "whole", "whole, beside a reader"],
)
def test_kill_at_any_moment_loses_and_doubles_nothing(db: Path, kills: int, beside_reader: bool) -> None:
    """Beside a reader who never leaves, merges go by a copy that takes the file's place."""
    with Writer(db) as store:
        store.add(problem())
    moments, acknowledged, opened_in_cpu_s = random.Random(7), set[int](), list[float]()
    for attempt in range(kills):
        with adder(db, attempt * 1_000_000) as process:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 60)[0]
            with held_for_reading(db) if beside_reader else memoryview(b""):
                threading.Timer(moments.uniform(0.01, 1.5 if beside_reader else 0.4), process.kill).start()
                first, *lines = lines_of(process)
        assert process.returncode == -signal.SIGKILL
        opened_in_cpu_s.append(float(first.removeprefix("open ")))
        acknowledged |= {int(n) for n in lines}
    assert len(acknowledged) > 10 * kills
    assert_all_there_once(db, acknowledged)
    assert max(opened_in_cpu_s) < 3
    assert {p.name for p in db.parent.iterdir()} <= {"lema.duckdb", "lema.duckdb.lock"}


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A file system of that size on the folder; False where nobody may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("megabytes", [6, pytest.param(60, marks=WHOLE)], ids=["tenth", "whole"])
def test_a_full_disk_is_one_line_and_with_room_all_is_there(tmp_path: Path, megabytes: int) -> None:
    with small_disk(tmp_path / "disk", megabytes) as mounted:
        if not mounted:
            pytest.skip("no file system can be mounted here; the journal's own test fills one by a limit")
        db, ballast = tmp_path / "disk" / "lema.duckdb", tmp_path / "disk" / "ballast"
        ballast.write_bytes(os.urandom(megabytes * 500_000))
        acknowledged = set[int]()
        for attempt in range(2):  # the second meets the full disk at once
            with adder(db, attempt * 1_000_000, merge_every_s=0.3) as process:
                assert process.stderr is not None
                numbers = [line for line in lines_of(process) if not line.startswith("open")]
                error = process.stderr.read()
            acknowledged |= {int(n) for n in numbers}
            assert process.returncode == 1
            assert len(error.splitlines()) == 1, error
            assert "Cannot " in error
        assert len(acknowledged) > 100
        ballast.unlink()
        assert_all_there_once(db, acknowledged)


def test_a_fact_that_comes_after_a_merge_failed_is_kept_though_its_writer_is_told(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    given = list[int]()

    def add_for_a_minute(store: Writer) -> None:
        for n in range(1200):
            given.append(n)
            store.add(completion(problem(), n))
            time.sleep(0.05)

    with Writer(db) as store, monkeypatch.context() as disk:
        disk.setattr("lema_local.records.merging.merge", full)
        with pytest.raises(StoreError, match="No space left"):
            add_for_a_minute(store)
    assert 0 < len(given) < 1200
    assert Store(db).rows("select count(*) as n from completion") == [{"n": len(given)}]


def test_a_second_writer_waits_when_told_to(db: Path) -> None:
    script = """
import sys
from pathlib import Path
from lema_local.records.store import Writer
with Writer(Path(sys.argv[1]), wait=True, on_notice=lambda message: print(message, flush=True)) as store:
    print("mine", flush=True)
"""
    with Writer(db) as store:
        second = subprocess.Popen([sys.executable, "-c", script, db], stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        told = second.stdout.readline()
        assert "Waiting for another lema (PID " in told
        assert f"PID {os.getpid()}, " in told
        assert " since 20" in told
        assert second.poll() is None
        store.add(problem())
    assert second.stdout.read() == "mine\n"
    assert second.wait(20) == 0
    second.stdout.close()


def test_a_reader_who_never_leaves_does_not_hold_back_what_others_see(db: Path) -> None:
    with Writer(db) as store:
        store.add(problem(1))
        store.add(completion(problem(1), 1))
    with Writer(db) as store, held_for_reading(db) as shell:
        store.add(completion(problem(1), 2))
        deadline = time.monotonic() + 20
        while store.rows("select count(*) as n from completion")[0]["n"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write("\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == "1\n"  # it keeps the file that it opened


READER = """
import duckdb, sys, time
over, oldest, answers = time.monotonic() + float(sys.argv[2]), 0.0, 0
while time.monotonic() < over:
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as connection:
            (age,) = connection.execute("select epoch(now()) - epoch(max(created_at)) from completion").fetchone()
    except duckdb.IOException:  # a merge: again, as a person would
        time.sleep(0.02)
        continue
    oldest, answers = max(oldest, age), answers + 1
    time.sleep(0.1)
print(answers, oldest)
"""


@pytest.mark.parametrize(("readers", "seconds"), [(4, 4), pytest.param(20, 40, marks=WHOLE)], ids=["tenth", "whole"])
def test_readers_during_a_run_are_answered_with_what_is_five_seconds_old(db: Path, readers: int, seconds: int) -> None:
    with adder(db, merge_every_s=1.0, pause_s=0.002) as process:
        assert process.stdout is not None
        drained = list[str]()
        thread = threading.Thread(target=lambda: drained.extend(lines_of(process)))
        thread.start()
        while not db.exists() or not Store(db).rows("select count(*) as n from completion")[0]["n"]:
            time.sleep(0.1)
        started = [
            subprocess.Popen([sys.executable, "-c", READER, db, str(seconds)], stdout=subprocess.PIPE, text=True)
            for _ in range(readers)
        ]
        outputs = [reader.communicate()[0].split() for reader in started]
        process.send_signal(signal.SIGINT)
        thread.join()
        if process.stderr is not None:
            process.stderr.read()
    assert all(int(answers) > seconds for answers, _ in outputs)
    assert max(float(oldest) for _, oldest in outputs) < 5
    assert_all_there_once(db, {int(n) for n in drained if not n.startswith("open")})


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_completions_are_kept_byte_for_byte(store: Writer, text: str) -> None:
    store.add(completion(problem(), text=text, finish_reason=None))
    store.merge()
    (row,) = store.rows("select encode(text) as bytes from completion")
    assert row["bytes"] == text.encode()
    assert store.rows("from mended") == []


def test_lone_surrogates_are_replaced_and_flagged_and_a_torn_pair_joined(store: Writer) -> None:
    store.add(completion(problem(), 1, text="a\udc80b"))
    store.add(completion(problem(), 2, text="\ud83d\ude00"))
    store.merge()
    assert [row["text"] for row in store.rows("select text from completion order by id")] == ["a\ufffdb", "😀"]
    assert store.rows("from mended") == [{"record": "completion", "id": completion(problem(), 1).id, "field": "text"}]


def test_lines_that_a_power_cut_left_unreadable_are_kept_and_told(db: Path) -> None:
    with Writer(db):
        pass
    journal = db.with_name("lema.duckdb.journal")
    good = '{"table": "completion", "row": ["' + "00000000-0000-4000-8000-000000000001"
    good += (
        '", "sample", "m", "i", "t.1", "00000000-0000-4000-8000-000000000002", null, null, "{}", 0, "text", "stop", '
    )
    good += '1, 1, 0.5, null, "e", false, "2026-01-02T00:00:00+00:00"]}\n'  # as version 1 wrote it
    journal.write_bytes(b"\0" * 4096 + b"\n" + good.encode() + b'{"table": "completion", "row": ["torn')
    notices: list[str] = []
    with Writer(db, on_notice=notices.append):
        pass
    kept = db.with_name("lema.duckdb.journal.unreadable")
    said = f"1 line of lema.duckdb.journal cannot be merged; kept in {kept}. Line 1: it begins as no line of a journal."
    assert notices == [said]
    assert kept.read_bytes() == b"# line 1: it begins as no line of a journal\n" + b"\0" * 4096 + b"\n"
    assert Store(db).rows("select text, shared_by from completion") == [{"text": "text", "shared_by": 1}]


def test_a_value_that_its_column_cannot_hold_keeps_no_other_line_out(db: Path) -> None:
    notices: list[str] = []
    with Writer(db, on_notice=notices.append) as store:
        store.add(completion(problem(), 1))
        store.add(completion(problem(), 3, sample_index=3_000_000_000))  # its column is an INTEGER
        store.add(completion(problem(), 2))
    kept = db.with_name("lema.duckdb.journal.unreadable")
    why = "completion.sample_index holds no INTEGER: 3000000000"
    assert notices == [f"1 line of lema.duckdb.journal cannot be merged; kept in {kept}. Line 2: {why}."]
    assert kept.read_text().startswith(f'# line 2: {why}\n{{"crc32": "')
    with Writer(db) as store:
        kept_rows = store.rows("select id from completion order by id")
    assert {row["id"] for row in kept_rows} == {completion(problem(), k).id for k in (1, 2)}


def test_a_link_to_a_database_is_the_database_also_beside_a_reader(db: Path, tmp_path: Path) -> None:
    with Writer(db) as store:
        store.add(problem(1))
    db.chmod(0o600)
    link = tmp_path / "elsewhere" / "link.duckdb"
    link.parent.mkdir()
    link.symlink_to(db)
    with held_for_reading(db), Writer(link) as store:
        store.add(problem(2))
        store.merge()
    assert link.is_symlink()
    assert db.stat().st_mode & 0o777 == 0o600
    assert Store(db).rows("select count(*) as n from problem") == Store(link).rows("select 2 as n")
    assert [path.name for path in link.parent.iterdir()] == ["link.duckdb"]


def test_a_fact_with_a_loss_that_is_no_number_is_kept(store: Writer) -> None:
    store.add(completion(problem(), latency_s=float("nan"), cost_usd=float("inf")))
    store.merge()
    assert store.rows("select isnan(latency_s) as a, isinf(cost_usd) as b from completion") == [{"a": True, "b": True}]


def test_plain_duckdb_reads_what_a_run_leaves(db: Path) -> None:
    with Writer(db) as store:
        store.add(problem())
    with duckdb.connect(str(db), read_only=True) as connection:
        assert connection.execute("select count(*) from problem").fetchone() == (1,)
