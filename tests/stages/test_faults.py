"""A stage under fire: the oracle as a server that fails on purpose, by a seed, and counts its own faults.

Each runs here with a tenth of the calls that `make test-slow` makes.
"""

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import PROBLEMS, lema
from scripted_server import Body, Say, ScriptedServer, chat

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.records.store import Store, Writer
from lema_local.records.types import Problem
from lema_local.serving.process import free_port
from lema_local.settings.profiles import load_profile
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.run import Run
from lema_local.stages.work import Call

pytestmark = pytest.mark.usefixtures("quick_oracle")

CANARY = "sk-canary-fa017c2e"
PROBLEM = Problem("faults", "train", "What is 6 * 7?", "42")
PROMPT = Prompt(messages=({"role": "user", "content": "Question: What is 6 * 7?\nAnswer:"},))
SAMPLING = Sampling(temperature=1.0, max_tokens=64, seed=1)
SIZES = pytest.mark.parametrize("calls", [200, pytest.param(2000, marks=pytest.mark.slow)])


@contextmanager
def oracle(*options: str, port: int = 0) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A faulty server in a process of its own: its base URL, and the process."""
    command = [sys.executable, "-m", "lema_local.servers.oracle", "--port", str(port), "--seed", "1", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+/v1", process.stderr.readline())
            assert found
            yield found[0], process
        finally:
            process.kill()


def counted(url: str) -> dict[str, Any]:
    """What the server says it was asked."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/faults") as reply:
        said: dict[str, Any] = json.load(reply)
    return said


def endpoint(url: str, **more: Any) -> Endpoint:
    fields: dict[str, Any] = {"concurrency": 16, "max_retries": 5, "deadline_s": 30.0} | more
    return Endpoint("reasoner", url, "oracle", "oracle", "faults", **fields)


def stage(run: Run, where: Endpoint, calls: int) -> Outcome:
    """What a stage does: ask for what is pending, one request a sample (the problem differs)."""
    wanted = [Call(where, "sample", "cot_input.1", SAMPLING, PROBLEM.id, sample_index=2 * k) for k in range(calls)]
    return complete(run, pending(run, wanted), endpoint=where, render=lambda call: PROMPT, accepts=None, label="faults")


@pytest.fixture
def run(store: Writer) -> Run:
    store.add(PROBLEM)
    return Run(load_profile("smoke", environment={}), store)


def completions(run: Run) -> tuple[int, int]:
    """How many there are, and how many different ones."""
    run.store.merge()
    (row,) = run.store.rows("select count(*) as n, count(distinct id) as ids from completion")
    return row["n"], row["ids"]


@SIZES
def test_a_server_that_says_slow_down_to_a_third_is_obeyed_and_costs_no_retry(run: Run, calls: int) -> None:
    with oracle("--faults", "429:0.3") as (url, _):
        outcome = stage(run, endpoint(url, max_retries=0, concurrency=64), calls)
        said = counted(url)
    assert (outcome.done, outcome.failed) == (calls, 0)
    assert completions(run) == (calls, calls)
    assert said["faults"]["429"] > 0.2 * calls
    assert said["calls"] <= 1.5 * calls


@SIZES
def test_a_server_that_fails_and_is_killed_and_started_again_costs_no_record(run: Run, calls: int) -> None:
    faults, port = ("--faults", "500:0.04,502:0.03,503:0.03", "--latency", "0.02"), free_port("127.0.0.1")
    over = threading.Event()

    def restart() -> None:
        with oracle(*faults, port=port) as (url, _):
            while counted(url)["served"] < calls // 2:
                time.sleep(0.02)
        time.sleep(0.5)
        with oracle(*faults, port=port):
            over.wait(120)

    server = threading.Thread(target=restart)
    server.start()
    try:
        while not _answers(port):
            time.sleep(0.05)
        outcome = stage(run, endpoint(f"http://127.0.0.1:{port}/v1", max_retries=8), calls)
    finally:
        over.set()
        server.join()
    assert (outcome.done, outcome.failed) == (calls, 0)
    assert completions(run) == (calls, calls)


def _answers(port: int) -> bool:
    try:
        counted(f"http://127.0.0.1:{port}/v1")
    except OSError:
        return False
    return True


