"""The engine of a cluster: replicas on the nodes of a Ray cluster make the calls, and this process keeps what comes.

It puts requests on a desk (desk.py), rendered just ahead of their being called; replicas fetch them there and bring
replies back to it. Keys, texts and records are those of local_engine.py, and this process is the only writer, as ever.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lema_local.calls.echoes import NO_KEY
from lema_local.calls.endpoint import Endpoint
from lema_local.calls.failures import Failure
from lema_local.calls.pacing import Budget
from lema_local.errors import BudgetError, EndpointError
from lema_local.serving import ray_cluster
from lema_local.stages.desk import Desk, Event, Failed, Job, Replied, Said, Stopped
from lema_local.stages.ray_fleet import Fleet
from lema_local.stages.work import Call, Work

EXCHANGE_S = 0.2  # for events to come
TEND_EVERY_S = 0.2


def work_off(work: Work, endpoint: Endpoint, *, fleet: Fleet, budget: Budget | None) -> None:
    """Make the calls; what comes is in the store when this returns or raises. Raises EndpointError, ServerError where
    no replica is left, or each fails."""
    with ray_cluster.errors_in_words(), _desk(endpoint, budget, shares=fleet.calls_only) as desk:
        _Shift(work, endpoint, fleet, desk).run()


@contextmanager
def _desk(endpoint: Endpoint, budget: Budget | None, *, shares: bool) -> Iterator[Any]:
    """A desk on this node, with the run's budget on it."""
    import ray

    keyless = replace(endpoint, api_key=NO_KEY)  # Ray keeps what an actor is made with
    desk = ray_cluster.here(Desk).remote(keyless, budget, shares=shares)
    try:
        yield desk
    finally:
        if budget is not None:
            vars(budget).update(vars(ray.get(desk.spent.remote())))
        ray_cluster.end(desk)


class _Shift:
    """The work of one stage."""

    def __init__(self, work: Work, endpoint: Endpoint, fleet: Fleet, desk: Any) -> None:
        self._work, self._endpoint, self._fleet, self._desk = work, endpoint, fleet, desk
        self._open: dict[int, list[Call]] = {}  # requests that are on the desk or out, with their calls
        self._failures: dict[int, Failure] = {}  # of those requests the last one, where all replicas call one endpoint
        self._numbers, self._takes_n = itertools.count(), True
        in_flight = endpoint.most_calls if fleet.calls_only else endpoint.most_calls * fleet.most
        self._most_open = 2 * in_flight + 4 * fleet.scale.batch * fleet.most  # replies on their way back are open too

    def run(self) -> None:
        """Until nothing is open any more; or, once it is stopped, no shift goes on."""
        import ray

        tended, is_closed = 0.0, False
        self._fleet.begin_shift()
        while (jobs := self._next_jobs()) or self._open:
            for event in ray.get(self._desk.exchange.remote(jobs, EXCHANGE_S)):
                self._heed(event)
            if self._work.stopped is not None and not is_closed:
                is_closed = True
                ray.get(self._desk.close.remote())
            if is_closed and not self._fleet.is_working():
                break
            if not is_closed and time.monotonic() - tended > TEND_EVERY_S:
                self._work.progress.replicas = self._fleet.tend(self._desk, self._endpoint)
                tended = time.monotonic()
        ray.get(self._desk.close.remote())
        self._fleet.end_shift()
        for event in ray.get(self._desk.exchange.remote([], 0.0)):
            self._heed(event)

    def _next_jobs(self) -> list[Job]:
        """What fits on the desk."""
        jobs: list[Job] = []
        while self._work.stopped is None and len(self._open) < self._most_open:
            batch = self._work.next(takes_n=self._takes_n)
            if not batch:
                break
            number, first = next(self._numbers), batch[0]
            self._open[number] = batch
            indexes = tuple(call.sample_index for call in batch)
            jobs.append(Job(number, self._work.render(first), first.sampling, indexes))
        return jobs

    def _heed(self, event: Event) -> None:
        if isinstance(event, Replied):
            self._fleet.has_replied()
            self._takes_n = self._takes_n and event.takes_n
            self._failures.pop(event.number, None)
            self._work.keep(self._open.pop(event.number), event.replies)
        elif isinstance(event, Failed):
            if event.failure is not None:
                self._work.log(self._open[event.number], event.failure)
                if self._fleet.calls_only:
                    self._failures[event.number] = event.failure
            if event.is_last:
                self._work.give_up(self._open.pop(event.number), self._failures.pop(event.number, None))
        elif isinstance(event, Stopped):
            self._work.stop(BudgetError(event.reason) if event.is_budget else EndpointError(event.reason))
        elif isinstance(event, Said):
            self._fleet.say(event.line)
