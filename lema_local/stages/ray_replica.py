"""A replica: the actor on a node of a Ray cluster that holds our client and, for a recipe, the recipe's server.

It takes jobs from the desk (desk.py) while there are any, and brings back what came of them. It runs in the main
thread of its process: the server that it starts there ends with it, however it ends (serving/process.py).
"""

import asyncio
import importlib
import os
import socket
import tempfile
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lema_local.calls.client import CallFailedError, Client
from lema_local.calls.endpoint import Endpoint
from lema_local.calls.failures import Failure
from lema_local.errors import BudgetError, EndpointError, ServerError
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import Endpoints
from lema_local.serving.process import open_recipe
from lema_local.serving.ray_cluster import this_node
from lema_local.serving.shipping import Shipped, unpack
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.models import Model
from lema_local.stages.desk import GATHER_S, DeskGate, Event, Failed, Job, Replied, Said, Stopped
from lema_local.stages.probe import refuse_inactive


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replica serves: an endpoint of the profile, whose weights it looks up on its own node."""

    name: str
    profile: EndpointProfile
    identity: str  # as the driver has it: other weights under the same name are refused
    options: ServeOptions
    model: Model | None  # other weights than the profile's
    adapters: dict[str, Shipped]
    folder: Path  # that the run was started in: relative paths count from it, where a node has it too


class Replica:
    """See above."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running = ExitStack()
        self._served: Endpoint | None = None  # our own server; None: those of the endpoint are there
        self._adapters: set[str] = set()

    def node(self) -> str:
        """The id of the node that has taken it."""
        return this_node()

    def start(self, plan: Plan | None) -> str:
        """Start the server, where there is one to start; returns the node and, in words, where adapters came from.
        ServerError, which names the node, where it does not come up."""
        importlib.import_module("openai")
        node = socket.gethostname()
        if plan is None:
            return node
        try:
            return f"{node}{self._serve(plan)}"
        except Exception as error:
            self._running.close()
            raise ServerError(f"node {node}: {error}") from error

    def _serve(self, plan: Plan) -> str:
        logs = Path(tempfile.gettempdir()) / "lema-logs"
        if plan.folder.is_dir():
            os.chdir(plan.folder)
            logs = plan.options.log_directory
        folder = Path(self._running.enter_context(tempfile.TemporaryDirectory(prefix="lema-replica-")))
        placed = {label: unpack(shipped, folder / str(k)) for k, (label, shipped) in enumerate(plan.adapters.items())}
        profile, identity = plan.profile, plan.identity
        if profile.adapter is not None:
            profile = replace(profile, adapter=str(placed.pop(plan.name)))
        resolved = Endpoints().resolve(plan.name, profile)
        if resolved.endpoint.identity != identity:
            raise ServerError(f"{profile.model} stands for other weights here than where the run was started.")
        options = replace(plan.options, adapters=placed, log_directory=logs / f"{socket.gethostname()}-{self._name}")
        self._served, _ = self._running.enter_context(open_recipe(resolved, options=options, model=plan.model))
        self._adapters = set(placed)
        sent = [label for label, path in placed.items() if path.is_relative_to(folder)]
        return f": {len(sent)} of {len(placed)} adapters were sent, the others are in a shared folder" if placed else ""

    def stop(self) -> None:
        """End the server."""
        self._running.close()

    def work(self, desk: Any, endpoint: Endpoint, batch: int) -> None:
        """Do jobs while there are any. EndpointError where our own server is of no use."""
        own = self._served
        if own is not None and endpoint.served_model in self._adapters:
            own = replace(own, served_model=endpoint.served_model, adapter_over=own.served_model)
        asyncio.run(_Shift(self._name, desk, own or endpoint, batch, is_own=own is not None).work())


