"""The client against a scripted server: what it sends, and that a reply that lies is never taken for an answer."""

import asyncio
import json
import time
from typing import Any

import pytest
from conftest import Body, Say, ScriptedServer, chat, completion

from lema_local.client import CallFailedError, Client, Endpoint, Failure, Prompt, Reply, Sampling
from lema_local.errors import EndpointError
from lema_local.serving import free_port

GREEDY = Sampling(temperature=0.0, max_tokens=16)
ASK = Prompt(messages=({"role": "user", "content": "1 + 1"},))
CANARY = "sk-canary-7c1e2f"
WHOLE = json.loads(chat("The answer is 2.").body)


def endpoint(url: str, **more: Any) -> Endpoint:
    fields: dict[str, Any] = {
        "name": "reasoner",
        "served_model": "tiny",
        "model": "tiny",
        "identity": "x",
        "max_retries": 1,
    } | more
    return Endpoint(base_url=url, **fields)


def ask(
    where: Endpoint, prompt: Prompt = ASK, sampling: Sampling = GREEDY, *, index: int = 0
) -> tuple[Reply | Exception, list[Failure]]:
    """The reply, or the exception, and the failures on the way."""
    failures: list[Failure] = []

    async def run() -> Reply | Exception:
        async with Client(where) as client:
            try:
                return await client.complete(prompt, sampling, index=index, on_failure=failures.append)
            except (CallFailedError, EndpointError) as error:
                return error

    return asyncio.run(run()), failures


def reply_of(where: Endpoint, prompt: Prompt = ASK, sampling: Sampling = GREEDY, *, index: int = 0) -> Reply:
    outcome, failures = ask(where, prompt, sampling, index=index)
    assert isinstance(outcome, Reply), (outcome, failures)
    return outcome


def body(choice: object = None, **more: object) -> bytes:
    return json.dumps({**WHOLE, **({"choices": [choice]} if choice else {}), **more}).encode()


