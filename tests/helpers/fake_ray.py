"""A stand-in for the package `ray`: actors that are no processes, nodes that a test kills, and a clock that it turns.

ray = FakeRay(start_s=5)               # each actor is placed at once and takes 5 s to start
ray.put_in(monkeypatch)                # `import ray` finds it, and the fleet's clock is ray.now
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from math import inf
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class RayError(Exception):
    """As Ray's own; `cause`, where a task raised something."""

    def __init__(self, said: str = "", cause: Exception | None = None) -> None:
        super().__init__(said)
        self.cause = cause


@dataclass(frozen=True)
class Ref:
    """What comes at a time: a value, or an error that `get` raises."""

    at: float
    value: Any = None


class FakeRay(ModuleType):
    """See above. Seconds; `work` says what an actor's work comes to, and after how long."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(
        self,
        *,
        start_s: float = 1.0,
        start: Exception | None = None,
        work: Callable[[], tuple[float, Any]] = lambda: (inf, None),
        room: int = 99,
    ) -> None:
        super().__init__("ray")
        self.now, self.placed, self.ended = 0.0, 0, 0
        self.start_s, self.start, self.work, self.room = start_s, start, work, room
        self.dead = set[str]()
        self._node_numbers = count(1)

    def put_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", self)
        monkeypatch.setattr("lema_local.stages.ray_fleet.time", SimpleNamespace(monotonic=lambda: self.now))

    def is_initialized(self) -> bool:
        return True

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "head")

    def nodes(self) -> list[dict[str, Any]]:
        """Every node that ever took an actor: each took one."""
        names = [f"node-{number}" for number in range(1, self.placed + 1)]
        return [
            {"Alive": name not in self.dead, "Resources": {"CPU": 1.0}, "NodeID": name, "NodeName": name}
            for name in names
        ]

    def get(self, ref: Ref, timeout: float | None = None) -> Any:
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value

    def wait(self, refs: list[Ref], num_returns: int = 1, timeout: float | None = None) -> tuple[list[Ref], list[Ref]]:
        return [ref for ref in refs if ref.at <= self.now], [ref for ref in refs if ref.at > self.now]

    def remote(self, cls: type[Any]) -> Any:
        made = SimpleNamespace(remote=lambda name: self._actor())
        return SimpleNamespace(options=lambda **asked: made)

    def kill(self, actor: Any) -> None:
        self.ended += 1

    def _actor(self) -> Any:
        if self.placed >= self.room:
            placed, node = inf, ""
        else:
            self.placed += 1
            placed, node = self.now, f"node-{self.placed}"
        started = Ref(placed + self.start_s, self.start or node)

        def work(*arguments: Any) -> Ref:
            after, value = self.work()
            return Ref(self.now + after, value)

        def method(what: Callable[..., Ref]) -> Any:
            return SimpleNamespace(remote=what)

        return SimpleNamespace(
            node=method(lambda: Ref(placed, node)),
            start=method(lambda plan: started),
            stop=method(lambda: Ref(0.0)),
            work=method(work),
        )