@dataclass
class _Shift:
    """The work of a replica at one desk."""

    name: str
    desk: Any  # the handle of the desk's actor
    endpoint: Endpoint
    batch: int
    is_own: bool  # whether the endpoint is a server of ours alone
    events: list[Event] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    jobs: deque[Job] = field(default_factory=deque)  # in hand
    is_low: asyncio.Event = field(default_factory=asyncio.Event)
    active: int = 0  # calls under way
    share: int = 1  # of what the servers take
    is_stopped: bool = False
    refused: EndpointError | None = None  # by our own server
    bringing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def work(self) -> None:
        """Until there are no jobs, or none can be done."""
        try:
            await refuse_inactive(self.endpoint)
        except EndpointError as error:  # so it is on every node
            await self.desk.give.remote(self.name, [Stopped(str(error))])
            return
        client = Client(
            self.endpoint,
            gate=DeskGate(self.desk, self.name) if self._is_gated() else None,
            on_notice=lambda line: self._add(Said(line)),
            on_slow_down=lambda url, seconds: self.desk.slow_down.remote(self.name, url, seconds),
            is_alone=self.is_own,
        )
        async with client:
            helpers = [asyncio.create_task(self._bring()), asyncio.create_task(self._hear(client))]
            try:
                async with asyncio.TaskGroup() as calls:
                    await self._take(client, calls)
                await self._bring_all()
            finally:
                for helper in helpers:
                    helper.cancel()
        if self.refused is not None:
            raise self.refused

    def _is_gated(self) -> bool:
        e = self.endpoint
        return bool(e.requests_per_minute or e.tokens_per_minute or e.price)

    async def _take(self, client: Client, calls: asyncio.TaskGroup) -> None:
        """Fetch jobs, some of them to have in hand for when a call is over, until there are none."""
        while not self.is_stopped:
            most = max(1, min(self.batch, self.share - self.active + self.batch // 2))
            handout = await self.desk.take.remote(self.name, most)
            if handout is None:
                return
            self.share = self.endpoint.most_calls if self.is_own else handout.share
            client.has_answered = client.has_answered or handout.has_answered
            self.jobs.extend(handout.jobs)
            self._begin(client, calls)
            while len(self.jobs) > self.batch // 2 and not self.is_stopped:
                self.is_low.clear()
                await self.is_low.wait()

    def _begin(self, client: Client, calls: asyncio.TaskGroup) -> None:
        """Begin as many calls as our share allows."""
        while self.jobs and self.active < self.share and not self.is_stopped:
            self.active += 1
            calls.create_task(self._call(client, calls, self.jobs.popleft()))
        if len(self.jobs) <= self.batch // 2 or self.is_stopped:
            self.is_low.set()

    async def _call(self, client: Client, calls: asyncio.TaskGroup, job: Job) -> None:
        def log(failure: Failure) -> None:
            self._add(Failed(job.number, failure))

        try:
            replies = await client.samples(job.prompt, job.sampling, job.indexes, on_failure=log)
        except CallFailedError:
            self._add(Failed(job.number, None, is_last=True))
        except BudgetError as error:
            self.is_stopped = True
            self._add(Stopped(str(error), is_budget=True))
        except EndpointError as error:
            client.stop()
            self.is_stopped = True
            if self.is_own:
                self.refused = error
            else:
                self._add(Stopped(str(error)))
        else:
            self._add(Replied(job.number, replies, client.takes_n))
        finally:
            self.active -= 1
            self._begin(client, calls)

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self.came.set()

    async def _bring(self) -> None:
        """Bring what came, while the next comes."""
        while True:
            await self.came.wait()
            await asyncio.sleep(GATHER_S)
            await self._bring_all()

    async def _bring_all(self) -> None:
        """When this returns the desk has all that came before."""
        async with self.bringing:
            self.came.clear()
            events, self.events = self.events, []
            if events:
                await self.desk.give.remote(self.name, events)

    async def _hear(self, client: Client) -> None:
        """Wait where a server asked another replica for it."""
        known = 0
        while (news := await self.desk.waits.remote(self.name, known)) is not None:
            known, waits = news
            for base_url, seconds in waits:
                client.slow_down(base_url, seconds)
