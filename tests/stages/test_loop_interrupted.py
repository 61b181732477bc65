"""The loop interrupted: what a kill, Ctrl-C or a dead server costs, and that nothing outlives the run."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from commands import lema, lema_command
from forked_lema import ForkedLema, how_many
from loop_steps import Profile, counts, opened, reason, reason_and_correct
from scripted_server import Body, Say, ScriptedServer
from waiting import wait_until

from lema_local.records.store import Writer
from lema_local.stages.batch_work import works
from lema_local.stages.build import build
from lema_local.stages.correct import correct
from lema_local.stages.run import Run
from lema_local.stages.sample import sample


def processes_naming(text: str) -> list[int]:
    """PIDs of the processes that have this text in their command line (Linux)."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                command = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(directory.name))
    return found


@contextmanager
def started(db: Path, profile: Path) -> Iterator["subprocess.Popen[str]"]:
    command = lema_command("data", "--profile", profile, "--db", db)
    # a test run in the background may have been told to ignore Ctrl-C
    command[2] = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {command[2]}"
    with subprocess.Popen(command, cwd=db.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def kept(db: Path) -> set[str]:
    """Ids of the completions that a run has acknowledged, wherever a kill left them."""
    ids = set[str]()
    for end in (".journal.merging", ".journal"):
        path = db.with_name(db.name + end)
        if path.exists():
            lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
            ids |= {line["row"][0] for line in lines if line["table"] == "completion"}
    if db.exists():
        with duckdb.connect(str(db), read_only=True) as connection:
            if connection.execute("from duckdb_tables() where table_name = 'completion'").fetchall():
                ids |= {str(id_) for (id_,) in connection.execute("select id from completion").fetchall()}
    return ids


@pytest.mark.parametrize(
    "kills", [4, pytest.param(how_many(1000), marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]
)
def test_kill_at_any_moment_loses_nothing_and_repeats_no_more_than_the_calls_in_flight(
    db: Path, server: ScriptedServer, write_profile: Profile, forked: ForkedLema, kills: int
) -> None:
    server.then = lambda body: replace(reason_and_correct(body), delay_s=0.02)
    concurrency, moments, at_most = 4, random.Random(3), 10
    samples = max(8, kills * at_most // 8)
    profile = write_profile(correctors=("corrector",), samples=samples, concurrency=concurrency)
    before = set[str]()
    for _ in range(kills):
        calls = server.calls
        pid = forked.start("data", "--profile", profile, "--db", db, cwd=db.parent)
        goal = calls + moments.randint(1, 12)
        wait_until(lambda goal=goal: server.calls >= goal, every_s=0.005)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        assert forked.wait() == -signal.SIGKILL
        time.sleep(0.03)  # calls in flight reach the server's count
        after = kept(db)
        assert before <= after
        assert server.calls - calls <= len(after - before) + concurrency
        before = after
    code, said = forked.run("data", "--profile", profile, "--db", db, cwd=db.parent)
    assert code == 0, said
    assert before <= kept(db)
    there = counts(db)
    assert there["sample"] == 8 * samples
    repeated = server.calls - sum(there.values())
    assert 0 <= repeated <= kills * concurrency
    print(f"{kills} kills; {len(before)} kept before the last run, none lost or doubled; {repeated} calls repeated")


def test_replies_that_a_stopped_run_left_ungraded_are_there_for_batches_and_building(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    server.then = reason_and_correct
    profile = write_profile(correctors=("corrector", "oracle"))
    with opened(db, profile) as run:
        sample(run)
        correct(run)
        before = build(run, ("cot", "lema"))
        wanted = [work.wanted for work in works(run, "correct")]
        assert all(wanted)
        for tables in (["correction"], ["correction", "rationale"]):
            ungrade(run, tables)
            assert [work.wanted for work in works(run, "correct")] == wanted
            ungrade(run, tables)
            assert build(run, ("cot", "lema")) == before


def ungrade(run: Run, tables: list[str]) -> None:
    """Leave the replies as a run does that ends before it grades them."""
    with run.store.connect(write=True) as connection:
        for table in tables:
            connection.execute(f"delete from {table}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interrupted_run_ends_soon_keeps_its_records_and_says_how_to_go_on(
    db: Path, server: ScriptedServer, write_profile: Profile, number: signal.Signals
) -> None:
    server.then = lambda body: reason(body, delay_s=0.01) if server.calls < 6 else Say(hang=True)
    with started(db, write_profile()) as process:
        wait_until(lambda: server.calls >= 7, every_s=0.005)
        process.send_signal(number)
        at = time.monotonic()
        _, stderr = process.communicate(timeout=20)
    assert time.monotonic() - at < 2
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "Stopped. Nothing is lost: run the same command again to go on."
    assert "Traceback" not in stderr
    with Writer(db):
        pass
    assert counts(db)["sample"] >= 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_no_server_outlives_its_run(
    db: Path, server: ScriptedServer, write_profile: Profile, number: signal.Signals
) -> None:
    server.then = reason
    problems = str(db.parent / "runs" / "oracle-problems")
    with started(db, write_profile()) as process:
        wait_until(lambda: bool(processes_naming(problems)))
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    wait_until(lambda: not processes_naming(problems), limit_s=2)


def test_a_server_that_dies_half_way_is_one_line_and_its_replies_are_kept(
    db: Path, server: ScriptedServer, write_profile: Profile
) -> None:
    def die(body: Body) -> Say:
        if server.calls > 4:
            threading.Thread(target=server.stop).start()
            return Say(hang=True)
        return reason(body)

    server.then = die
    done = lema("data", "--profile", write_profile(concurrency=1), "--db", db, cwd=db.parent)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"Error: No server at {server.base_url}. Start it, or give another base URL."
    assert counts(db) == {"sample": 4}
