"""How hard servers are driven: rates per minute, cool-downs, several servers for one model, and what a run may spend.

    hosts = Hosts(("http://gpu1:8000/v1", "http://gpu2:8000/v1"), concurrency=32)
    host = await hosts.take()            # the live one with the most room; waits while there is none
    ...                                  # one call to host.url
    hosts.give_back(host); hosts.worked(host)      # or .refused(host), or .cool(host, seconds)

Nothing here knows of HTTP. Times are seconds of the monotonic clock.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lema_local.errors import BudgetError

LOOK_AGAIN_S = 0.05  # while every server is full, dead or cooling: a rare state, so it is polled
LONGEST_SET_ASIDE_S = 60.0
LONGEST_UNASKED_WAIT_S = 60.0
FAULTS_IN_A_ROW = 3  # then a server is set aside, where there are others


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
        host.slow_downs = max(0, host.slow_downs - 1)

    def cool(self, host: Host, retry_after_s: float | None) -> float:
        """It asks for less: no call to it before then, by any task. Returns the wait: its own wish, or one that
        doubles."""
        host.room = max(1.0, host.room - 1.0)
        if not retry_after_s:
            host.slow_downs += host.wait_s == 0  # calls that were under way together say the same thing
            retry_after_s = min(LONGEST_UNASKED_WAIT_S, 0.05 * 2 ** min(host.slow_downs, 10)) * random.uniform(0.5, 1.0)
        host.closed_until = max(host.closed_until, time.monotonic() + retry_after_s)
        return retry_after_s

    def refused(self, host: Host) -> bool:
        """Nothing answers there: set it aside for a while, longer each time. Returns whether another one is left."""
        host.refusals += host.wait_s == 0
        wait = min(LONGEST_SET_ASIDE_S, 0.5 * 2 ** min(host.refusals, 10)) * random.uniform(0.75, 1.0)
        host.closed_until = max(host.closed_until, time.monotonic() + wait)
        return any(other.refusals == 0 for other in self._hosts)

    def failed(self, host: Host) -> float:
        """It answered with an error, with what is no reply, or not in time. After some of that in a row it is set aside
        where there are others, and then tried by one call at a time: what fails fast would draw all the work. Returns
        the wait."""
        host.faults += 1
        if host.faults < FAULTS_IN_A_ROW or len(self._hosts) == 1:
            return 0.0
        host.room = 1.0
        self.refused(host)
        return host.wait_s

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

    async def reserve(self, usd: float) -> None:
        """Waits while calls in flight may give some back; raises BudgetError where the call does not fit even then."""
        while self.spent + self._reserved + usd > self.usd:
            if self._in_flight == 0:
                raise BudgetError(
                    f"Stopped at the budget: ${self.spent:.2f} of ${self.usd:.2f} spent, and the next call may cost "
                    f"${usd:.4f}. Nothing is lost: give a larger --budget to go on."
                )
            await asyncio.sleep(LOOK_AGAIN_S)
        self._reserved += usd
        self._in_flight += 1

    def settle(self, reserved: float, spent: float) -> None:
        """A call that had reserved so much is over, and cost so much."""
        self._in_flight -= 1
        self._reserved = self._reserved - reserved if self._in_flight else 0.0  # float sums leave remainders
        self.spent += spent


@dataclass(slots=True)
class Ticket:
    """One call's leave to go: what it used, as soon as that is known. Until then its worst case counts."""

    tokens: int
    usd: float

    def settle(self, *, tokens: int, usd: float) -> None:
        """It used so much."""
        self.tokens, self.usd = tokens, usd


class Gate:
    """When a call of an endpoint may go: its rates a minute and the run's budget."""

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, budget: Budget | None
    ) -> None:
        self._requests = Rate(requests_per_minute) if requests_per_minute else None
        self._tokens = Rate(tokens_per_minute) if tokens_per_minute else None
        self._budget = budget

    @property
    def counts_tokens(self) -> bool:
        """Whether it matters here how long a call may be."""
        return self._tokens is not None or self._budget is not None

    @asynccontextmanager
    async def admit(self, most_tokens: int, most_usd: float) -> AsyncIterator[Ticket]:
        """Wait for leave; the caller settles the ticket. Raises BudgetError."""
        ticket = Ticket(most_tokens, most_usd)
        if self._budget:
            await self._budget.reserve(most_usd)
        try:
            wait = max(
                self._requests.reserve() if self._requests else 0.0,
                self._tokens.reserve(most_tokens) if self._tokens else 0.0,
            )
            if wait > 0:
                await asyncio.sleep(wait)
            yield ticket
        finally:
            if self._tokens:
                self._tokens.give_back(most_tokens - ticket.tokens)
            if self._budget:
                self._budget.settle(most_usd, ticket.usd)
