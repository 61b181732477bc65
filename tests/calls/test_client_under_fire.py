"""The client and its stage where servers are broken, hostile or mean: what is paid for is kept, and no key leaves."""

import asyncio
import random
import sys
import threading
import time
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from call_stage import SAMPLING, run_of, stage, stored
from client_calls import ASK, CANARY, GREEDY, LIES, ask, endpoint, many, reply_of
from scripted_server import Body, Say, ScriptedServer, chat, several

from lema_local.calls.client import CallFailedError, Client
from lema_local.calls.endpoint import Prompt
from lema_local.calls.failures import Failure
from lema_local.calls.pacing import Budget, Hosts
from lema_local.calls.replies import Reply
from lema_local.errors import BudgetError, EndpointError, StoreError
from lema_local.records.journal import Sealed
from lema_local.records.merging import merge
from lema_local.records.store import Writer
from lema_local.stages import ray_engine
from lema_local.stages.calls import Outcome
from lema_local.stages.desk import Failed, Job
from lema_local.stages.run import Run


@pytest.fixture
def run(store: Writer) -> Run:
    return run_of(store, [])


# hostile answers


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("charset", ["zlib", "idna", "punycode"])
def test_a_charset_of_the_server_s_choice_is_not_obeyed(server: ScriptedServer, status: int, charset: str) -> None:
    body = zlib.compress(b"x" * 1_000_000) if charset == "zlib" else b"a" * 50_000
    server.then = lambda _: Say(status, body, {"content-type": f"application/json; charset={charset}"})
    outcome, failures = ask(endpoint(server.base_url))
    assert isinstance(outcome, CallFailedError)
    assert {failure.status for failure in failures} == {status}


@pytest.mark.parametrize("header", [{"x-long": "x" * 90_000}, {"location": "/v1/x\r"}], ids=["too long", "torn"])
def test_what_is_no_http_is_a_failed_call_and_shows_no_header(server: ScriptedServer, header: dict[str, str]) -> None:
    server.then = lambda _: Say(302, b"", header)
    outcome, failures = ask(endpoint(server.base_url, api_key=CANARY))
    assert isinstance(outcome, CallFailedError)
    assert len(failures) == 2
    assert CANARY not in f"{outcome!r} {failures!r}"


def test_a_body_of_millions_of_objects_is_not_parsed(server: ScriptedServer) -> None:
    server.then = lambda _: Say(body=b'{"choices": [' + b"{}," * 1_000_000 + b"{}]}")
    _, failures = ask(endpoint(server.base_url, max_retries=0))
    assert failures[0].error == "more brackets than a reply has"


def test_a_key_that_json_spells_otherwise_is_taken_out_of_the_text(server: ScriptedServer) -> None:
    spelt = CANARY.replace("-", "\\u002d").encode()
    server.then = lambda _: Say(body=chat("KEY").body.replace(b"KEY", b"It is " + spelt))
    assert reply_of(endpoint(server.base_url, api_key=CANARY)).text == "It is [key]"


# what is no reason to stop a run


def test_a_refusal_that_only_speaks_of_models_fails_its_call_alone(server: ScriptedServer) -> None:
    server.then = lambda _: Say(400, b'{"detail": "too long", "input": {"model": "tiny", "q": "Do 3 apples exist?"}}')
    outcome, _ = ask(endpoint(server.base_url))
    assert isinstance(outcome, CallFailedError)


def test_one_prompt_without_usage_does_not_stop_a_server_that_counts_otherwise(server: ScriptedServer) -> None:
    async def second() -> None:
        async with Client(endpoint(server.base_url)) as client:
            await client.complete(ASK, GREEDY)
            server.then = lambda _: LIES["no usage"]
            await client.complete(ASK, GREEDY)

    with pytest.raises(CallFailedError):
        asyncio.run(second())


@pytest.mark.parametrize("status", [400, 403])
def test_calls_that_never_come_through_do_not_stop_a_rerun(run: Run, server: ScriptedServer, status: int) -> None:
    def answer(body: Body) -> Say:
        return Say(status, b"not this one") if "What is 3 " in str(body) else chat("The answer is 1.")

    server.then = answer
    assert stage(run, server.base_url, 5) == Outcome(4, 1)
    assert stage(run, server.base_url, 5) == Outcome(0, 1)


def test_a_key_that_is_refused_as_forbidden_ends_the_run_after_some_calls(run: Run, server: ScriptedServer) -> None:
    server.then = lambda _: Say(403, b"bad key")
    with pytest.raises(EndpointError, match=r"All 5 calls to reasoner failed.*api_key_env"):
        stage(run, server.base_url, 5)
    with pytest.raises(EndpointError, match=r"refused 20 prompts in a row \(HTTP 403: bad key\).*api_key_env"):
        stage(run, server.base_url, 64)
    assert server.calls == 5 + 5 + 20  # those of the first run do not count again


