"""The desk without a cluster: who has which job, what comes of a lost replica, and the limits that all share."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from client_calls import ASK, GREEDY, endpoint

from lema_local.calls.failures import Failure
from lema_local.calls.pacing import Budget
from lema_local.calls.prices import Price
from lema_local.calls.replies import Reply
from lema_local.stages.desk import Desk, Failed, Handout, Job, Replied, Stopped

T = TypeVar("T")
URL = "http://127.0.0.1:9/v1"
JOBS = [Job(number, ASK, GREEDY, (0,)) for number in range(6)]


def replied(number: int) -> Replied:
    return Replied(number, [Reply("The answer is 2.", "stop", 10, 5, 0.1, None)], takes_n=True)


def numbers(handout: Handout | None) -> list[int]:
    assert handout is not None
    return [job.number for job in handout.jobs]


def at_a_desk(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 10))


def test_a_lost_replica_s_jobs_go_to_another_and_what_it_still_brings_is_not_taken() -> None:
    async def work() -> None:
        desk = Desk(endpoint(URL, concurrency=8), None, shares=True)
        await desk.exchange(JOBS, 0.0)
        assert numbers(await desk.take("a", 4)) == [0, 1, 2, 3]
        await desk.give("a", [replied(1), Failed(2, Failure("HTTP 500")), Failed(3, None, is_last=True)])
        await desk.lose("a")
        assert numbers(await desk.take("b", 9)) == [0, 2, 4, 5]  # first what was out, in its order
        await desk.give("a", [replied(0)])  # it lives after all
        await desk.give("b", [replied(0)])
        events = await desk.exchange([], 0.0)
        assert [(type(event).__name__, event.number) for event in events if isinstance(event, Replied | Failed)] == [
            ("Replied", 1), ("Failed", 2), ("Failed", 3), ("Replied", 0)
        ]  # fmt: skip

    at_a_desk(work())


def test_replicas_wait_for_jobs_until_there_will_be_none() -> None:
    async def work() -> None:
        desk = Desk(endpoint(URL), None, shares=False)
        waiting = [asyncio.create_task(desk.take(name, 1)) for name in "ab"]
        await asyncio.sleep(0)
        await desk.exchange(JOBS[:1], 0.0)
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in waiting) == 1
        await desk.exchange(JOBS[1:3], 0.0)
        handouts = [await task for task in waiting]
        assert sorted(number for handout in handouts for number in numbers(handout)) == [0, 1]
        assert await desk.close() == [2]
        assert await desk.take("a", 1) is None

    at_a_desk(work())


def test_a_lost_replica_that_waits_for_jobs_takes_none_from_the_others() -> None:
    async def work() -> None:
        desk = Desk(endpoint(URL), None, shares=True)
        waiting = asyncio.create_task(desk.take("a", 9))
        await asyncio.sleep(0)
        await desk.lose("a")
        await desk.exchange(JOBS[:2], 0.0)
        assert numbers(await desk.take("b", 1)) == [0]
        assert await waiting is None
        assert await desk.take("a", 1) is None
        assert numbers(await desk.take("b", 1)) == [1]

    at_a_desk(work())


@pytest.mark.parametrize(("shares", "each"), [(True, [3, 3, 2]), (False, [8, 8, 8])])
def test_servers_that_all_call_are_shared_out(shares: bool, each: list[int]) -> None:
    async def work() -> list[int]:
        desk = Desk(endpoint(URL, concurrency=8), None, shares=shares)
        await desk.exchange(JOBS, 0.0)
        for name in "abc":
            await desk.take(name, 1)
        return [handout.share for name in "abc" if (handout := await desk.take(name, 1))]

    assert at_a_desk(work()) == each


def test_a_replica_without_a_share_gets_nothing_before_another_is_lost() -> None:
    async def work() -> None:
        desk = Desk(endpoint(URL, concurrency=1), None, shares=True)
        await desk.exchange(JOBS, 0.0)
        assert numbers(await desk.take("a", 1)) == [0]
        waiting = asyncio.create_task(desk.take("b", 1))
        await asyncio.sleep(0.01)
        assert numbers(await desk.take("a", 1)) == [1]
        assert not waiting.done()
        await desk.lose("a")
        assert numbers(await waiting) == [0]

    at_a_desk(work())


@pytest.mark.parametrize(("shares", "replied_first"), [(True, True), (True, False), (False, True)])
def test_of_servers_that_all_call_a_reply_to_one_is_known_to_all(shares: bool, replied_first: bool) -> None:
    async def work() -> bool:
        desk = Desk(endpoint(URL, concurrency=64), None, shares=shares)
        await desk.exchange([Job(number, ASK, GREEDY, (0,)) for number in range(41)], 0.0)
        await desk.take("a", 20)
        await desk.take("b", 20)
        if replied_first:
            await desk.give("a", [replied(0)])
        last = await desk.take("b", 1)
        assert last is not None
        return last.has_answered

    assert at_a_desk(work()) is (shares and replied_first)


def test_what_a_lost_replica_may_have_spent_stays_spent_and_no_other_passes_the_budget() -> None:
    async def work() -> None:
        price = Price(0.0, 0.0, 1e6 / 16)  # a dollar for a reply of 16 tokens at most
        desk = Desk(endpoint(URL, price=price), Budget(3.5), shares=True)
        first = await desk.admit("a", ASK, 16)
        await desk.replied(ASK, 10)
        second, third = await desk.admit("a", ASK, 16), await desk.admit("b", ASK, 16)
        assert not isinstance(first, str)
        assert not isinstance(second, str)
        assert not isinstance(third, str)
        await desk.settle(first[0], 10, 0.25)
        await desk.lose("a")
        await desk.settle(second[0], 0, 0.0)  # too late: it counts as spent
        await desk.settle(third[0], 16, 1.0)
        budget = await desk.spent()
        assert budget is not None
        assert budget.spent == pytest.approx(0.25 + 1.0 + 1.0)
        last = await desk.admit("b", ASK, 16)
        assert not isinstance(last, str)
        await desk.settle(last[0], 16, 1.0)
        assert "Stopped at the budget" in str(await desk.admit("b", ASK, 16))

    at_a_desk(work())


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 600.0}], ids=["the first goes alone", "a rate"])
def test_a_call_of_a_lost_replica_that_waits_for_leave_gets_none_and_holds_up_no_other(
    limits: dict[str, float],
) -> None:
    async def work() -> None:
        price = Price(0.0, 0.0, 1e6 / 16)  # a dollar for a reply of 16 tokens at most
        desk = Desk(endpoint(URL, price=price, **limits), Budget(2.5), shares=True)
        if limits:
            await desk.replied(ASK, 10)
        assert not isinstance(await desk.admit("a", ASK, 16), str)
        waiting = asyncio.create_task(desk.admit("a", ASK, 16))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await desk.lose("a")
        own = await desk.admit("b", ASK, 16)
        assert await waiting == "a was lost."
        assert not isinstance(own, str)
        await desk.settle(own[0], 16, 1.0)
        budget = await desk.spent()
        assert budget is not None
        assert budget.spent == pytest.approx(2.0)  # the first call's worst case, and b's

    at_a_desk(work())


def test_a_lost_replica_that_lives_after_all_does_not_end_the_run() -> None:
    async def work() -> None:
        desk = Desk(endpoint(URL), None, shares=True)
        await desk.exchange(JOBS, 0.0)
        await desk.take("a", 1)
        await desk.lose("a")
        await desk.give("a", [Stopped("a was lost.", is_budget=True)])
        assert await desk.exchange([], 0.0) == []

    at_a_desk(work())


def test_a_wait_that_a_server_asks_for_is_told_to_the_others() -> None:
    async def work() -> None:
        desk = Desk(endpoint(URL), None, shares=True)
        own, other = (asyncio.create_task(desk.waits(name, 0)) for name in "ab")
        await asyncio.sleep(0)
        await desk.slow_down("a", URL, 30.0)
        assert await own == (1, [])
        known, waits = await other or (0, [])
        assert known == 1
        assert [(url, round(seconds)) for url, seconds in waits] == [(URL, 30)]
        later = asyncio.create_task(desk.waits("b", known))
        await desk.close()
        assert await later is None

    at_a_desk(work())
