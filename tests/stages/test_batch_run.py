"""The calls of a part made by our own client beside a server: whole, resumable, and imported as replies are."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import lema, lema_command
from scripted_server import Say, ScriptedServer, chat, completion

from lema_local.errors import DataError, EndpointError
from lema_local.records.locks import lock
from lema_local.records.store import Store, Writer
from lema_local.settings.profiles import load_profile
from lema_local.stages import batch as batches
from lema_local.stages.batch_results import import_files
from lema_local.stages.batch_run import Servers, results_of, run_part
from lema_local.stages.batch_work import work_of
from lema_local.stages.run import Run
from lema_local.stages.sample import sample

CANARY = "sk-canary-part-77e"


@pytest.fixture
def open_experiment(store: Writer, write_profile: Callable[..., Path]) -> Callable[..., Run]:
    def made(api: str = "chat") -> Run:
        return Run(load_profile(str(write_profile(samples=3, api=api)), environment={}), store)

    return made


def parts_of(run: Run, folder: Path, parts: int) -> list[Path]:
    batches.export_parts(work_of(run, "sample"), folder, parts)
    return [folder / f"part-{k}.jsonl" for k in range(parts)]


def at(server: ScriptedServer, **more: object) -> Servers:
    return replace(Servers(base_urls=[server.base_url], concurrency=4), **more)


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(body: dict[str, object]) -> str:
    """A text by which one call can be told from another."""
    asked = body.get("prompt") or json.dumps(body["messages"])
    return f"Step 1: {hash((asked, body.get('seed')))}. The answer is 2."


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_parts_bring_what_the_stage_itself_would(
    open_experiment: Callable[..., Run], server: ScriptedServer, tmp_path: Path, api: str
) -> None:
    server.then = lambda body: (chat if api == "chat" else completion)(told(body), finish_reason="stop")
    run = open_experiment(api)
    wanted = {call.id for call in work_of(run, "sample").wanted}
    parts = parts_of(run, tmp_path / "parts", 5)
    assert sorted(len(rows_of(part)) for part in parts) == [4, 5, 5, 5, 5]
    for part in parts:
        assert run_part(part, results_of(part), at(server)).failed == 0
    found = import_files(run, "sample", [tmp_path / "parts"])
    assert (found.new, found.failed, found.foreign, found.bad_lines) == (24, 0, 0, 0)
    by_parts = texts(run.store)
    assert by_parts.keys() == wanted
    with Writer(tmp_path / "stage.duckdb") as other:
        same = Run(run.profile, other)
        sample(same)
        assert texts(other) == by_parts


def texts(store: Store) -> dict[str, tuple[object, ...]]:
    rows = store.rows("select id, text, finish_reason, prompt_tokens, completion_tokens, answered_by from completion")
    return {row["id"]: tuple(row.values())[1:] for row in rows}


def test_a_part_that_was_killed_goes_on_and_pays_for_nothing_twice(
    open_experiment: Callable[..., Run], server: ScriptedServer, tmp_path: Path
) -> None:
    (part,) = parts_of(open_experiment(), tmp_path / "parts", 1)
    server.then = lambda body: chat("The answer is 2.", delay_s=0.05)
    command = lema_command("batch", "run", part, "--url", server.base_url, "--concurrency", "2")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while server.calls < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = len(rows_of(results_of(part)))
    before = server.calls
    assert 8 - 2 <= kept < 24
    assert run_part(part, results_of(part), at(server)).done == 24 - kept
    assert server.calls == before + 24 - kept
    assert run_part(part, results_of(part), at(server)).done == 0
    assert len({row["custom_id"] for row in rows_of(results_of(part))}) == 24


@pytest.mark.parametrize("left", [1, 8, 13, 100])
def test_a_line_cut_off_by_a_crash_is_asked_again(
    open_experiment: Callable[..., Run], server: ScriptedServer, tmp_path: Path, left: int
) -> None:
    (part,) = parts_of(open_experiment(), tmp_path / "parts", 1)
    run_part(part, results_of(part), at(server))
    whole = results_of(part).read_bytes()
    results_of(part).write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1 + left])
    assert run_part(part, results_of(part), at(server)).done == 1
    assert results_of(part).read_bytes().count(b"\n") == 24
    assert len(rows_of(results_of(part))) == 24


def test_each_failed_attempt_is_a_line_and_is_recorded_once(
    open_experiment: Callable[..., Run], server: ScriptedServer, tmp_path: Path
) -> None:
    run = open_experiment()
    (part,) = parts_of(run, tmp_path / "parts", 1)
    server.script = [Say(body=b"<html>"), *[Say(422, b"no")] * 2]
    outcome = run_part(part, results_of(part), at(server, concurrency=1))
    assert (outcome.done, outcome.failed) == (22, 2)
    for _ in range(2):
        assert import_files(run, "sample", [results_of(part)]).failed == 3
    run.store.merge()
    kept = run.store.rows("select error, status, raw from attempt order by error, status")
    assert [(row["error"], row["status"], row["raw"]) for row in kept] == [
        ("HTTP 422", 422, "no"),
        ("HTTP 422", 422, "no"),
        ("body is not JSON", 200, "<html>"),
    ]
    assert run_part(part, results_of(part), at(server)).done == 2
    assert import_files(run, "sample", [tmp_path / "parts"]).new == 2


def test_a_server_of_no_use_ends_a_part_in_words_and_what_came_is_kept(
    open_experiment: Callable[..., Run], server: ScriptedServer, tmp_path: Path
) -> None:
    (part,) = parts_of(open_experiment(), tmp_path / "parts", 1)
    server.script = [chat("The answer is 2."), Say(401)]
    with pytest.raises(EndpointError, match="refuses the key"):
        run_part(part, results_of(part), at(server, concurrency=1))
    assert [row["error"] is None for row in rows_of(results_of(part))] == [True, False]
    server.script, server.then = [], lambda body: Say(422)
    with pytest.raises(EndpointError, match="All 24 calls failed"):
        run_part(part, tmp_path / "new.jsonl", at(server))


def test_files_that_are_no_part_or_no_results_are_left_as_they_are(
    open_experiment: Callable[..., Run], server: ScriptedServer, tmp_path: Path
) -> None:
    (part,) = parts_of(open_experiment(), tmp_path / "parts", 1)
    with pytest.raises(DataError, match="no file that `lema batch run` wrote"):
        run_part(part, part, at(server))
    assert len(rows_of(part)) == 24
    (notes := tmp_path / "notes").write_text("{mine}")  # of one line that has no end, as one that was cut off
    with pytest.raises(DataError, match="no file that `lema batch run` wrote"):
        run_part(part, notes, at(server))
    assert notes.read_text() == "{mine}"
    first, *rest = part.read_text().splitlines()
    for line, words in [
        ("{torn", "line 24: not JSON"),
        (first.replace("chat/completions", "embeddings"), "line 24: its url"),
        (first.replace('"max_tokens"', '"most"'), "line 24: a call has max_tokens"),
        (first.replace('"messages"', '"words"'), "line 24: its prompt"),
        (first.replace('"scripted"', '"another"'), "more than one model"),
    ]:
        part.write_text("\n".join([*rest, line]))
        with pytest.raises(DataError, match=words):
            run_part(part, results_of(part), at(server))
    assert server.calls == 0


def test_a_part_is_run_by_one_at_a_time(
    open_experiment: Callable[..., Run], server: ScriptedServer, tmp_path: Path
) -> None:
    (part,) = parts_of(open_experiment(), tmp_path / "parts", 1)
    with results_of(part).open("ab") as file:
        lock(file)
        with pytest.raises(DataError, match="Another `lema batch run`"):
            run_part(part, results_of(part), at(server))


def test_calls_that_run_batch_cannot_take_are_refused_to_it_and_parts_are_written_once(
    open_experiment: Callable[..., Run], tmp_path: Path
) -> None:
    run = open_experiment("completions")
    with pytest.raises(DataError, match="takes only lines of chat"):
        batches.export(work_of(run, "sample"), tmp_path / "calls.jsonl")
    parts_of(run, tmp_path / "parts", 40)  # more than there are calls: an array of jobs has them all
    assert len(list((tmp_path / "parts").glob("part-*.jsonl"))) == 40
    with pytest.raises(DataError, match="holds parts already"):
        parts_of(run, tmp_path / "parts", 2)
    with pytest.raises(DataError, match=r"holds no \*.results.jsonl"):
        import_files(run, "sample", [tmp_path / "parts"])


def test_the_commands_do_a_part_from_export_to_import_and_the_key_is_nowhere(
    db: Path, write_profile: Callable[..., Path], server: ScriptedServer
) -> None:
    server.then = lambda body: chat(f"The answer is 2. {CANARY}")
    of = ("--purpose", "sample", "--profile", write_profile(), "--db", db)
    assert "8 calls to reasoner" in lema("batch", "export", *of, "--parts", "2", "--output", "p", cwd=db.parent).stderr
    for part in ("p/part-0.jsonl", "p/part-1.jsonl"):
        done = lema(
            "batch", "run", part, "--url", server.base_url, "--key-env", "PART_KEY", cwd=db.parent, PART_KEY=CANARY
        )
        assert done.stdout.startswith("4 done, 0 failed")
    assert server.headers[0]["authorization"] == f"Bearer {CANARY}"
    assert "8 new, 0 failed" in lema("batch", "import", "p", *of, cwd=db.parent).stdout
    refused = lema("batch", "run", "p/part-0.jsonl", "--url", "ftp://x", "--output", "n.jsonl", cwd=db.parent)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "http://host:port/v1" in refused.stderr
    for path in db.parent.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()