def test_a_chat_call_sends_messages_and_every_sampling_parameter(server: ScriptedServer) -> None:
    sampling = Sampling(temperature=0.7, max_tokens=99, top_p=0.9, seed=5, stop=("\nQuestion:",))
    reply = reply_of(endpoint(server.base_url, request={"top_k": 0}), ASK, sampling, index=3)
    assert server.paths == ["/v1/chat/completions"]
    assert server.requests[0] == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "1 + 1"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 99,
        "seed": 8,
        "stop": ["\nQuestion:"],
        "top_k": 0,
    }
    assert (reply.text, reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == (
        "The answer is 1.",
        "stop",
        10,
        5,
    )


def test_a_raw_completion_sends_one_text_and_the_reply_begins_with_the_prefill(server: ScriptedServer) -> None:
    server.then = lambda _: completion(" 1 + 1 = 2.", finish_reason="length")
    prompt = Prompt(text="Question: 1 + 1\nStep 1:", prefill="Step 1:")
    reply = reply_of(endpoint(server.base_url, api="completions"), prompt)
    assert server.paths == ["/v1/completions"]
    assert server.requests[0]["prompt"] == "Question: 1 + 1\nStep 1:"
    assert not {"messages", "seed", "stop"} & server.requests[0].keys()
    assert reply.text == "Step 1: 1 + 1 = 2."
    assert reply.finish_reason == "length"
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


def test_cost_is_tokens_times_price_and_unknown_without_a_price(server: ScriptedServer) -> None:
    priced = endpoint(server.base_url, usd_per_million_input=2.0, usd_per_million_output=8.0)
    assert reply_of(priced).cost_usd == pytest.approx((10 * 2 + 5 * 8) / 1e6)
    assert reply_of(endpoint(server.base_url)).cost_usd is None


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_a_server_fault_is_retried(server: ScriptedServer, status: int) -> None:
    server.script = [Say(status, b"upstream is down")]
    outcome, failures = ask(endpoint(server.base_url))
    assert isinstance(outcome, Reply)
    assert failures == [Failure(f"HTTP {status}", status, "upstream is down")]
    assert server.calls == 2


def test_retry_after_is_obeyed_and_uses_up_no_retry(server: ScriptedServer) -> None:
    server.script = [Say(429, b"slow down", {"retry-after": "0.3"})] * 3
    outcome, failures = ask(endpoint(server.base_url, max_retries=0))
    assert isinstance(outcome, Reply)
    assert [failure.status for failure in failures] == [429] * 3
    assert min(b - a for a, b in zip(server.times, server.times[1:], strict=False)) >= 0.29


def test_one_429_slows_every_task(server: ScriptedServer) -> None:
    server.script = [Say(429, b"", {"retry-after": "0.5"})]

    async def run() -> None:
        async with Client(endpoint(server.base_url)) as client:
            first = asyncio.create_task(client.complete(ASK, GREEDY))
            await asyncio.sleep(0.25)
            await asyncio.gather(first, *(client.complete(ASK, GREEDY) for _ in range(3)))

    asyncio.run(run())
    assert server.calls == 5
    assert min(server.times[1:]) - server.times[0] >= 0.49


LIES = {
    "empty body": Say(body=b""),
    "spaces only": Say(body=b" \n "),
    "HTML": Say(body=b"<html><h1>Bad gateway</h1></html>", headers={"content-type": "text/html"}),
    "error object": Say(body=body(error={"message": "overloaded"})),
    "a list": Say(body=b"[]"),
    "null": Say(body=b"null"),
    "null choices": Say(body=body(choices=None)),
    "empty choices": Say(body=body(choices=[])),
    "choices of text": Say(body=body("2")),
    "null message": Say(body=body({"message": None})),
    "null content": Say(body=body({"message": {"role": "assistant", "content": None}})),
    "content that is a list": Say(body=body({"message": {"content": [1]}})),
    "JSON cut off": Say(body=chat("The answer is 2.").body[:-9]),
    "deeply nested": Say(body=b"[" * 200_000),
    "connection dropped in the body": Say(body=chat("The answer is 2.").body, cut=True),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_200_that_lies_is_a_failed_call_and_retried_a_bounded_number_of_times(
    server: ScriptedServer, lie: Say
) -> None:
    server.then = lambda _: lie
    outcome, failures = ask(endpoint(server.base_url))
    assert isinstance(outcome, CallFailedError)
    assert server.calls == len(failures) == 2
    if not lie.cut:
        assert [failure.status for failure in failures] == [200, 200]
        assert failures[0].raw == lie.body.decode()[:4000]


def test_a_lie_then_the_truth_is_an_answer(server: ScriptedServer) -> None:
    server.script = [LIES["HTML"]]
    assert reply_of(endpoint(server.base_url)).text == "The answer is 1."


def test_a_hanging_server_is_left_at_the_deadline(server: ScriptedServer) -> None:
    server.then = lambda _: Say(hang=True)
    started = time.monotonic()
    outcome, failures = ask(endpoint(server.base_url, deadline_s=0.3, max_retries=0))
    assert time.monotonic() - started < 2
    assert isinstance(outcome, CallFailedError)
    assert failures[0].error == "no answer within 0.3 s"


FINAL = {
    "bad key": (401, b"{}", "api_key_env"),
    "forbidden": (403, b"{}", "api_key_env"),
    "no such model": (404, b"{}", "'tiny'"),
    "model does not exist": (400, b"The model `tiny` does not exist", "'tiny'"),
    "no credit": (429, b'{"error": {"code": "insufficient_quota"}}', "insufficient_quota"),
}


@pytest.mark.parametrize(("status", "raw", "named"), FINAL.values(), ids=FINAL.keys())
def test_what_no_retry_can_mend_ends_at_once_in_one_line(
    server: ScriptedServer, status: int, raw: bytes, named: str
) -> None:
    server.then = lambda _: Say(status, raw)
    outcome, _ = ask(endpoint(server.base_url, max_retries=5))
    assert server.calls == 1
    assert isinstance(outcome, EndpointError)
    assert server.base_url in str(outcome)
    assert named in str(outcome)
    assert "\n" not in str(outcome)


def test_a_request_the_server_will_not_have_fails_alone_and_is_not_retried(server: ScriptedServer) -> None:
    server.then = lambda _: Say(400, b"prompt is too long")
    outcome, failures = ask(endpoint(server.base_url, max_retries=5))
    assert isinstance(outcome, CallFailedError)
    assert len(failures) == server.calls == 1


def test_an_unreachable_server_is_named_with_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1"
    outcome, _ = ask(endpoint(url, max_retries=0, hint="Start it with `lema serve`."))
    assert isinstance(outcome, EndpointError)
    assert str(outcome) == f"No server at {url}. Start it with `lema serve`."


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
def test_the_key_is_sent_and_never_kept_though_the_server_echoes_it(server: ScriptedServer, status: int) -> None:
    def echo(_: Body) -> Say:
        return Say(status, f"your key {server.headers[-1]['authorization']} ".encode() + b"x" * 5000)

    server.then = echo
    where = endpoint(server.base_url, api_key=CANARY, max_retries=0)
    outcome, failures = ask(where)
    assert server.headers[0]["authorization"] == f"Bearer {CANARY}"
    assert failures
    assert all(failure.raw and len(failure.raw) <= 4000 for failure in failures)
    assert CANARY not in f"{outcome!r} {outcome} {failures!r} {where!r}"
    assert not isinstance(outcome, CallFailedError) or CANARY not in repr(outcome.failure)