@SIZES
def test_calls_that_hang_cost_little_more_than_their_deadline(run: Run, calls: int) -> None:
    deadline_s, latency = 2.0, ("--latency", "0.2")
    with oracle(*latency) as (url, _):
        began = time.monotonic()
        stage(run, endpoint(url, concurrency=32), calls // 2)
        clean_s = 2 * (time.monotonic() - began)
    with oracle(*latency, "--faults", "hang:0.01", "--seed", "7") as (url, _):
        began = time.monotonic()
        outcome = stage(run, endpoint(url, concurrency=32, deadline_s=deadline_s), calls + calls // 2)
        took_s = time.monotonic() - began
        assert counted(url)["faults"].get("hang", 0) > 0
    assert (outcome.done, outcome.failed) == (calls, 0)
    assert took_s <= 1.3 * clean_s + deadline_s + 1.0


@SIZES
def test_replies_that_lie_are_asked_again_counted_and_kept_raw(run: Run, calls: int) -> None:
    kinds = ("malformed", "html", "error_object", "empty_choices", "null_content", "truncated", "empty_body")
    said: list[str] = []
    run.notice = said.append
    with oracle("--faults", ",".join(f"{kind}:0.03" for kind in kinds)) as (url, _):
        outcome = stage(run, endpoint(url), calls)
        faults = counted(url)["faults"]
    assert outcome.done + outcome.failed == calls
    assert outcome.failed <= 0.02 * calls  # four lies in a row: 0.2%
    assert completions(run) == (outcome.done, outcome.done)
    rows = run.store.rows("from attempt")
    assert len(rows) == sum(faults.values())
    assert {"empty body", "no choices", "body is not JSON"} <= {row["error"] for row in rows}
    assert any("Bad gateway" in (row["raw"] or "") for row in rows)
    assert any(line.startswith(f"{len(rows)} attempts at reasoner failed and were logged (") for line in said)


PROFILE = """
description = "one scripted server"
[data]
dataset = "tiny"
train_path = "{problems}"
test_problems = 2
[endpoints.reasoner]
base_url = "{base_url}"
model = "scripted"
api_key_env = "FAULTS_KEY"
max_retries = 1
concurrency = 4
[endpoints.corrector]
base_url = "{base_url}"
model = "scripted"
api_key_env = "FAULTS_KEY"
max_retries = 1
[endpoints.student]
base_url = "{base_url}"
model = "scripted"
[build]
arms = ["cot"]
"""


@pytest.fixture
def profile(tmp_path: Path, server: ScriptedServer) -> Path:
    path = tmp_path / "faults.toml"
    path.write_text(PROFILE.format(problems=PROBLEMS, base_url=server.base_url))
    return path


def test_a_run_with_some_lies_succeeds_and_one_with_nothing_else_fails(
    db: Path, server: ScriptedServer, profile: Path
) -> None:
    server.then = lambda _: Say(body=b"<html>") if server.calls % 2 else chat("Step 1: The answer is 1.")
    done = lema("data", "--profile", profile, "--db", db, cwd=db.parent, FAULTS_KEY=CANARY)
    assert done.returncode == 0, done.stderr
    assert "attempts at reasoner failed and were logged (body is not JSON" in done.stderr
    server.then = lambda _: Say(body=b"<html>")
    done = lema("data", "--profile", profile, "--db", db.with_name("b"), cwd=db.parent, FAULTS_KEY=CANARY)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: All 8 calls to reasoner failed")


def test_a_canary_key_is_found_nowhere(db: Path, server: ScriptedServer, profile: Path) -> None:
    def echo(_: Body) -> Say:
        key = server.headers[-1]["authorization"]
        if server.calls % 5 == 0:
            return Say(500, f"who sent {key}?".encode(), {"x-echo": key})
        if server.calls % 5 == 1:
            return Say(body=f"<html>{key}".encode())
        return chat(f"Step 1: My key is {key}. The answer is 1.")

    server.then = echo
    arguments: list[bytes] = []

    def look() -> None:
        while not over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    arguments.append(process.read_bytes())
                except OSError:
                    continue

    over = threading.Event()
    watch = threading.Thread(target=look)
    watch.start()
    try:
        done = lema("data", "--profile", profile, "--db", db, cwd=db.parent, FAULTS_KEY=CANARY)
        server.then = lambda _: Say(401, f"bad key {CANARY}".encode())
        refused = lema("data", "--profile", profile, "--db", db.with_name("b"), cwd=db.parent, FAULTS_KEY=CANARY)
    finally:
        over.set()
        watch.join()
    assert done.returncode == 0, done.stderr
    assert refused.returncode == 1
    assert {header["authorization"] for header in server.headers} == {f"Bearer {CANARY}"}
    for text in (done.stdout, done.stderr, refused.stdout, refused.stderr):
        assert CANARY not in text
    assert not any(CANARY.encode() in each for each in arguments)
    files = [path for path in db.parent.rglob("*") if path.is_file()]
    assert db in files
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path
    texts = [row["text"] for row in Store(db).rows("select text from completion")]
    assert any("My key is Bearer [key]." in text for text in texts)
