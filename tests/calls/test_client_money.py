"""What a run may spend: no server, however it counts, writes or drops, makes it more."""

import asyncio
import json
import threading
from typing import Any

import pytest
from call_stage import run_of, stage
from client_calls import ASK, GREEDY, ask, body, endpoint, reply_of
from scripted_server import Body, Say, ScriptedServer, chat, several

from lema_local.calls.client import CallFailedError, Client
from lema_local.calls.endpoint import Prompt, Sampling
from lema_local.calls.pacing import Budget
from lema_local.calls.prices import Price
from lema_local.calls.replies import Reply
from lema_local.calls.transport import is_loopback
from lema_local.errors import BudgetError, ProfileError
from lema_local.records.store import Writer

DOLLAR_A_TOKEN = Price(1e6, 1e6, 1e6)
WORST = ASK.most_tokens + GREEDY.max_tokens


def used(prompt: int, completion: int, text: str = "The answer is 2.", **more: Any) -> Say:
    """A reply that counts so many tokens."""
    return Say(
        body=body(
            {"message": {"content": text}, "finish_reason": "stop"},
            usage={"prompt_tokens": prompt, "completion_tokens": completion},
            **more,
        )
    )


def spend(
    server: ScriptedServer, budget: Budget, *, prompt: Prompt = ASK, at_once: int = 8, **more: Any
) -> list[Reply]:
    """The replies that came until the budget ended it; many calls at once, as a stage makes them."""
    replies: list[Reply] = []

    async def run() -> None:
        where = endpoint(server.base_url, price=DOLLAR_A_TOKEN, concurrency=at_once, **more)
        async with Client(where, budget=budget) as client:

            async def work() -> None:
                for _ in range(20):
                    try:
                        replies.append(await client.complete(prompt, GREEDY))
                    except CallFailedError:
                        continue

            outcomes = await asyncio.gather(*(work() for _ in range(at_once)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {BudgetError}

    asyncio.run(run())
    return replies


def test_a_call_that_was_dropped_without_an_answer_may_be_charged_for(server: ScriptedServer) -> None:
    server.then = lambda _: Say(drop=True)
    budget = Budget(2.5 * WORST)
    assert spend(server, budget, at_once=1, max_retries=0) == []
    assert (server.calls, budget.spent) == (2, 2 * WORST)


@pytest.mark.parametrize("status", [502, 504])
def test_what_a_gateway_lost_may_be_charged_for(server: ScriptedServer, status: int) -> None:
    server.then = lambda _: Say(status)
    budget = Budget(1.5 * WORST)
    assert spend(server, budget, at_once=1, max_retries=0) == []
    assert (server.calls, budget.spent) == (1, WORST)


def test_a_server_that_writes_more_than_it_may_is_asked_once_however_many_wait(server: ScriptedServer) -> None:
    server.then = lambda _: used(10, 200, "2 " * 200)
    budget = Budget(10 * WORST)
    assert len(spend(server, budget)) == server.calls == 1  # what it wrote is kept
    assert budget.spent == 210


def test_so_is_one_that_counts_more_than_was_asked_for_and_sends_nothing(server: ScriptedServer) -> None:
    server.then = lambda _: Say(body=body(choices=[], usage={"prompt_tokens": 10, "completion_tokens": 17}))
    budget = Budget(10 * WORST)
    assert spend(server, budget) == []
    assert (server.calls, budget.spent) == (1, 27)


def test_one_that_begins_to_later_ends_the_run_after_the_calls_under_way(server: ScriptedServer) -> None:
    together = threading.Barrier(8)

    def answer(_: Body) -> Say:
        if server.calls > 1:
            together.wait(10)
        return used(10, 5 if server.calls == 1 else 200, "2 " * 200)

    server.then = answer
    budget = Budget(1e6)
    assert len(spend(server, budget)) == server.calls == 9


def test_the_line_says_who_and_how_much(server: ScriptedServer) -> None:
    server.then = lambda _: used(10, 200, "2 " * 200)

    async def run() -> None:
        where = endpoint(server.base_url, price=DOLLAR_A_TOKEN)
        async with Client(where, budget=Budget(1000.0)) as client:
            await client.complete(ASK, GREEDY)
            await client.complete(ASK, GREEDY)

    with pytest.raises(BudgetError) as error:
        asyncio.run(run())
    assert str(error.value) == (
        f"Stopped with $210.00 of $1000.00 spent: {server.base_url} counts 200 tokens of a reply of which 16 at most "
        "were asked for, and no budget holds a server that does not keep to max_tokens. What came is kept; run without "
        "--budget, or give another base URL."
    )


@pytest.mark.parametrize(
    "letters", ["8" * 400, "$%&/" * 100, "\u6570\u5b66" * 80], ids=["digits", "symbols", "Chinese"]
)
def test_a_tokenizer_that_makes_a_token_of_every_byte_passes_no_budget(server: ScriptedServer, letters: str) -> None:
    prompt = Prompt(messages=({"role": "user", "content": letters},))
    server.then = lambda _: used(len(letters.encode()) + 40, 16)
    budget = Budget(3.5 * (prompt.most_tokens + 16))
    assert spend(server, budget, prompt=prompt)
    assert budget.spent <= budget.usd


@pytest.mark.parametrize("tokens", [lambda n: n + 700, lambda n: 3 * n], ids=["a text of its own", "longer tokens"])
def test_a_prompt_that_is_longer_than_thought_is_reserved_so_from_then_on(server: ScriptedServer, tokens: Any) -> None:
    server.then = lambda _: used(tokens(ASK.most_tokens), 16)
    budget = Budget(5.5 * (tokens(ASK.most_tokens) + 16))
    assert len(spend(server, budget)) == server.calls == 5
    assert budget.spent <= budget.usd


def test_a_count_that_cannot_be_true_is_not_believed_and_said_once(server: ScriptedServer) -> None:
    server.then = lambda _: used(2_000_000_000, 2_000_000_000)
    said: list[str] = []

    async def run() -> list[Reply]:
        where = endpoint(server.base_url, price=Price(1.0, 1.0, 1.0))
        async with Client(where, on_notice=said.append) as client:
            return [await client.complete(ASK, GREEDY) for _ in range(3)]

    for reply in asyncio.run(run()):
        assert reply.prompt_tokens == ASK.most_tokens + 100_000
        assert reply.completion_tokens == 4 * len(server.then({}).body)  # the bytes that came
        assert reply.cost_usd
        assert reply.cost_usd < 0.2
    assert said == ["reasoner: its server counts 2,000,000,000 tokens for one call: no more is believed than can be."]


def test_a_count_that_is_written_as_a_fraction_is_a_count(server: ScriptedServer) -> None:
    server.then = lambda _: used(50.0, 5.0)  # type: ignore[arg-type]
    reply = reply_of(endpoint(server.base_url))
    assert (reply.prompt_tokens, reply.completion_tokens) == (50, 5)


# llama.cpp's own server counts the tokens of its first choice alone


def test_a_server_that_counts_one_of_several_samples_is_asked_for_one_at_a_time(server: ScriptedServer) -> None:
    def answer(asked: Body) -> Say:
        whole = json.loads(several(["1", "2", "3"][: asked.get("n", 1)]).body)
        return Say(
            body=json.dumps(whole | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}, "timings": {}}).encode()
        )

    server.then = answer
    budget = Budget(1e6)

    async def run() -> tuple[list[Reply | None], float, list[Reply | None]]:
        where = endpoint(server.base_url, price=DOLLAR_A_TOKEN)
        async with Client(where, budget=budget) as client:
            first = await client.samples(ASK, Sampling(temperature=0.7, max_tokens=16), (0, 1, 2))
            return first, budget.spent, await client.samples(ASK, Sampling(temperature=0.7, max_tokens=16), (1, 2))

    first, spent, second = asyncio.run(run())
    assert [reply and (reply.text, reply.completion_tokens) for reply in first] == [("1", 5), None, None]
    assert spent == ASK.most_tokens + 3 * 16  # nobody knows what the two others were
    assert [reply and reply.text for reply in second] == ["1", None]
    assert [asked.get("n") for asked in server.requests] == [3, None]


