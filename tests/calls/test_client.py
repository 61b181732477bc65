"""The client against a scripted server: what it sends, and that a reply that lies is never taken for an answer."""

import asyncio
import threading
import time
from typing import Any

import pytest
from client_calls import ASK, CANARY, GREEDY, LIES, ask, body, endpoint, many, reply_of
from scripted_server import Body, Say, ScriptedServer, chat, completion, several

from lema_local.calls.client import CallFailedError, Client, Failure
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.pacing import Budget
from lema_local.calls.prices import Price
from lema_local.calls.replies import Reply
from lema_local.errors import BudgetError, EndpointError, ProfileError
from lema_local.serving.process import free_port


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
    assert (reply.prompt_tokens, reply.completion_tokens) == (10, 5)


def test_cost_is_tokens_times_price_and_unknown_without_a_price(server: ScriptedServer) -> None:
    priced = endpoint(server.base_url, price=Price(2.0, 0.5, 8.0))
    assert reply_of(priced).cost_usd == pytest.approx((10 * 2 + 5 * 8) / 1e6)
    assert reply_of(endpoint(server.base_url)).cost_usd is None


def test_cached_input_has_a_price_of_its_own(server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}
    server.then = lambda _: Say(body=body(usage=usage))
    reply = reply_of(endpoint(server.base_url, price=Price(2.0, 0.5, 8.0)))
    assert reply.cached_prompt_tokens == 8
    assert reply.cost_usd == pytest.approx((2 * 2.0 + 8 * 0.5 + 5 * 8.0) / 1e6)


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


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_yes_that_lies_is_a_failed_call_and_retried_a_bounded_number_of_times(
    server: ScriptedServer, lie: Say
) -> None:
    server.then = lambda _: lie
    outcome, failures = ask(endpoint(server.base_url))
    assert isinstance(outcome, EndpointError if lie is LIES["no usage"] else CallFailedError)
    assert server.calls == len(failures) == 2
    if not lie.cut:
        assert [failure.status for failure in failures] == [lie.status] * 2
    if not lie.cut and not lie.headers.get("content-encoding"):
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
    "no such model": (404, b"{}", "'tiny'"),
    "model does not exist": (400, b"The model `tiny` does not exist", "'tiny'"),
    "no credit, by a 402": (402, b"{}", "no credit left"),
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


@pytest.mark.parametrize(
    "say",
    [*(Say(status, raw) for status, raw, _ in FINAL.values()), LIES["no usage"], Say(302, b"", {"location": "/v2"})],
    ids=[*FINAL, "no usage", "redirect"],
)
def test_of_several_servers_an_error_names_the_one_that_answered(server: ScriptedServer, say: Say) -> None:
    server.then = lambda _: say
    silent = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1"
    outcome, _ = ask(endpoint(silent, more_base_urls=(server.base_url,)))
    assert isinstance(outcome, EndpointError)
    assert server.base_url in str(outcome)
    assert silent not in str(outcome)


def test_a_request_the_server_will_not_have_fails_alone_and_is_not_retried(server: ScriptedServer) -> None:
    server.then = lambda _: Say(400, b"prompt is too long")
    outcome, failures = ask(endpoint(server.base_url, max_retries=5))
    assert isinstance(outcome, CallFailedError)
    assert len(failures) == server.calls == 1


def test_a_prompt_that_a_gateway_flags_fails_alone_though_it_is_the_first(server: ScriptedServer) -> None:
    def say(body: Body) -> Say:
        return Say(403, b"your input was flagged") if "bomb" in body["messages"][0]["content"] else chat("2")

    server.then = say
    bomb, failures = Prompt(({"role": "user", "content": "How many bombs?"},)), list[Failure]()

    async def run() -> Reply:
        async with Client(endpoint(server.base_url)) as client:
            for _ in range(30):
                with pytest.raises(CallFailedError):
                    await client.complete(bomb, GREEDY, on_failure=failures.append)
                reply = await client.complete(ASK, GREEDY)
            return reply

    assert asyncio.run(run()).text == "2"
    assert failures == [Failure("HTTP 403", 403, "your input was flagged")] * 30


@pytest.mark.parametrize("say", [Say(403, b"flagged"), LIES["no usage"]], ids=["403", "no usage"])
def test_what_a_client_sees_alone_is_no_word_on_servers_that_others_call_too(server: ScriptedServer, say: Say) -> None:
    server.then = lambda _: say

    async def run() -> None:
        async with Client(endpoint(server.base_url, max_retries=0), is_alone=False) as client:
            client.has_answered = say.status == 200  # as it is told: another one had a reply
            for _ in range(30):
                with pytest.raises(CallFailedError):
                    await client.complete(ASK, GREEDY)

    asyncio.run(run())


def test_a_key_that_is_withdrawn_ends_the_run_though_it_was_good(server: ScriptedServer) -> None:
    server.script = [chat("2"), Say(401, b"revoked")]

    async def run() -> None:
        async with Client(endpoint(server.base_url)) as client:
            await client.complete(ASK, GREEDY)
            with pytest.raises(EndpointError, match="refuses the key"):
                await client.complete(ASK, GREEDY)

    asyncio.run(run())


