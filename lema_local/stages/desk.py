"""The desk: where the replicas of a cluster get their requests, and bring what came of them. It knows of no cluster.

The driver puts jobs on it and collects events; each replica takes some jobs at a time, as fast as it does them. What a
replica has taken is its own until it is brought back; a replica that is lost loses its jobs to the others, so no job
waits for anyone. What holds for the whole run is here too: budget and rates (one gate for all), the waits that a server
asked one replica for, and whether servers that all call have replied to any.

    await desk.exchange([Job(0, prompt, sampling, (0, 1))], wait_s=0.2)       # the driver: jobs there, events back
    await desk.take("replica-1", most=16)                                   # Handout(jobs=(Job(0, ...),), share=8)
    await desk.give("replica-1", [Replied(0, replies, takes_n=True)])
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.calls.failures import Failure
from lema_local.calls.pacing import Budget, Gate, Ticket
from lema_local.calls.replies import Reply
from lema_local.errors import BudgetError

GATHER_S = 0.02  # events that come one after another go together: most of a message is overhead


@dataclass(frozen=True, slots=True)
class Job:
    """One request: consecutive samples of a prompt."""

    number: int
    prompt: Prompt
    sampling: Sampling
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replied:
    """A job is done."""

    number: int
    replies: list[Reply | None]
    takes_n: bool  # whether the server gives several samples a request


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt at a job failed; it goes on unless `is_last`."""

    number: int
    failure: Failure | None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """No further request can go: to this endpoint, or within the budget."""

    reason: str
    is_budget: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the user."""

    line: str


Event = Replied | Failed | Stopped | Said


@dataclass(frozen=True, slots=True)
class Handout:
    """Jobs for a replica, how many requests at once are its share of what the servers take, and whether servers that
    all call have replied to any."""

    jobs: tuple[Job, ...]
    share: int
    has_answered: bool = False


class Desk:
    """See above. `shares`: whether all replicas call the same servers, and so share their limits."""

    def __init__(self, endpoint: Endpoint, budget: Budget | None, *, shares: bool) -> None:
        self._endpoint, self._most_calls = endpoint, endpoint.most_calls
        self._shares = shares
        self._has_answered = False  # any reply of servers that all call
        self._gate = Gate(endpoint.requests_per_minute, endpoint.tokens_per_minute, budget, endpoint.price)
        self._budget = budget
        self._jobs = deque[Job]()
        self._taken: dict[str, dict[int, Job]] = {}
        self._lost = set[str]()
        self._events: list[Event] = []
        self._is_over = False
        self._jobs_came, self._events_came, self._wait_came = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._tickets: dict[int, tuple[str, AbstractAsyncContextManager[Ticket], Ticket]] = {}
        self._numbers = itertools.count()
        self._waits: list[tuple[str, str, float]] = []  # by whom, base URL, until

    async def exchange(self, jobs: Sequence[Job], wait_s: float) -> list[Event]:
        """The driver's: put jobs on the desk, and collect what came; waits for it no longer than so many seconds."""
        self._jobs.extend(jobs)
        if jobs:
            self._jobs_came.set()
        if not self._events:
            self._events_came.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._events_came.wait(), wait_s)
                await asyncio.sleep(GATHER_S)
        events, self._events = self._events, []
        return events

    async def close(self) -> list[int]:
        """The driver's: hand nothing out any more. Returns the jobs that nobody has taken."""
        self._is_over = True
        left = [job.number for job in self._jobs]
        self._jobs.clear()
        self._jobs_came.set()
        self._wait_came.set()
        return left

    async def lose(self, replica: str) -> None:
        """The driver's: that replica is gone. Its jobs are for the others; what it may have spent stays spent."""
        self._lost.add(replica)
        taken = self._taken.pop(replica, {})
        if not self._is_over:
            self._jobs.extendleft(reversed(taken.values()))
        self._jobs_came.set()
        for number in [number for number, (whose, _, _) in self._tickets.items() if whose == replica]:
            ticket = self._tickets[number][2]
            await self.settle(number, ticket.most_tokens, ticket.most_usd)

    async def spent(self) -> Budget | None:
        """The budget as it stands."""
        return self._budget

    async def take(self, replica: str, most: int) -> Handout | None:
        """A replica's: its next jobs, when there are any; None when there will be none."""
        if replica not in self._lost:
            self._taken.setdefault(replica, {})
        while not self._jobs or (replica in self._taken and not self._share(replica)):
            if self._is_over or replica in self._lost:
                return None
            self._jobs_came.clear()
            await self._jobs_came.wait()
        if replica in self._lost:  # it asked, and was gone before there was anything
            return None
        own = self._taken[replica]
        jobs = tuple(self._jobs.popleft() for _ in range(min(most, len(self._jobs))))
        own.update((job.number, job) for job in jobs)
        return Handout(jobs, self._share(replica), self._has_answered)

    def _share(self, replica: str) -> int:
        """Of the calls that the servers take at once; together no more than those."""
        if not self._shares:
            return self._most_calls
        each, over = divmod(self._most_calls, len(self._taken))
        return each + (list(self._taken).index(replica) < over)

    async def give(self, replica: str, events: Sequence[Event]) -> None:
        """A replica's: what came. Nothing is taken of one thought lost, or of a job it has no longer."""
        if replica in self._lost:  # least of all that it can call no more: that would end the run
            return
        own = self._taken.get(replica, {})
        for event in events:
            if isinstance(event, Replied | Failed):
                if event.number not in own:
                    continue
                if isinstance(event, Replied) or event.is_last:
                    del own[event.number]
            self._events.append(event)
            if self._shares:
                self._has_answered = self._has_answered or isinstance(event, Replied)
        self._events_came.set()

    async def admit(self, replica: str, prompt: Prompt, most_written: int) -> tuple[int, Ticket] | str:
        """A replica's: leave for one call, as `Gate.admit` gives it; why there is none, where it raises, or
        where the replica was lost meanwhile: nobody would settle what a dead one is given."""
        admission = self._gate.admit(prompt, most_written)
        try:
            ticket = await admission.__aenter__()
        except BudgetError as error:
            return str(error)
        if replica in self._lost:
            await admission.__aexit__(None, None, None)
            return f"{replica} was lost."
        number = next(self._numbers)
        self._tickets[number] = replica, admission, ticket
        return number, ticket

    async def settle(self, number: int, tokens: int, usd: float) -> None:
        """A replica's: that call is over, and used so much."""
        if number in self._tickets:
            _, admission, ticket = self._tickets.pop(number)
            ticket.settle(tokens=tokens, usd=usd)
            await admission.__aexit__(None, None, None)

    async def replied(self, prompt: Prompt, read: int | None) -> None:
        """A replica's: as `Gate.replied`."""
        self._gate.replied(prompt, read)

    async def stop(self, reason: str) -> None:
        """A replica's: as `Gate.close`."""
        self._gate.close(reason)

    async def slow_down(self, replica: str, base_url: str, seconds: float) -> None:
        """A replica's: that server asked for a wait."""
        if self._shares:
            self._waits.append((replica, base_url, time.monotonic() + seconds))
            self._wait_came.set()

    async def waits(self, replica: str, known: int) -> tuple[int, list[tuple[str, float]]] | None:
        """A replica's: the waits that servers asked others for, beyond the first `known` ones, when there are any: how
        many are known then, each with its base URL and the seconds left. None at the end."""
        while len(self._waits) <= known:
            if self._is_over:
                return None
            self._wait_came.clear()
            await self._wait_came.wait()
        now, new = time.monotonic(), self._waits[known:]
        return len(self._waits), [(url, until - now) for whose, url, until in new if whose != replica]


class DeskGate(Gate):
    """The desk's gate, as the client of a replica passes it. `desk` is the handle of an actor."""

    def __init__(self, desk: Any, replica: str) -> None:
        super().__init__(None, None, None, None)
        self._desk, self._replica = desk, replica

    def admit(self, prompt: Prompt, most_written: int) -> AbstractAsyncContextManager[Ticket]:
        return self._admitted_there(prompt, most_written)

    @asynccontextmanager
    async def _admitted_there(self, prompt: Prompt, most_written: int) -> AsyncIterator[Ticket]:
        answer = await self._desk.admit.remote(self._replica, prompt, most_written)
        if isinstance(answer, str):
            raise BudgetError(answer)
        number, ticket = answer
        try:
            yield ticket
        finally:
            self._desk.settle.remote(number, ticket.tokens, ticket.usd)

    def replied(self, prompt: Prompt, read: int | None) -> None:
        self._desk.replied.remote(prompt, read)

    def close(self, reason: str) -> None:
        self._desk.stop.remote(reason)
