"""The replicas of a Ray cluster that serve, or call, one endpoint: asked for, looked after, replaced, ended.

    with Fleet(resolved, scale, options=options) as fleet:
        at_work = fleet.tend(desk, endpoint)            # again and again, while there is work (ray_engine.py)

No request is sent to an actor: replicas fetch theirs. So nothing waits for one whose node is gone, and a replica that
is lost is replaced as soon as the cluster has room.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lema_local.calls.endpoint import Endpoint
from lema_local.errors import EndpointError, LemaError, ServerError
from lema_local.serving import ray_cluster
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import ResolvedEndpoint
from lema_local.serving.shipping import ship
from lema_local.settings.models import Model
from lema_local.settings.tables import ScaleProfile
from lema_local.stages.ray_replica import Plan, Replica

GONE_S = 40.0  # without any replica, after there was one
ROOM_S = 600.0  # until enough are placed: a cloud's nodes may have to be started
MOST_FAILURES = 3  # of replicas, one after another, with no reply between
END_S = 10.0  # for servers, and shifts, to end


@dataclass
class _Member:
    """A replica as this process sees it."""

    name: str
    actor: Any
    starting: Any  # the reference of what `start` returns
    is_up: bool = False
    working: Any = None  # the reference of its shift


class Fleet:
    """See above. Raises ServerError, EndpointError where no replica is to be had."""

    def __init__(
        self,
        resolved: ResolvedEndpoint,
        scale: ScaleProfile,
        *,
        options: ServeOptions,
        model: Model | None = None,
        notice: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.scale = scale
        self._notice, self._said = notice, set[str]()
        self._numbers, self._members = itertools.count(1), list[_Member]()
        self._failures, self._last = 0, ""
        ray_cluster.join(scale.address)
        with ray_cluster.errors_in_words():
            self._gpus = ray_cluster.gpus_per_replica(scale, resolved.recipe, model or resolved.model)
            self._least, self.most = ray_cluster.replicas(scale, self._gpus)
            self._plan = _plan(resolved, options, model)
        self._enough_at: float | None = None  # when there were last as many as must be

    @property
    def calls_only(self) -> bool:
        """Whether its replicas call servers that are there, all the same ones."""
        return self._plan is None

    def __enter__(self) -> Self:
        self._asked_at = time.monotonic()
        for _ in range(self.most):
            self._add()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import ray

        stopped = [member.actor.stop.remote() for member in self._members if member.is_up and self._plan]
        if stopped and error is None:  # after an error, Ctrl-C too, nobody waits: the kernel ends the servers
            ray.wait(stopped, num_returns=len(stopped), timeout=END_S)
        for member in self._members:
            ray_cluster.end(member.actor)
        self._members.clear()

    def is_alive(self) -> bool:
        """As of RunningServers: what dies is replaced."""
        return True

    def died(self) -> ServerError:
        """As of RunningServers."""
        return ServerError(self._last)

    def say(self, line: str) -> None:
        """A line for the user, once, however many replicas say it."""
        if line not in self._said:
            self._said.add(line)
            self._notice(line)

    def has_replied(self) -> None:
        """A reply came: failures before it are forgiven."""
        self._failures = 0

    def tend(self, desk: Any, endpoint: Endpoint) -> int:
        """Set those to work that are up, replace those that are gone. Returns how many are at work."""
        import ray

        refs = {member.working or member.starting: member for member in self._members}
        for ref in ray.wait(list(refs), num_returns=len(refs), timeout=0)[0]:
            member = refs[ref]
            try:
                found = ray.get(ref)
            except ray.exceptions.RayError as error:
                self._replace(member, error)
                ray.get(desk.lose.remote(member.name))
                continue
            if not member.is_up:
                member.is_up = True
                self._notice(f"{member.name} is up on {found}")
            if member.working is None:
                member.working = member.actor.work.remote(desk, endpoint, self.scale.batch)
        at_work = sum(member.working is not None for member in self._members)
        self._refuse_emptiness(at_work)
        return at_work

    def begin_shift(self) -> None:
        """Time begins anew for replicas that are to come: this process may have been busy elsewhere."""
        self._asked_at = time.monotonic()
        self._enough_at = self._asked_at if self._enough_at else None

    def end_shift(self) -> None:
        """Wait for the shifts to end, now that the desk is closed: calls under way come to their end."""
        import ray

        working = [member.working for member in self._members if member.working is not None]
        if working:
            ray.wait(working, num_returns=len(working), timeout=END_S)
        for member in self._members:
            member.working = None

    def is_working(self) -> bool:
        """Whether any shift goes on."""
        import ray

        working = [member.working for member in self._members if member.working is not None]
        return bool(working) and bool(ray.wait(working, num_returns=len(working), timeout=0)[1])

    def _add(self) -> None:
        name = f"replica-{next(self._numbers)}"
        actor = ray_cluster.spread(Replica, gpus=self._gpus).remote(name)
        self._members.append(_Member(name, actor, actor.start.remote(self._plan)))

    def _replace(self, member: _Member, error: Exception) -> None:
        """Ask for another in its place; but what fails by itself, again and again, would do so for ever."""
        self._members.remove(member)
        ray_cluster.end(member.actor)
        cause = getattr(error, "cause", None)
        self._last = str(cause) if isinstance(cause, LemaError) else f"{member.name} was lost with its node or process"
        if isinstance(cause, LemaError):
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise ServerError(f"{self._failures} replicas failed, one after another. The last: {self._last}")
        self._notice(f"{self._last}: its calls go to the others, and another is asked for.")
        self._add()

    def _refuse_emptiness(self, at_work: int) -> None:
        now = time.monotonic()
        if at_work >= (1 if self._enough_at else self._least):
            self._enough_at = now
        elif now - (self._enough_at or self._asked_at) > (GONE_S if self._enough_at else ROOM_S):
            gpus = f" with {self._gpus} GPUs" if self._gpus else ""
            last = f" ({self._last})" if self._last else ""
            raise EndpointError(
                f"The cluster has no room{gpus} for a replica, and none is left{last}. What came is kept: see `ray "
                "status`, then run the same command again."
            )


def _plan(resolved: ResolvedEndpoint, options: ServeOptions, model: Model | None) -> Plan | None:
    """What each replica serves; None where the servers are there."""
    if resolved.recipe is None:
        return None
    profile, node, paths = resolved.profile, ray_cluster.this_node(), dict(options.adapters)
    if profile.adapter is not None:
        paths = {resolved.name: Path(profile.adapter)}
    adapters = {label: ship(path, node=node) for label, path in paths.items()}
    return Plan(resolved.name, profile, resolved.endpoint.identity, options, model, adapters, Path.cwd())