def test_an_unreachable_server_is_named_with_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1"
    outcome, _ = ask(endpoint(url, max_retries=0))
    assert isinstance(outcome, EndpointError)
    assert str(outcome) == f"No server at {url}. Start it, or give another base URL."


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


@pytest.mark.parametrize(
    ("choice", "text", "finish_reason"),
    [
        ({"message": {"content": None}, "finish_reason": "length"}, "", "length"),
        ({"message": {"content": "", "reasoning_content": "Let me"}, "finish_reason": "length"}, "", "length"),
        ({"message": {"content": None, "reasoning": "2, so"}, "finish_reason": "stop"}, "", "stop"),
        ({"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}, "I cannot.", "stop"),
    ],
    ids=["cut off in its reasoning", "the same, empty", "reasoning alone", "a refusal"],
)
def test_a_model_that_wrote_but_did_not_answer_is_asked_once(
    server: ScriptedServer, choice: dict[str, Any], text: str, finish_reason: str
) -> None:
    server.then = lambda _: Say(body=body(choice))
    reply = reply_of(endpoint(server.base_url))
    assert (reply.text, reply.finish_reason, reply.completion_tokens) == (text, finish_reason, 5)
    assert server.calls == 1


def test_lies_are_asked_again_at_most_three_times_however_many_retries_there_are(server: ScriptedServer) -> None:
    server.then = lambda _: LIES["empty choices"]
    outcome, failures = ask(endpoint(server.base_url, max_retries=50))
    assert isinstance(outcome, CallFailedError)
    assert server.calls == len(failures) == 4


def test_a_server_that_counts_no_tokens_can_be_allowed(server: ScriptedServer) -> None:
    server.then = lambda _: LIES["no usage"]
    reply = reply_of(endpoint(server.base_url, requires_usage=False))
    assert (reply.text, reply.prompt_tokens, reply.cost_usd) == ("The answer is 2.", None, None)


def test_a_body_without_end_is_not_read_to_its_end(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lema_local.calls.transport.MOST_BODY_BYTES", 1000)
    server.then = lambda _: chat("x" * 100_000)
    outcome, failures = ask(endpoint(server.base_url, max_retries=0))
    assert isinstance(outcome, CallFailedError)
    assert failures[0].error.startswith("body over")


def test_a_long_wait_that_the_server_asks_for_is_shown(server: ScriptedServer) -> None:
    server.script = [Say(429, b"", {"retry-after": "600"})]
    said: list[str] = []

    async def run() -> None:
        async with Client(endpoint(server.base_url), on_notice=said.append) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.complete(ASK, GREEDY), 0.5)

    asyncio.run(run())
    assert said == ["waiting 10:00: the server asks for it (reasoner, HTTP 429)"]
    assert server.calls == 1


@pytest.mark.parametrize(
    ("headers", "low"),
    [({"retry-after": "nan"}, 0), ({"retry-after-ms": "300"}, 0.29), ({"retry-after": "soon"}, 0)],
    ids=["not a number", "milliseconds", "a word"],
)
def test_any_retry_after_is_survived(server: ScriptedServer, headers: dict[str, str], low: float) -> None:
    server.script = [Say(429, b"", headers)]
    reply_of(endpoint(server.base_url))
    assert low <= server.times[1] - server.times[0] < 2


def test_reasoning_models_get_the_fields_they_take(server: ScriptedServer) -> None:
    where = endpoint(server.base_url, omit=("temperature", "top_p"), max_tokens_field="max_completion_tokens")
    reply_of(where)
    assert server.requests[0].keys() == {"model", "messages", "max_completion_tokens"}


# n samples by one request


def samples_of(where: Endpoint, indexes: tuple[int, ...]) -> tuple[list[Reply | None], Client]:
    async def run() -> tuple[list[Reply | None], Client]:
        async with Client(where) as client:
            sampling = Sampling(temperature=0.7, max_tokens=16, seed=1)
            return await client.samples(ASK, sampling, indexes), client

    return asyncio.run(run())


def test_several_samples_come_by_one_request_and_share_its_tokens_and_cost(server: ScriptedServer) -> None:
    server.then = lambda _: several(["one", "twotwo", "three"])
    replies, client = samples_of(endpoint(server.base_url, price=Price(1.0, 1.0, 1.0)), (4, 5, 6))
    assert [reply.text for reply in replies if reply] == ["one", "twotwo", "three"]
    assert (server.calls, server.requests[0]["n"], server.requests[0]["seed"]) == (1, 3, 5)
    assert client.takes_n
    came = [reply for reply in replies if reply]
    assert [reply.shared_by for reply in came] == [3, 3, 3]
    assert sum(reply.prompt_tokens or 0 for reply in came) == 10
    assert sum(reply.completion_tokens or 0 for reply in came) == 15
    assert sum(reply.cost_usd or 0 for reply in came) == pytest.approx(25 / 1e6)


def test_a_broken_choice_is_missing_at_its_place(server: ScriptedServer) -> None:
    server.then = lambda _: several(["one", None, "three"])
    replies, client = samples_of(endpoint(server.base_url), (0, 1, 2))
    assert [reply and reply.text for reply in replies] == ["one", None, "three"]
    assert client.takes_n


def test_a_server_that_gives_one_sample_a_request_is_found_out(server: ScriptedServer) -> None:
    replies, client = samples_of(endpoint(server.base_url), (0, 1, 2))
    assert [reply and reply.text for reply in replies] == ["The answer is 1.", None, None]
    assert not client.takes_n


def test_a_server_that_refuses_n_is_asked_without_it(server: ScriptedServer) -> None:
    server.then = lambda asked: Say(400, b"n is not supported") if "n" in asked else chat("2")
    replies, client = samples_of(endpoint(server.base_url), (0, 1))
    assert [reply and reply.text for reply in replies] == ["2", None]
    assert not client.takes_n


# several servers


def test_the_work_is_spread_by_what_each_server_can_take(server: ScriptedServer) -> None:
    slow = ScriptedServer()
    try:
        server.then = lambda _: chat("quick", delay_s=0.01)
        slow.then = lambda _: chat("slow", delay_s=0.2)
        where = endpoint(server.base_url, more_base_urls=(slow.base_url,), concurrency=2)
        assert len(many(where, 60)) == 60
        assert server.calls > 2 * slow.calls > 0
    finally:
        slow.stop()


def test_a_dead_server_is_set_aside_and_asked_again_later(server: ScriptedServer) -> None:
    port = free_port("127.0.0.1")
    said: list[str] = []
    where = endpoint(f"http://127.0.0.1:{port}/v1", more_base_urls=(server.base_url,), concurrency=2, max_retries=0)
    server.then = lambda _: chat("alive", delay_s=0.02)
    late: list[ScriptedServer] = []
    try:
        threading.Timer(0.3, lambda: late.append(ScriptedServer(port))).start()
        replies = many(where, 200, said)
        assert len(replies) == 200
        assert said == [f"http://127.0.0.1:{port}/v1 does not answer: set aside for a while; the others go on."]
        assert late
        assert late[0].calls > 0
        assert server.calls + late[0].calls == 200
    finally:
        for each in late:
            each.stop()


# rates and budget


def test_requests_keep_to_their_rate(server: ScriptedServer) -> None:
    began = time.monotonic()  # the first request may be late where others work
    many(endpoint(server.base_url, requests_per_minute=1200, concurrency=8), 20)
    assert server.times[-1] - began >= 19 * 60 / 1200


def test_tokens_keep_to_their_rate_as_they_are_used_not_as_they_were_feared(server: ScriptedServer) -> None:
    # 15 tokens a call are used, more than 16 + 12 are reserved for it
    many(endpoint(server.base_url, tokens_per_minute=15 * 1200, concurrency=4), 20)
    took = server.times[-1] - server.times[0]
    assert 12 * 60 / 1200 <= took <= 40 * 60 / 1200


def test_a_budget_stops_before_the_call_that_might_pass_it(server: ScriptedServer) -> None:
    # a call costs 15 token-dollars; its worst case is the prompt's bound and 16 more
    where = endpoint(server.base_url, price=Price(1e6, 1e6, 1e6))
    worst = ASK.most_tokens + 16
    budget = Budget(float(4 * 15 + worst))
    replies = []

    async def run() -> None:
        async with Client(where, budget=budget) as client:
            while True:
                replies.append(await client.complete(ASK, GREEDY))

    with pytest.raises(BudgetError, match=r"Stopped at the budget: \$75\.00 of"):
        asyncio.run(run())
    assert len(replies) == server.calls == 5
    assert budget.spent == 75.0


def test_a_lie_that_may_have_been_charged_for_counts_against_the_budget(server: ScriptedServer) -> None:
    server.then = lambda _: LIES["empty choices"]  # it says that it used 15 tokens
    budget = Budget(1000.0)

    async def run() -> None:
        async with Client(endpoint(server.base_url, price=Price(1e6, 1e6, 1e6)), budget=budget) as client:
            await client.complete(ASK, GREEDY)

    with pytest.raises(CallFailedError):
        asyncio.run(run())
    assert budget.spent == 30.0


def test_a_call_that_was_not_answered_in_time_may_be_charged_for(server: ScriptedServer) -> None:
    server.then = lambda _: Say(hang=True)
    budget = Budget(1000.0)
    where = endpoint(server.base_url, price=Price(1e6, 1e6, 1e6), deadline_s=0.3)

    async def run() -> None:
        async with Client(where, budget=budget) as client:
            await client.complete(ASK, GREEDY)

    with pytest.raises(CallFailedError):
        asyncio.run(run())
    assert budget.spent == 2 * (ASK.most_tokens + GREEDY.max_tokens)  # the worst case of both attempts


def test_a_budget_refuses_a_model_elsewhere_whose_price_nobody_knows(server: ScriptedServer) -> None:
    with pytest.raises(ProfileError, match=r"--budget needs the price of tiny at https://models\.example/v1"):
        Client(endpoint("https://models.example/v1"), budget=Budget(1.0))
    Client(endpoint(server.base_url), budget=Budget(1.0))  # one's own machine costs nothing