@pytest.mark.parametrize(("shares", "calls"), [(True, 20), (False, 64)])
def test_replicas_that_call_the_same_servers_count_refusals_together(
    run: Run, monkeypatch: pytest.MonkeyPatch, shares: bool, calls: int
) -> None:
    made = list[Job]()

    def exchange(jobs: list[Job], _: float) -> list[Failed]:
        made.extend(jobs)
        refusal = Failure("HTTP 400", 400, "credit balance is too low")
        return [e for job in jobs for e in (Failed(job.number, refusal), Failed(job.number, None, is_last=True))]

    desk = SimpleNamespace(exchange=SimpleNamespace(remote=exchange), close=SimpleNamespace(remote=list))
    idle = dict.fromkeys(("begin_shift", "end_shift", "is_working"), lambda: None)
    fleet: Any = SimpleNamespace(calls_only=shares, most=2, scale=SimpleNamespace(batch=1), tend=lambda *_: 2, **idle)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda value: value))
    run.engine = lambda work, endpoint: ray_engine._Shift(work, endpoint, fleet, desk).run()
    said = "refused 20 prompts in a row" if shares else "All 64 calls to reasoner failed"
    with pytest.raises(EndpointError, match=said):
        stage(run, "http://127.0.0.1:9/v1", 64)
    assert calls <= len(made) <= calls + 12  # what is on the desk is more than what is refused


@pytest.mark.parametrize("status", [400, 403])
def test_a_key_or_account_that_is_refused_after_replies_ends_the_run_after_some_calls(
    run: Run, server: ScriptedServer, status: int
) -> None:
    server.script = [chat("The answer is 1.")]
    server.then = lambda _: Say(status, f'{{"error":\n "Your credit balance is too low, {CANARY}"}}'.encode())
    said = rf"^{server.base_url} refused 20 prompts in a row \(HTTP {status}: .*balance is too low, \[key\].*again"
    with pytest.raises(EndpointError, match=said) as ended:
        stage(run, server.base_url, 64, api_key=CANARY)
    assert "\n" not in str(ended.value)
    assert stored(run) == 1
    assert server.calls == 1 + 20


def test_prompts_that_are_refused_among_replies_do_not_end_a_run_nor_its_rerun(
    run: Run, server: ScriptedServer
) -> None:
    def answer(body: Body) -> Say:
        flagged = int(body["messages"][0]["content"].split()[2]) % 2
        return Say(400, b"content_filter") if flagged else chat("The answer is 1.")

    server.then = answer
    assert stage(run, server.base_url, 64) == Outcome(32, 32)
    assert stage(run, server.base_url, 64) == Outcome(0, 32)  # all that are left, one after another


def test_one_prompt_that_is_refused_for_each_of_its_samples_does_not_end_a_run(
    run: Run, server: ScriptedServer
) -> None:
    server.then = lambda body: Say(400, b"too long") if "What is 1 " in str(body) else chat("The answer is 1.")
    assert stage(run, server.base_url, 2, 33) == Outcome(33, 33)


def test_a_prompt_that_is_refused_does_not_end_several_samples_by_one_request(server: ScriptedServer) -> None:
    def answer(body: Body) -> Say:
        if "long" in str(body["messages"]):
            return Say(400, b"too long")
        return several(["1", "2", "3"][: body.get("n", 1)])

    server.then = answer

    async def both() -> list[Reply | None]:
        async with Client(endpoint(server.base_url)) as client:
            with pytest.raises(CallFailedError):
                await client.samples(Prompt(messages=({"role": "user", "content": "long"},)), SAMPLING, (0, 1, 2))
            return await client.samples(ASK, SAMPLING, (0, 1, 2))

    assert [reply and reply.text for reply in asyncio.run(both())] == ["1", "2", "3"]


# what is under way when a run must end


def test_a_server_that_refuses_for_good_ends_the_run_after_the_calls_under_way(
    run: Run, server: ScriptedServer
) -> None:
    together = threading.Barrier(3)

    def answer(body: Body) -> Say:
        together.wait(10)  # all three are under way
        if "What is 0 " in str(body):
            return Say(429, b"", {"retry-after": "600"})  # it waits, and is not waited for
        if "What is 1 " in str(body):
            return Say(429, b'{"error": {"code": "insufficient_quota"}}', delay_s=0.3)
        return chat("paid for", delay_s=0.8)

    server.then = answer
    began = time.monotonic()
    with pytest.raises(EndpointError, match="insufficient_quota"):
        stage(run, server.base_url, 20, concurrency=3)
    assert time.monotonic() - began < 20
    assert stored(run) == 1
    assert server.calls == 3


