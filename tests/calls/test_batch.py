"""Calls by file: what is exported, handed in, fetched and imported, and that nothing is bought or stored twice."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer
from commands import PROBLEMS, lema

from lema_local.calls.batch_api import BatchApi
from lema_local.calls.batches import lines_of as result_lines
from lema_local.calls.batches import read_result, request_line
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.errors import DataError, EndpointError
from lema_local.records.keys import content_key
from lema_local.records.store import Store, Writer
from lema_local.records.types import Batch, BatchEnd
from lema_local.settings.profiles import Overrides, load_profile
from lema_local.stages import batch as batches
from lema_local.stages.batch_results import import_results
from lema_local.stages.batch_work import work_of
from lema_local.stages.estimate import estimate
from lema_local.stages.run import Run
from lema_local.stages.sample import sample

CANARY = "sk-canary-batch-5d1"
PROFILE = """
description = "samples by batch"
[data]
dataset = "tiny"
train_path = "{problems}"
test_problems = 2
[endpoints.reasoner]
base_url = "{base_url}"
model = "scripted"
api_key_env = "BATCH_KEY"
max_retries = 0
usd_per_million_input = 1.0
usd_per_million_output = 2.0
[endpoints.corrector]
base_url = "{base_url}"
model = "scripted-corrector"
[endpoints.student]
base_url = "{base_url}"
model = "scripted"
[sampling]
samples = 2
"""


def result(line: dict[str, Any]) -> dict[str, Any]:
    choice = {"message": {"content": "Step 1: 1 + 1 = 2. The answer is 2."}, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}
    return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def error_row(line: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": line["custom_id"], "response": None, "error": {"code": "x", "message": "could not do it"}}


@pytest.fixture
def api() -> Iterator[BatchServer]:
    server = BatchServer(result)
    yield server
    server.stop()


@pytest.fixture
def profile(tmp_path: Path, api: BatchServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BATCH_KEY", CANARY)
    path = tmp_path / "batch.toml"
    path.write_text(PROFILE.format(problems=PROBLEMS, base_url=api.base_url))
    return path


@pytest.fixture
def run(db: Path, profile: Path) -> Iterator[Run]:
    with Writer(db) as store:
        yield Run(load_profile(str(profile), environment={}), store)


def lines_of(run: Run, tmp_path: Path) -> list[dict[str, Any]]:
    output = tmp_path / "calls.jsonl"
    batches.export(work_of(run, "sample"), output)
    return [json.loads(line) for line in output.read_text().splitlines()]


def dumped(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(row) for row in rows]


def test_a_line_is_what_the_client_would_send_under_the_completion_s_key(run: Run, tmp_path: Path) -> None:
    lines = lines_of(run, tmp_path)
    assert len(lines) == 16
    first = lines[0]
    assert (first["method"], first["url"]) == ("POST", "/v1/chat/completions")
    assert first["body"]["model"] == "scripted"
    assert {line["body"]["seed"] for line in lines} == {1, 2}
    work = work_of(run, "sample")
    assert [line["custom_id"] for line in lines] == [call.id for call in work.pending]


def test_a_question_with_a_lone_surrogate_makes_a_line_that_is_ascii() -> None:
    endpoint = Endpoint("reasoner", "http://127.0.0.1:1/v1", "m", "m", "x")
    prompt = Prompt(messages=({"role": "user", "content": "a \ud800 b"},))
    line = request_line("id", endpoint, prompt, Sampling(temperature=0.0, max_tokens=4), 0)
    assert line.isascii()


def test_results_come_in_any_order_in_parts_with_errors_and_twice(run: Run, tmp_path: Path) -> None:
    lines = lines_of(run, tmp_path)
    results = [*map(result, lines[10:]), error_row(lines[0]), *map(result, lines[4:12])]
    found = import_results(run, "sample", [*dumped(results), "{torn", '{"custom_id": "other"}'])
    assert (found.new, found.failed, found.known, found.foreign, found.bad_lines) == (12, 1, 2, 1, 1)
    again = import_results(run, "sample", dumped(results))
    assert (again.new, again.known) == (0, 14)
    assert len(lines_of(run, tmp_path)) == 4
    rows = run.store.rows("select count(*) as n, count(distinct id) as ids from rationale")
    assert rows == [{"n": 12, "ids": 12}]
    (failed,) = run.store.rows("from failed_calls")
    assert failed["error"] == "could not do it"


def test_what_a_batch_lies_about_stays_pending(run: Run, tmp_path: Path) -> None:
    first, second, *_ = lines_of(run, tmp_path)
    lies = [
        {"custom_id": first["custom_id"], "response": {"status_code": 200, "body": {"choices": []}}},
        {"custom_id": second["custom_id"], "response": {"status_code": 500, "body": {"error": {"message": "oops"}}}},
    ]
    found = import_results(run, "sample", dumped(lies))
    assert (found.new, found.failed) == (0, 2)
    assert {row["error"] for row in run.store.rows("from failed_calls")} == {"no choices", "oops"}
    assert len(lines_of(run, tmp_path)) == 16


def test_a_batch_is_handed_in_once_waited_for_and_fetched(run: Run, api: BatchServer) -> None:
    (batch,) = batches.submit(run, work_of(run, "sample"))
    assert batch.calls == 16
    assert api.headers[0] == f"Bearer {CANARY}"
    assert work_of(run, "sample").pending == ()
    assert sample(run).done == 0  # the stage buys nothing that a batch will bring
    assert [remote.status for _, remote in batches.standing(run)] == ["in_progress"]
    assert batches.fetch(run).new == 0
    api.work_off()
    assert batches.fetch(run).new == 16
    assert batches.standing(run) == []
    (row,) = run.store.rows("select sum(cost_usd) as usd, count(latency_s) as timed from completion")
    assert row["usd"] == pytest.approx(16 * (1000 * 1.0 + 100 * 2.0) / 1e6)
    assert row["timed"] == 0


def test_a_hand_in_that_was_interrupted_is_found_again_and_not_repeated(
    run: Run, api: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_of(run, "sample")
    with monkeypatch.context() as killed:
        killed.setattr(run.store, "add", _killed_before(run.store.add))
        with pytest.raises(KeyboardInterrupt):
            batches.submit(run, work)
    assert len(api.batches) == 1
    (batch,) = batches.submit(run, work_of(run, "sample"))
    assert (batch.remote_id, len(api.batches)) == ("batch_0", 1)


def _killed_before(add: Callable[[Any], None]) -> Callable[[Any], None]:
    """Killed when a batch is there and nothing says so yet."""

    def killed(fact: Any) -> None:
        if isinstance(fact, BatchEnd) or getattr(fact, "remote_id", ""):
            raise KeyboardInterrupt
        add(fact)

    return killed


def test_what_an_expired_batch_did_not_bring_is_pending_again(run: Run, api: BatchServer) -> None:
    batches.submit(run, work_of(run, "sample"))
    api.work_off(status="expired", most=5)
    assert batches.fetch(run).new == 5
    assert len(work_of(run, "sample").pending) == 11
    batches.submit(run, work_of(run, "sample"))
    assert len(api.batches) == 2


def test_a_batch_of_which_every_line_failed_can_be_handed_in_anew(run: Run, api: BatchServer) -> None:
    batches.submit(run, work_of(run, "sample"))
    api.answer = error_row
    api.work_off()
    assert batches.fetch(run).failed == 16
    api.answer = result
    (batch,) = batches.submit(run, work_of(run, "sample"))
    assert batch.remote_id == "batch_1"
    assert sample(run).done == 0  # it is waited for
    api.work_off()
    assert batches.fetch(run).new == 16


def test_what_an_expired_batch_brought_is_not_lost_though_its_hand_in_was_interrupted(
    run: Run, api: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_of(run, "sample")
    with monkeypatch.context() as killed:
        killed.setattr(run.store, "add", _killed_before(run.store.add))
        with pytest.raises(KeyboardInterrupt):
            batches.submit(run, work)
    api.work_off(status="expired", most=5)
    batches.submit(run, work_of(run, "sample"))
    assert len(api.batches) == 1
    assert batches.fetch(run).new == 5


def test_a_hand_in_whose_answer_was_lost_is_not_repeated_by_itself(
    run: Run, api: BatchServer, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile.write_text(profile.read_text().replace("max_retries = 0", "max_retries = 2"))
    again = Run(load_profile(str(profile), environment={}), run.store)
    api.loses_answers = True
    with pytest.raises(EndpointError, match="then run the same command again"):
        batches.submit(again, work_of(again, "sample"))
    api.loses_answers = False
    (batch,) = batches.submit(again, work_of(again, "sample"))
    assert (batch.remote_id, len(api.batches)) == ("batch_0", 1)


def test_calls_whose_hand_in_lost_its_answer_are_not_paid_for_twice_by_a_smaller_hand_in(
    run: Run, api: BatchServer, profile: Path
) -> None:
    api.loses_answers = True
    with pytest.raises(EndpointError):
        batches.submit(run, work_of(run, "sample"))
    api.loses_answers = False
    fewer = Run(load_profile(str(profile), Overrides(limit=2), environment={}), run.store)
    assert sample(fewer).done == 0  # no stage makes them either
    (batch,) = batches.submit(fewer, work_of(fewer, "sample"))
    assert (batch.remote_id, batch.calls, len(api.batches)) == ("batch_0", 16, 1)
    api.work_off()
    assert batches.fetch(run).new == 16
    assert batches.standing(run) == []


def test_a_fetch_finds_a_batch_whose_hand_in_lost_its_answer(run: Run, api: BatchServer) -> None:
    api.loses_answers = True
    with pytest.raises(EndpointError):
        batches.submit(run, work_of(run, "sample"))
    run.store.merge()
    api.work_off()
    assert [batch.remote_id for batch, _ in batches.standing(run)] == ["batch_0"]
    assert batches.fetch(run).new == 16


def test_a_hand_in_that_was_never_made_is_said_and_done_again(run: Run, api: BatchServer) -> None:
    api.loses_answers = True
    with pytest.raises(EndpointError):
        batches.submit(run, work_of(run, "sample"))
    api.loses_answers = False
    api.batches.clear()
    said: list[str] = []
    run.notice = said.append
    assert batches.fetch(run).new == 0
    assert "its hand-in was cut off, and it is not there" in said[-1]
    (batch,) = batches.submit(run, work_of(run, "sample"))
    assert (batch.calls, len(api.batches)) == (16, 1)


def test_a_hand_in_that_is_refused_leaves_its_calls_pending(run: Run, api: BatchServer) -> None:
    api.refuses_batches = True
    with pytest.raises(EndpointError):
        batches.submit(run, work_of(run, "sample"))
    assert len(work_of(run, "sample").pending) == 16


def test_results_that_this_profile_does_not_want_stay_to_be_fetched(run: Run, api: BatchServer, profile: Path) -> None:
    batches.submit(run, work_of(run, "sample"))
    api.work_off()
    said: list[str] = []
    fewer = Run(load_profile(str(profile), Overrides(limit=2), environment={}), run.store, said.append)
    found = batches.fetch(fewer)
    assert (found.new, found.foreign) == (4, 12)
    assert "batch_0 stays open: 12 of its results" in said[-1]
    assert batches.fetch(run).new == 12
    assert batches.standing(run) == []


def test_a_batch_that_is_gone_keeps_no_other_from_being_fetched_and_can_be_dropped(run: Run, api: BatchServer) -> None:
    work = work_of(run, "sample")
    batches.submit(run, replace(work, pending=work.pending[:6]))
    batches.submit(run, work_of(run, "sample"))
    api.work_off()
    del api.batches["batch_0"]
    said: list[str] = []
    run.notice = said.append
    assert batches.fetch(run).new == 10
    assert any("lema batch drop batch_0" in line for line in said)
    assert work_of(run, "sample").pending == ()
    assert batches.drop(run, "batch_0").calls == 6
    assert len(work_of(run, "sample").pending) == 6
    with pytest.raises(DataError, match="No batch batch_0 is waited for"):
        batches.drop(run, "batch_0")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("", r"has no \[endpoints.other\]"),
        ('[endpoints.other]\nbase_url = "http://x/v1"\nmodel = "m"\napi_key_env = "UNSET_KEY"\n', "UNSET_KEY"),
    ],
    ids=["no endpoint", "no key"],
)
def test_a_batch_that_this_profile_cannot_ask_for_keeps_no_other_from_being_fetched(
    run: Run, api: BatchServer, profile: Path, endpoint: str, words: str
) -> None:
    profile.write_text(profile.read_text() + endpoint)
    asking = Run(load_profile(str(profile), environment={}), run.store)
    before = datetime(2026, 1, 1, tzinfo=UTC)
    run.store.add(Batch(content_key("batch"), "batch_of_other", "other", "http://x/v1", "sample", 1, before))
    batches.submit(asking, work_of(asking, "sample"))
    api.work_off()
    said: list[str] = []
    asking.notice = said.append
    assert batches.fetch(asking).new == 16
    assert [batch.remote_id for batch, remote in batches.standing(asking) if remote is None] == ["batch_of_other"]
    assert re.search(f"batch_of_other: .*{words}", said[0])
    assert "the profile and the key that it was handed in with" in said[0]


def test_a_dry_run_does_not_count_what_is_handed_in(run: Run) -> None:
    before = estimate(run)[0]
    batches.submit(run, work_of(run, "sample"))
    assert (before.calls, estimate(run)[0].calls) == (16, 0)


def test_a_result_without_end_is_one_failed_call_and_no_lost_batch(
    run: Run, api: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_of(run, "sample")
    first, second = work.pending[0].id, work.pending[1].id

    def answer(line: dict[str, Any]) -> dict[str, Any]:
        good = result(line)
        if line["custom_id"] == first:
            good["response"]["body"]["choices"][0]["message"]["content"] = "so " * 50_000
        if line["custom_id"] == second:
            good["response"]["body"]["choices"] += [{}] * 600
        return good

    monkeypatch.setattr("lema_local.calls.batches.MOST_LINE_BYTES", 100_000)
    monkeypatch.setattr("lema_local.calls.batches.MOST_BRACKETS", 500)
    batches.submit(run, work)
    api.answer = answer
    api.work_off()
    found = batches.fetch(run)
    assert (found.new, found.failed, found.bad_lines) == (14, 2, 0)
    failed = {row["completion_id"]: row["error"] for row in run.store.rows("from attempt")}
    assert failed == {first: "a result over 0.1 MB", second: "more brackets than a reply has"}


def test_lines_of_results_are_read_one_by_one_however_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.calls.batches.MOST_LINE_BYTES", 10)
    file = tmp_path / "results.jsonl"
    file.write_bytes(b"1234567890\n" + b"x" * 4_000_000 + b"\nshort\n" + b"y" * 11)
    with file.open("rb") as opened:
        lines = list(result_lines(opened))
    assert [lines[0], lines[2], len(lines)] == ["1234567890\n", "short\n", 4]
    for long in (lines[1], lines[3]):
        with pytest.raises(ValueError, match="no custom_id"):
            read_result(long)


@pytest.mark.parametrize("kind", ["results", "what it says of a batch", "an error"])
def test_a_batch_api_that_sends_without_end_is_one_line(
    run: Run, api: BatchServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    batches.submit(run, work_of(run, "sample"))
    api.work_off()
    remote_api = BatchApi(batches.keyed(run, "reasoner"))
    remote = remote_api.status("batch_0")
    monkeypatch.setattr(f"lema_local.calls.batch_api.MOST_{'RESULT' if kind == 'results' else 'BODY'}_BYTES", 100)
    if kind == "an error":
        api.files.clear()  # what the server says of an id that it does not know
    ask: Callable[[], Any] = (
        (lambda: remote_api.status("batch_0")) if "of a batch" in kind else lambda: list(remote_api.lines(remote))
    )
    with pytest.raises(EndpointError, match=r"says: body over 0\.0001 MB Mend that"):
        ask()


def test_results_that_do_not_fit_on_the_disk_say_what_to_do(
    run: Run, api: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches.submit(run, work_of(run, "sample"))
    api.work_off()
    monkeypatch.setattr("lema_local.calls.batch_api.TemporaryFile", lambda: FileIO("/dev/full", "r+"))
    said: list[str] = []
    run.notice = said.append
    assert batches.fetch(run).new == 0
    assert "have no room in" in said[-1]
    assert "set TMPDIR" in said[-1]
    monkeypatch.undo()
    monkeypatch.setenv("BATCH_KEY", CANARY)
    assert batches.fetch(run).new == 16


def test_a_batch_s_lies_cost_what_they_say_and_hostile_numbers_are_none(run: Run, tmp_path: Path) -> None:
    first, second, *_ = lines_of(run, tmp_path)
    lie = {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}
    rows = [
        {"custom_id": first["custom_id"], "response": {"status_code": 200, "body": lie}},
        {"custom_id": second["custom_id"], "response": {"status_code": 10**30, "body": {}}},
    ]
    assert import_results(run, "sample", dumped(rows)).failed == 2
    kept = {row["error"]: (row["status"], row["cost_usd"]) for row in run.store.rows("from attempt")}
    assert kept == {"no choices": (200, pytest.approx(0.0012)), "no response": (None, None)}


@pytest.mark.parametrize(
    ("word", "kept"), [("end_turn", "stop"), ("MAX_TOKENS", "length"), ("abort", None), ("content_filter", None)]
)
def test_a_result_ends_as_any_reply_does(run: Run, tmp_path: Path, word: str, kept: str | None) -> None:
    first, *_ = lines_of(run, tmp_path)
    row = result(first)
    row["response"]["body"]["choices"][0]["finish_reason"] = word
    found = import_results(run, "sample", dumped([row]))
    assert (found.new, found.failed) == ((1, 0) if kept else (0, 1))
    if kept:
        assert run.store.rows("select finish_reason from completion") == [{"finish_reason": kept}]
    else:
        (failed,) = run.store.rows("select error, raw, cost_usd from attempt")
        assert failed["error"] == f"ended early: {word}"
        assert failed["raw"] == "Step 1: 1 + 1 = 2. The answer is 2."
        assert failed["cost_usd"] == pytest.approx(0.0012)


def test_another_model_s_results_say_so_and_impossible_counts_are_cut(run: Run, tmp_path: Path) -> None:
    rows = [result(line) for line in lines_of(run, tmp_path)[:3]]
    for row in rows:
        row["response"]["body"] |= {"model": "another", "usage": {"prompt_tokens": 9, "completion_tokens": 2 * 10**9}}
    said: list[str] = []
    run.notice = said.append
    import_results(run, "sample", dumped(rows))
    kept = run.store.rows(
        "select answered_by, max(completion_tokens) as most, count(*) as n from completion group by all"
    )
    assert [(row["answered_by"], row["n"], row["most"] < 10_000) for row in kept] == [("another", 3, True)]
    assert said == [
        "reasoner: its server says that another answered, not scripted: completion.answered_by has it.",
        "reasoner: its server counts 2,000,000,000 tokens for one call: no more is believed than can be.",
    ]


def test_a_key_in_a_file_of_results_is_kept_nowhere(run: Run, tmp_path: Path, db: Path) -> None:
    first, second, *_ = lines_of(run, tmp_path)
    good, bad = result(first), error_row(second) | {"error": {"message": f"refused {CANARY}"}}
    good["response"]["body"] |= {"model": CANARY, "id": CANARY}
    lines = [json.dumps(row).replace("sk-", "\\u0073k-") for row in (good, bad)]
    import_results(run, "sample", lines)
    kept = repr([run.store.rows(f"from {table}") for table in ("completion", "attempt")])
    assert "[key]" in kept
    assert CANARY not in kept


def test_a_batch_is_handed_in_nowhere_else(run: Run, api: BatchServer) -> None:
    stranger = BatchServer(result)
    try:
        api.points_to = stranger.base_url
        with pytest.raises(EndpointError, match=f"says: go to {stranger.base_url}/files. Nothing was sent there"):
            batches.submit(run, work_of(run, "sample"))
        assert (stranger.files, stranger.headers) == ({}, [])
    finally:
        stranger.stop()


def test_the_commands_say_what_they_did_and_never_the_key(db: Path, profile: Path, api: BatchServer) -> None:
    def command(*arguments: str, code: int = 0) -> str:
        done = lema("batch", *arguments, "--profile", profile, "--db", db, cwd=db.parent, BATCH_KEY=CANARY)
        assert CANARY not in done.stdout + done.stderr
        assert done.returncode == code, done
        return done.stdout + done.stderr

    assert "16 calls to reasoner (scripted) written" in command("export", "--purpose", "sample", "--output", "c.jsonl")
    assert "may cost" in command("submit", "--purpose", "sample", "--budget", "0.0001usd", code=1)
    assert api.batches == {}
    api.refuse_with = 401
    assert re.search(
        "Error: The Batch API .*says: .*refused Bearer \\[key\\]", command("submit", "--purpose", "sample", code=1)
    )
    api.refuse_with = None
    assert command("submit", "--purpose", "sample").startswith("batch_0  16 calls to reasoner")
    assert "No call of sample is pending: nothing was handed in." in command("submit", "--purpose", "sample")
    assert "in_progress" in command("status")
    api.work_off()
    assert "16 new, 0 failed" in command("fetch")
    rows = Store(db).rows("select count(*) as n from rationale")
    assert rows == [{"n": 16}]
    assert CANARY.encode() not in db.read_bytes()
