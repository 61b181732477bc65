"""How hard servers are driven: rates per minute, cool-downs, several servers for one model, and what a run may spend.

    hosts = Hosts(("http://gpu1:8000/v1", "http://gpu2:8000/v1"), concurrency=32)
    host = await hosts.take()            # the live one with the most room; waits while there is none
    ...                                  # one call to host.url
    hosts.give_back(host); hosts.worked(host)      # or .refused(host), .failed(host), .cool(host, seconds)

Nothing here knows of HTTP. Times are seconds of the monotonic clock.
"""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from lema_local.calls.endpoint import Prompt
from lema_local.calls.prices import Price
from lema_local.errors import BudgetError

LOOK_AGAIN_S = 0.05  # while every server is full, dead or cooling: a rare state, so it is polled
LONGEST_SET_ASIDE_S = 60.0
LONGEST_UNASKED_WAIT_S = 60.0
LONGEST_ASKED_WAIT_S = 3600.0  # of a Retry-After: then the server is asked again
FAULTS_IN_A_ROW = 3  # then a server is set aside, where there are others


def set_aside_s(times: int) -> float:
    """How long to leave alone what has failed so many times in a row: a second, and twice as long each time."""
    return min(LONGEST_SET_ASIDE_S, 0.5 * 2.0 ** min(times, 10)) * random.uniform(0.75, 1.0)


class Rate:
    """Calls, or tokens, spaced to so many a minute: a virtual queue in which each reserves its time (GCRA)."""

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._each_s = 60.0 / per_minute
        self._clock = clock
        self._free_at = 0.0

    def reserve(self, amount: float = 1.0) -> float:
        """Seconds to wait before this amount may go."""
        now = self._clock()
        start = max(now, self._free_at)
        self._free_at = start + amount * self._each_s
        return start - now

    def give_back(self, amount: float) -> None:
        """So much of what was reserved was not used; negative: more was."""
        self._free_at -= amount * self._each_s


@dataclass(slots=True)
class Host:
    """One server of a model, as it has behaved so far."""

    url: str
    in_flight: int = 0
    closed_until: float = 0.0  # cooling down, or set aside because nothing answers there
    room: float = 1.0  # calls at once that it takes now; at most `concurrency`
    refusals: int = 0  # times in a row that it was set aside
    is_absent: bool = False  # nothing listened there when it was last called
    faults: int = 0  # errors and replies that were none, in a row
    slow_downs: int = 0  # waits after 429s without Retry-After; a success takes one off

    @property
    def wait_s(self) -> float:
        """Until it may be called again."""
        return max(0.0, self.closed_until - time.monotonic())


class Hosts:
    """The servers of one model. Each takes up to `concurrency` calls at once, so a fast one gets more of the work.

    A 429 takes one from the calls that a server gets at once and a reply gives back a half: in the long run at most a
    third of the calls is refused, however low its limit.
    """

    def __init__(self, urls: Sequence[str], concurrency: int) -> None:
        self._hosts = [Host(url, room=concurrency) for url in urls]
        self._concurrency = concurrency

    async def take(self) -> Host:
        """A server with room, one call of which is now ours to make."""
        while (host := self._pick()) is None:
            now = time.monotonic()
            closed = [h.closed_until - now for h in self._hosts]
            pause = min(closed) if min(closed) > 0 else LOOK_AGAIN_S
            await asyncio.sleep(pause + random.uniform(0, LOOK_AGAIN_S))
        host.in_flight += 1
        return host

    def give_back(self, host: Host) -> None:
        """The call is over."""
        host.in_flight -= 1

    def worked(self, host: Host) -> None:
        """It replied: whatever it did before is forgiven."""
        host.room = min(self._concurrency, self._concurrency if host.refusals else host.room + 0.5)
        host.refusals = host.faults = 0
        host.is_absent = False
        host.slow_downs = max(0, host.slow_downs - 1)

    def cool(self, host: Host, retry_after_s: float | None) -> float:
        """It asks for less: no call to it before then, by any task. Returns the wait: its own wish, or one that
        doubles. Neither is longer than LONGEST_ASKED_WAIT_S."""
        host.is_absent = False
        host.room = max(1.0, host.room - 1.0)
        if not retry_after_s:
            host.slow_downs += host.wait_s == 0  # calls that were under way together say the same thing
            retry_after_s = min(LONGEST_UNASKED_WAIT_S, 0.05 * 2 ** min(host.slow_downs, 10)) * random.uniform(0.5, 1.0)
        wait = min(retry_after_s, LONGEST_ASKED_WAIT_S)
        host.closed_until = max(host.closed_until, time.monotonic() + wait)
        return wait

    def close(self, url: str, seconds: float) -> None:
        """No call to this server for so long."""
        for host in self._hosts:
            if host.url == url:
                host.closed_until = max(host.closed_until, time.monotonic() + seconds)

    def refused(self, host: Host) -> bool:
        """Nothing listens there: set it aside. Returns whether another one is left."""
        host.is_absent = True
        self._set_aside(host)
        return any(other.refusals == 0 for other in self._hosts)

    def failed(self, host: Host) -> float:
        """It answered with an error, with what is no reply, not in time or not at all. After some of that in a row it
        is set aside where there are others, and then tried by one call at a time: what fails fast would draw all the
        work. Returns the wait."""
        host.is_absent = False
        host.faults += 1
        if host.faults < FAULTS_IN_A_ROW or len(self._hosts) == 1:
            return 0.0
        host.room = 1.0
        self._set_aside(host)
        return host.wait_s

    @property
    def are_absent(self) -> bool:
        """Whether nothing listens at any of them."""
        return all(host.is_absent for host in self._hosts)

    def _set_aside(self, host: Host) -> None:
        """For a while, longer each time."""
        host.refusals += host.wait_s == 0
        host.closed_until = max(host.closed_until, time.monotonic() + set_aside_s(host.refusals))

    def _pick(self) -> Host | None:
        now = time.monotonic()
        best = None
        for host in self._hosts:
            is_open = host.in_flight < int(host.room) and host.closed_until <= now
            if is_open and (best is None or host.in_flight < best.in_flight):
                best = host
        return best