def test_a_store_that_cannot_merge_ends_the_run_after_the_calls_under_way_which_are_kept(
    run: Run, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4)

    def answer(body: Body) -> Say:
        together.wait(10)  # all four are under way
        if "What is 0 " in str(body):
            return Say(429, b"", {"retry-after": "600"})  # it waits, and is not waited for
        return chat("paid for", delay_s=4.0 if "What is 3 " in str(body) else 3.0)

    def full(connection: Any, sealed: Sealed) -> dict[int, str]:
        if server.calls == 4:
            raise StoreError("Cannot write lema.duckdb: No space left on device.")
        return merge(connection, sealed)

    server.then = answer
    began = time.monotonic()
    with monkeypatch.context() as disk:
        disk.setattr("lema_local.records.merging.merge", full)
        with pytest.raises(StoreError, match="No space left"):
            stage(run, server.base_url, 20, concurrency=4)
    assert time.monotonic() - began < 20
    assert server.calls == 4
    assert stored(run) == 3


def test_samples_left_over_by_a_server_without_n_are_made_side_by_side(run: Run, server: ScriptedServer) -> None:
    most, now, lock = 0, 0, threading.Lock()

    def answer(_: Body) -> Say:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.2)
        with lock:
            now -= 1
        return chat("The answer is 1.")

    server.then = answer
    assert stage(run, server.base_url, 1, 12, concurrency=8) == Outcome(12, 0)
    assert most > 2


# several servers, low limits, long waits


def test_a_server_that_fails_fast_does_not_draw_the_work_of_the_others(server: ScriptedServer) -> None:
    broken = ScriptedServer()
    try:
        server.then = lambda _: chat("good", delay_s=0.02)
        broken.then = lambda _: Say(502, b"<html>Bad gateway")
        where = endpoint(broken.base_url, more_base_urls=(server.base_url,), concurrency=4, max_retries=2)
        assert len(many(where, 100)) == 100
        assert broken.calls < 20
    finally:
        broken.stop()


def test_a_low_limit_without_retry_after_is_found_and_kept_to(server: ScriptedServer) -> None:
    lock, allowance, last = threading.Lock(), 2.0, time.monotonic()

    def limited(_: Body) -> Say:
        nonlocal allowance, last
        with lock:
            now = time.monotonic()
            allowance, last = min(2.0, allowance + 60.0 * (now - last)), now
            if allowance < 1:
                return Say(429, b"slow down")
            allowance -= 1
        return chat("The answer is 1.", delay_s=0.1)

    server.then = limited
    assert len(many(endpoint(server.base_url, concurrency=64), 100)) == 100
    assert server.calls < 3 * 100  # 64 find out at once; then at most every third is refused


@pytest.mark.parametrize("status", [429, 503])
def test_of_a_wait_of_a_day_an_hour_is_obeyed_and_shown(server: ScriptedServer, status: int) -> None:
    server.then = lambda _: Say(status, b"", {"retry-after": "86400"})
    said: list[str] = []

    async def run() -> None:
        async with Client(endpoint(server.base_url, concurrency=2), on_notice=said.append) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*(client.complete(ASK, GREEDY) for _ in range(2))), 0.5)

    asyncio.run(run())
    assert said == [
        f"waiting 1:00:00: the server asks for it (reasoner, HTTP {status})",
        "reasoner: its server asks for a longer wait; it is asked again after 1:00:00.",
    ]


@pytest.mark.parametrize("status", [408, 500, 502])
def test_a_retry_after_beside_another_fault_is_not_obeyed(server: ScriptedServer, status: int) -> None:
    server.script = [Say(status, b"", {"retry-after": "86400"})]
    assert reply_of(endpoint(server.base_url)).text == "The answer is 1."


def test_a_retry_after_of_nothing_waits_longer_each_time() -> None:
    hosts = Hosts(("http://127.0.0.1:1/v1",), 4)
    host = asyncio.run(hosts.take())
    waits = []
    for _ in range(6):
        waits.append(hosts.cool(host, 0.0))
        host.closed_until = 0.0
    assert 0.0 < waits[0] < waits[2] < waits[5]


# money


def test_what_float_sums_leave_over_is_no_call_in_flight() -> None:
    budget, rolls, held = Budget(1e9), random.Random(0), list[float]()

    async def spend() -> None:
        for _ in range(20_000):
            held.append(rolls.random() * 0.01)
            await budget.reserve(held[-1])
            if len(held) == 64:
                budget.settle(held.pop(rolls.randrange(64)), 0.001)
        while held:
            budget.settle(held.pop(), 0.001)
        await asyncio.wait_for(budget.reserve(1e9), 2)

    with pytest.raises(BudgetError):
        asyncio.run(spend())