def test_such_a_server_that_refuses_so_many_is_asked_for_one_at_a_time(server: ScriptedServer) -> None:
    refusal = b'{"error": {"code": 400, "message": "n_cmpl cannot be greater than the number of slots"}}'
    server.then = lambda asked: Say(400, refusal) if "n" in asked else chat("2")
    outcome, _ = ask(endpoint(server.base_url))
    assert isinstance(outcome, Reply)

    async def run() -> list[Reply | None]:
        async with Client(endpoint(server.base_url)) as client:
            return await client.samples(ASK, Sampling(temperature=0.7, max_tokens=16), (0, 1, 2))

    assert [reply and reply.text for reply in asyncio.run(run())] == ["2", None, None]


@pytest.mark.parametrize("url", ["https://gpu.example.com/v1", "https://127.0.0.1.gpu.example.com/v1"])
def test_a_hosted_model_without_a_price_is_refused_with_a_budget_by_whichever_engine(store: Writer, url: str) -> None:
    run, asked = run_of(store, []), list[str]()
    run.budget = Budget(1.0)
    run.engine = lambda work, endpoint: asked.append(endpoint.name)  # a cluster's
    with pytest.raises(ProfileError, match="--budget needs the price of tiny"):
        stage(run, url, 1)
    assert asked == []


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://[::ffff:127.0.0.1]:8000/v1", True),
        ("http://LOCALHOST.:8000/v1", True),
        ("http://0.0.0.0:8000/v1", True),
        ("http://[::ffff:10.0.0.1]:8000/v1", False),
        ("http://127.0.0.1.gpu.example.com/v1", False),
        ("http://127.example.com/v1", False),
        ("http://localhost.example.com/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://[::2]/v1", False),
    ],
)
def test_only_an_address_of_this_machine_is_one_of_this_machine(url: str, is_here: bool) -> None:
    assert is_loopback(url) is is_here
