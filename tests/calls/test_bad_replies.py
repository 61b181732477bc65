"""Replies that did not end well, came from elsewhere, or hold what must not be kept: what a stage makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from call_stage import PROBLEMS, run_of, stage, stored
from client_calls import CANARY, ask, body, endpoint, reply_of
from scripted_server import Body, Say, ScriptedServer, chat

from lema_local.calls.client import CallFailedError
from lema_local.calls.replies import Reply
from lema_local.errors import EndpointError
from lema_local.records.store import Store, Writer
from lema_local.serving.process import free_port
from lema_local.stages.run import Run


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(store: Writer, said: list[str]) -> Run:
    return run_of(store, said)


def attempts(run: Run) -> list[dict[str, Any]]:
    run.store.merge()
    return run.store.rows(
        "select completion_id::varchar as call, error, status, raw, cost_usd from attempt order by error"
    )


# how a text ended


@pytest.mark.parametrize("word", ["abort", "error", "content_filter", "cancelled", "SAFETY", 7])
def test_a_text_that_did_not_end_well_is_a_failed_call_with_its_text(
    run: Run, server: ScriptedServer, word: Any
) -> None:
    server.then = lambda _: chat("Step 1: We add the two", finish_reason=word)
    with pytest.raises(EndpointError, match="All 1 calls to reasoner failed"):
        stage(run, server.base_url, 1, max_retries=0)
    assert stored(run) == 0
    (kept,) = attempts(run)
    assert kept["raw"] == "Step 1: We add the two"
    assert kept["error"] == f"ended early: {word.lower() if isinstance(word, str) else '?'}"


def test_a_text_that_did_not_end_well_is_asked_for_again_as_often_as_other_lies(server: ScriptedServer) -> None:
    server.script = [chat("Step 1: We", finish_reason="abort")] * 3
    assert reply_of(endpoint(server.base_url, max_retries=50)).text == "The answer is 1."
    server.then = lambda _: chat("Step 1: We", finish_reason="abort")
    _, failures = ask(endpoint(server.base_url, max_retries=50))
    assert len(failures) == 4


@pytest.mark.parametrize(("word", "kept"), [("end_turn", "stop"), ("MAX_TOKENS", "length"), ("", None)])
def test_other_words_for_stop_and_length_are_stored_as_those(server: ScriptedServer, word: str, kept: str) -> None:
    server.then = lambda _: chat("2", finish_reason=word)
    assert reply_of(endpoint(server.base_url)).finish_reason == kept


@pytest.mark.parametrize(("written", "is_kept"), [(5, True), (16, False), (17, False)])
def test_a_text_that_does_not_say_why_it_ended_at_the_limit_is_no_reply(
    server: ScriptedServer, written: int, is_kept: bool
) -> None:
    choice = {"message": {"content": "a text of some tokens"}, "finish_reason": None}
    server.then = lambda _: Say(body=body(choice, usage={"prompt_tokens": 1, "completion_tokens": written}))
    outcome, failures = ask(endpoint(server.base_url, max_retries=0))
    assert isinstance(outcome, Reply) == is_kept
    assert [failure.error for failure in failures] == [] if is_kept else ["no finish reason at max_tokens"]


def test_one_bad_end_of_several_samples_is_that_sample_s_alone(run: Run, server: ScriptedServer) -> None:
    def answer(asked: Body) -> Say:
        ends = ["stop", "abort", "length", "stop"] if asked.get("n") else ["stop"]
        choices = [
            {"index": k, "message": {"content": f"text {k}"}, "finish_reason": end} for k, end in enumerate(ends)
        ]
        usage = {"prompt_tokens": 8, "completion_tokens": 16}
        return Say(body=json.dumps({"choices": choices, "usage": usage}).encode())

    server.then = answer
    assert stage(run, server.base_url, 1, 4).done == 4
    assert [asked.get("n") for asked in server.requests] == [4, None]
    (failed,) = attempts(run)
    rows = run.store.rows("select id::varchar as id, text, finish_reason from completion order by sample_index")
    assert [(row["text"], row["finish_reason"]) for row in rows] == [
        ("text 0", "stop"), ("text 0", "stop"), ("text 2", "length"), ("text 3", "stop"),
    ]  # fmt: skip
    assert (failed["call"], failed["error"], failed["raw"]) == (rows[1]["id"], "ended early: abort", "text 1")


def test_what_another_model_answered_is_stored_as_such_and_said_once(
    run: Run, server: ScriptedServer, said: list[str]
) -> None:
    server.then = lambda asked: Say(body=body(model="another\x1b[2J" if "What is 0 " in str(asked) else "tiny"))
    stage(run, server.base_url, 3)
    stage(run, server.base_url, 6)
    server.then = lambda _: Say(body=body(model="a third"))
    stage(run, server.base_url, 8)
    stored(run)
    rows = run.store.rows("select answered_by, count(*) as n from completion group by all order by n")
    assert [(row["answered_by"], row["n"]) for row in rows] == [("another [2J", 1), ("a third", 2), (None, 5)]
    assert said == ["reasoner: its server says that another [2J answered, not tiny: completion.answered_by has it."]


# connections


def test_a_prompt_that_makes_a_server_drop_the_line_fails_alone_and_again(run: Run, server: ScriptedServer) -> None:
    server.then = lambda asked: Say(drop=True) if PROBLEMS[3].question in str(asked) else chat("The answer is 1.")
    first = stage(run, server.base_url, 12, concurrency=4)
    assert (first.done, first.failed, stored(run)) == (11, 1, 11)
    again = stage(run, server.base_url, 12, concurrency=4)
    assert (again.done, again.failed, stored(run)) == (0, 1, 11)
    assert {row["error"].partition(":")[0] for row in attempts(run)} == {"connection lost"}


def test_that_nothing_listens_at_one_server_says_nothing_of_another(server: ScriptedServer) -> None:
    nowhere = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1"
    server.then = lambda _: Say(drop=True)
    outcome, failures = ask(endpoint(nowhere, more_base_urls=(server.base_url,), max_retries=3))
    assert isinstance(outcome, CallFailedError)
    assert {failure.error.partition(":")[0] for failure in failures} >= {"connection lost"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_by_no_prompt_and_said_in_a_line(server: ScriptedServer, status: int) -> None:
    stranger = ScriptedServer()
    try:
        there = f"{stranger.base_url}/chat/completions"
        server.then = lambda _: Say(status, b"", {"location": there})
        outcome, failures = ask(endpoint(server.base_url, api_key=CANARY, max_retries=5))
        assert isinstance(outcome, EndpointError)
        assert str(outcome) == (
            f"A server points to another address (HTTP {status}): {server.base_url}/chat/completions -> {there} "
            "Nothing was sent there. If it is the right one, give it as the base URL of reasoner."
        )
        assert (server.calls, stranger.calls, len(failures)) == (1, 0, 1)
    finally:
        stranger.stop()


# keys


SPELT = "".join(f"\\u{ord(letter):04X}" for letter in CANARY)


@pytest.mark.parametrize(
    "spelling", [CANARY, SPELT, CANARY.replace("-", "\\u002d", 1)], ids=["plain", "escaped", "one"]
)
@pytest.mark.parametrize("place", ["id", "model", "finish_reason", "content", "error", "choices", "header"])
def test_a_key_that_comes_back_anywhere_is_kept_nowhere(
    run: Run, server: ScriptedServer, db: Path, said: list[str], place: str, spelling: str
) -> None:
    text = json.dumps({"content": "KEY"}) if place == "content" else "The answer is 1."
    choice = {"message": {"content": text}, "finish_reason": "KEY" if place == "finish_reason" else "stop"}
    more: dict[str, Any] = {place: "KEY"} if place in ("id", "model", "choices") else {}
    more |= {"error": {"message": "no", "param": "KEY"}} if place == "error" else {}
    server.then = lambda _: Say(
        307 if place == "header" else 200,
        body(choice, **more).replace(b"KEY", spelling.encode()),
        {"location": f"/v1/{spelling}"} if place == "header" else {},
    )
    try:
        stage(run, server.base_url, 1, api_key=CANARY, max_retries=0)
    except EndpointError as error:
        said.append(str(error))
    journal = b"".join(path.read_bytes() for path in db.parent.glob("*.journal*"))
    stored(run)
    rows = [Store(db).rows(f"from {table}") for table in ("completion", "attempt")]
    for kept in (repr(rows), "\n".join(said), journal.decode(), db.read_bytes().decode("latin-1")):
        assert CANARY not in kept
        assert SPELT not in kept
    assert server.headers[0]["authorization"] == f"Bearer {CANARY}"
