"""The replicas of a Ray cluster that serve, or call, one endpoint: asked for, looked after, replaced, ended.

    with Fleet(resolved, scale, options=options) as fleet:
        at_work = fleet.tend(desk, endpoint)            # again and again, while there is work (ray_engine.py)

No request is sent to an actor: replicas fetch theirs. So nothing waits for one whose node is gone, and a replica that
is lost is replaced as soon as the cluster has room; where that one is lost at once, too, the next is asked for later,
and later each time. One that a node has taken may take as long to come up as its recipe allows; room is what the
cluster has none of only where no node takes one.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from lema_local.calls.endpoint import Endpoint
from lema_local.calls.pacing import set_aside_s
from lema_local.errors import EndpointError, LemaError, ServerError
from lema_local.serving import ray_cluster
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import ResolvedEndpoint
from lema_local.serving.shipping import ship
from lema_local.settings.endpoints import Form
from lema_local.settings.models import Model
from lema_local.settings.tables import ScaleProfile
from lema_local.stages.ray_replica import Plan, Replica

GONE_S = 40.0  # without any replica on a node, after there was one
ROOM_S = 600.0  # until enough are placed: a cloud's nodes may have to be started
AT_ONCE_S = 10.0  # after it was asked for: a replica that is lost so soon is no better than the one before
MOST_FAILURES = 3  # of replicas, one after another, with no reply between
NODE_DEATH_S = 30.0  # until a cluster knows that a node is dead: its replicas are often lost before
MORE_TO_START_S = 600.0  # than the recipe's own limit, which a replica holds itself: weights and adapters come first
END_S = 10.0  # for servers, and shifts, to end
MOST_SAID = 200  # characters of what Ray says
_DEAD = "The actor is dead because "


@dataclass
class _Member:
    """A replica as this process sees it."""

    name: str
    actor: Any
    placing: Any  # the reference of what `node` returns
    starting: Any  # the reference of what `start` returns
    node: str | None = None  # its id, once one has taken it
    placed_at: float = 0.0
    is_up: bool = False
    working: Any = None  # the reference of its shift

    @property
    def awaited(self) -> Any:
        """The reference that comes next."""
        return self.working or (self.starting if self.node else self.placing)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Of a replica, since the last reply."""

    why: str
    counts_at: float
    node: str | None = None  # no failure of the replica's own where this one turns out to be dead


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
        self._failures, self._last = list[_Failure](), ""
        self._start_s = MORE_TO_START_S + (resolved.recipe.start_timeout_s if resolved.recipe else 0.0)
        ray_cluster.join(scale.address)
        with ray_cluster.errors_in_words():
            self._gpus = ray_cluster.gpus_per_replica(scale, resolved.recipe, model or resolved.model)
            self._least, self.most = ray_cluster.replicas(scale, self._gpus)
            self._plan = _plan(resolved, options, model)
        if self.calls_only:  # one without a share of what the servers take would have nothing to do
            self.most = min(self.most, resolved.endpoint.most_calls)
            self._least = min(self._least, self.most)
        self._enough_at: float | None = None  # when there were last as many as must be
        self._losses, self._next_at = 0, -math.inf  # in a row, one at once after the other; nobody is asked for before

    @property
    def calls_only(self) -> bool:
        """Whether its replicas call servers that are there, all the same ones."""
        return self._plan is None

    def __enter__(self) -> Self:
        self._asked_at = time.monotonic()
        self._fill()
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
        self._failures.clear()

    def tend(self, desk: Any, endpoint: Endpoint) -> int:
        """Set those to work that are up, replace those that are gone. Returns how many are at work."""
        import ray

        self._fill()
        refs = {member.awaited: member for member in self._members}
        for ref in ray.wait(list(refs), num_returns=len(refs), timeout=0)[0] if refs else ():
            member = refs.pop(ref)
            try:
                found = ray.get(ref)
            except ray.exceptions.RayError as error:
                self._replace(member, desk, *_why(member, error))
                continue
            if member.node is None:
                member.node, member.placed_at = found, time.monotonic()
                continue
            if not member.is_up:
                member.is_up = True
                self._notice(f"{member.name} is up on {found}")
            if member.working is None:
                member.working = member.actor.work.remote(desk, endpoint, self.scale.batch)
        for member in refs.values():
            if member.node and not member.is_up and time.monotonic() - member.placed_at > self._start_s:
                self._replace(member, desk, f"{member.name} was not up after {self._start_s:.0f} s", is_own=True)
        self._refuse_failures()
        awaited = self.most - len(self._members)  # not asked for yet: that says nothing of the cluster's room
        self._refuse_emptiness(awaited + sum(member.node is not None for member in self._members))
        return sum(member.working is not None for member in self._members)

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

    def _fill(self) -> None:
        """Ask for as many as there should be, unless that has just been in vain."""
        while len(self._members) < self.most and time.monotonic() >= self._next_at:
            self._add()

    def _add(self) -> None:
        name = f"replica-{next(self._numbers)}"
        actor = ray_cluster.spread(Replica, gpus=self._gpus).remote(name)
        self._members.append(_Member(name, actor, actor.node.remote(), actor.start.remote(self._plan)))

    def _replace(self, member: _Member, desk: Any, why: str, is_own: bool) -> None:
        """Let another be asked for in its place. `is_own`: it failed by itself, whatever becomes of its node."""
        import ray

        self._members.remove(member)
        ray_cluster.end(member.actor)
        now, self._last = time.monotonic(), why
        self._failures.append(_Failure(why, now) if is_own else _Failure(why, now + NODE_DEATH_S, member.node))
        self._notice(f"{why}: its calls go to the others, and another is asked for.")
        if now >= self._next_at:  # those that are lost together are lost once
            self._losses = self._losses + 1 if now - self._next_at < AT_ONCE_S else 1
            self._next_at = now + set_aside_s(self._losses)
        ray.get(desk.lose.remote(member.name))

    def _refuse_failures(self) -> None:
        """What fails by itself, again and again, would do so for ever."""
        now = time.monotonic()
        if sum(failure.counts_at <= now for failure in self._failures) < MOST_FAILURES:
            return
        alive = {None, *(node.id for node in ray_cluster.nodes())}
        self._failures = [failure for failure in self._failures if failure.node in alive]
        due = [failure for failure in self._failures if failure.counts_at <= now]
        if len(due) >= MOST_FAILURES:
            raise ServerError(f"{len(due)} replicas failed, one after another. The last: {due[-1].why}")

    def _refuse_emptiness(self, placed: int) -> None:
        now = time.monotonic()
        if placed >= (1 if self._enough_at else self._least):
            self._enough_at = now
        elif now - (self._enough_at or self._asked_at) > (GONE_S if self._enough_at else ROOM_S):
            gpus = f" with {self._gpus} GPUs" if self._gpus else ""
            last = f" ({self._last})" if self._last else ""
            raise EndpointError(
                f"The cluster has no room{gpus} for a replica, and none is left{last}. What came is kept: see `ray "
                "status`, then run the same command again."
            )


