"""The engine of one machine: this process calls the endpoint's servers, as many calls at once as they take."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lema_local.calls.client import CallFailedError, Client
from lema_local.calls.endpoint import Endpoint
from lema_local.calls.failures import Failure
from lema_local.calls.pacing import LOOK_AGAIN_S, Budget
from lema_local.calls.waiting import wait_for
from lema_local.errors import BudgetError, EndpointError, StoreError
from lema_local.serving.prefix import common_prefix, share_prefix, text_of
from lema_local.stages.probe import refuse_inactive
from lema_local.stages.work import Call, Work


def work_off(
    work: Work, endpoint: Endpoint, *, budget: Budget | None, notice: Callable[[str], None], said: set[str]
) -> None:
    """Make the calls; what comes is in the store when this returns or raises. Raises EndpointError where the endpoint's
    adapter is not active (probe.py)."""
    wait_for(refuse_inactive(endpoint))
    _share_prefix(work, endpoint, notice)
    wait_for(_go(work, endpoint, budget, notice, said))


def _share_prefix(work: Work, endpoint: Endpoint, notice: Callable[[str], None]) -> None:
    """Hand the slots of a server that batches what these prompts begin with, as the first, middle and last show."""
    if not endpoint.slots or len(work.calls) <= 1:
        return
    calls = (work.calls[0], work.calls[len(work.calls) // 2], work.calls[-1])
    try:
        if prefix := common_prefix([text_of(endpoint, work.render(call)) for call in calls]):
            share_prefix(endpoint, prefix)
    except OSError as error:
        notice(f"The prompts' common beginning is read by each slot of {endpoint.name} ({error}).")


async def _go(
    work: Work, endpoint: Endpoint, budget: Budget | None, notice: Callable[[str], None], said: set[str]
) -> None:
    async with (
        # not alone: the work counts refusals, for it knows those of earlier runs
        Client(endpoint, budget=budget, on_notice=notice, said=said, is_alone=False) as client,
        asyncio.TaskGroup() as tasks,
    ):
        workers = _Workers(work)
        for _ in range(min(endpoint.most_calls, work.progress.total)):
            tasks.create_task(workers.work_until_done(client))


@dataclass
class _Workers:
    work: Work
    shared: int = 0  # requests under way that may leave samples over

    async def work_until_done(self, client: Client) -> None:
        """One of them."""
        work = self.work
        while work.stopped is None:
            batch = work.next(takes_n=client.takes_n)
            if not batch:
                if not self.shared:
                    return
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            first, indexes = batch[0], [call.sample_index for call in batch]

            def log(failure: Failure, batch: list[Call] = batch) -> None:
                work.log(batch, failure)
                self.heed_stop(client)

            self.shared += len(batch) > 1
            try:
                replies = await client.samples(work.render(first), first.sampling, indexes, on_failure=log)
            except CallFailedError as error:
                work.give_up(batch, error.failure)
            except (BudgetError, EndpointError) as error:
                work.stop(error)  # the other workers finish what is in flight
            else:
                work.keep(batch, replies)
            finally:
                self.shared -= len(batch) > 1
            self.heed_stop(client)

    def heed_stop(self, client: Client) -> None:
        """No further request once the work is stopped. One that waits asks the budget itself, which may have room."""
        if isinstance(self.work.stopped, EndpointError | StoreError):
            client.stop()