class Budget:
    """The money that one run may spend, shared by all its endpoints. A call reserves its worst case before it is made,
    so that what is spent never passes the limit."""

    def __init__(self, usd: float) -> None:
        self.usd = usd
        self.spent = 0.0
        self._reserved = 0.0
        self._in_flight = 0
        self._closed: str | None = None

    async def reserve(self, usd: float) -> None:
        """Waits while calls in flight may give some back; raises BudgetError where the call does not fit even then."""
        self.check()
        while self.spent + self._reserved + usd > self.usd:
            if self._in_flight == 0:
                raise BudgetError(
                    f"Stopped at the budget: ${self.spent:.2f} of ${self.usd:.2f} spent, and the next call may cost "
                    f"${usd:.4f}. Nothing is lost: give a larger --budget to go on."
                )
            await asyncio.sleep(LOOK_AGAIN_S)
            self.check()
        self._reserved += usd
        self._in_flight += 1

    def settle(self, reserved: float, spent: float) -> None:
        """A call that had reserved so much is over, and cost so much."""
        self._in_flight -= 1
        self._reserved = self._reserved - reserved if self._in_flight else 0.0  # float sums leave remainders
        self.spent += spent

    def close(self, reason: str) -> None:
        """No further call: a server does what no budget can hold."""
        self._closed = self._closed or reason

    def check(self) -> None:
        """BudgetError, with the reason, once it is closed."""
        if self._closed:
            raise BudgetError(f"Stopped with ${self.spent:.2f} of ${self.usd:.2f} spent: {self._closed}")


@dataclass(slots=True)
class Ticket:
    """One call's leave to go. From when it is sent its worst case counts, until it is known what it used."""

    most_tokens: int
    most_usd: float
    tokens: int = 0
    usd: float = 0.0

    def sent(self) -> None:
        """It is on its way, and may be charged for whatever becomes of it."""
        self.tokens, self.usd = self.most_tokens, self.most_usd

    def settle(self, *, tokens: int, usd: float) -> None:
        """It used so much."""
        self.tokens, self.usd = tokens, usd


class Gate:
    """When a call of an endpoint may go: its rates a minute, and the run's budget where the endpoint has a price.

    Under a budget the first call goes alone: what it shows of how the server counts holds for those after it.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        budget: Budget | None,
        price: Price | None,
    ) -> None:
        self._requests = Rate(requests_per_minute) if requests_per_minute else None
        self._tokens = Rate(tokens_per_minute) if tokens_per_minute else None
        self._budget = budget if price else None
        self._price = price
        self._alone = asyncio.Lock()
        self._has_replied = False
        self._factor, self._more = 1.0, 0  # how far prompts were longer than their bound

    def admit(self, prompt: Prompt, most_written: int) -> AbstractAsyncContextManager[Ticket]:
        """Wait for leave for a call with this prompt and so many tokens of reply at most; the caller settles the
        ticket. Raises BudgetError."""
        is_first = self._budget is not None and not self._has_replied
        return self._first(prompt, most_written) if is_first else self._admitted(prompt, most_written)

    def replied(self, prompt: Prompt, read: int | None) -> None:
        """The server replied, and counts so many tokens of this prompt: more than were thought to be the most?"""
        self._has_replied = True
        if read is not None and read > (most := prompt.most_tokens):
            self._factor, self._more = max(self._factor, read / most), max(self._more, read - most)

    def close(self, reason: str) -> None:
        """Stop the run, where it has a budget."""
        if self._budget:
            self._budget.close(reason)

    def check(self) -> None:
        """BudgetError where the run was stopped while this call waited."""
        if self._budget:
            self._budget.check()

    @asynccontextmanager
    async def _first(self, prompt: Prompt, most_written: int) -> AsyncIterator[Ticket]:
        async with AsyncExitStack() as alone:
            await alone.enter_async_context(self._alone)
            if self._has_replied:
                await alone.aclose()
            async with self._admitted(prompt, most_written) as ticket:
                yield ticket

    @asynccontextmanager
    async def _admitted(self, prompt: Prompt, most_written: int) -> AsyncIterator[Ticket]:
        tokens = prompt.usual_tokens + most_written if self._tokens else 0
        reserved = await self._reserve(prompt.most_tokens, most_written) if self._budget else 0.0
        ticket = Ticket(tokens, reserved)
        try:
            wait = max(
                self._requests.reserve() if self._requests else 0.0,
                self._tokens.reserve(tokens) if self._tokens else 0.0,
            )
            if wait > 0:
                await asyncio.sleep(wait)
            yield ticket
        finally:
            if self._tokens:
                self._tokens.give_back(tokens - ticket.tokens)
            if self._budget:
                self._budget.settle(reserved, ticket.usd)

    async def _reserve(self, most_read: int, most_written: int) -> float:
        """The worst case in USD, reserved; what other calls show while this one waits counts too."""
        assert self._budget
        usd = self._most_usd(most_read, most_written)
        await self._budget.reserve(usd)
        while (most := self._most_usd(most_read, most_written)) > usd:
            self._budget.settle(usd, 0.0)
            usd = most
            await self._budget.reserve(usd)
        return usd

    def _most_usd(self, most_read: int, most_written: int) -> float:
        assert self._price
        read = max(math.ceil(self._factor * most_read), most_read + self._more)
        return self._price.cost(prompt=read, cached=0, completion=most_written)