def _why(member: _Member, error: Exception) -> tuple[str, bool]:
    """Why a replica is gone, in words, and whether it failed by itself; else its node may have died."""
    cause = getattr(error, "cause", None)
    while isinstance(cause, BaseExceptionGroup):  # as the calls of a shift raise together
        cause = cause.exceptions[0]
    if isinstance(cause, LemaError):
        return str(cause), True
    if isinstance(cause, Exception):
        return f"{member.name} failed by {type(cause).__name__}: {_in_brief(str(cause))}", True
    said = str(error).strip()
    said = said.partition(_DEAD)[2] or said.rpartition("\n")[2]  # before that Ray names ids; a traceback ends with why
    return f"{member.name} was lost with its node or process ({_in_brief(said)})", False


def _in_brief(said: str) -> str:
    return " ".join(said.split())[:MOST_SAID]


def _plan(resolved: ResolvedEndpoint, options: ServeOptions, model: Model | None) -> Plan | None:
    """What each replica serves; None where the servers are there."""
    if resolved.recipe is None:
        return None
    profile = resolved.profile
    if resolved.recipe.forms:  # as measured here: another node would choose for itself, and serve another model
        profile = replace(profile, form=cast("Form", resolved.form))
    node, paths = ray_cluster.this_node(), dict(options.adapters)
    if profile.adapter is not None:
        paths = {resolved.name: Path(profile.adapter)}
    adapters = {label: ship(path, node=node) for label, path in paths.items()}
    return Plan(resolved.name, profile, resolved.endpoint.identity, options, model, adapters, Path.cwd())
