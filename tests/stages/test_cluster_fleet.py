"""The replicas of a cluster, over a stand-in for Ray: how long one is waited for, and what ends a run."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from client_calls import endpoint
from fake_ray import FakeRay, RayError, Ref

from lema_local.errors import EndpointError, LemaError, ServerError
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import ResolvedEndpoint
from lema_local.serving.recipes import load_recipe
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.tables import ScaleProfile
from lema_local.stages import ray_fleet
from lema_local.stages.ray_fleet import Fleet

VLLM = load_recipe("vllm")  # start_timeout_s is 1800
TOLD = RayError("The actor died.\n\tpid: 7\nThe actor is dead because its worker process has died: out of memory.")


class Desk:
    """Who is told to be lost."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.lose = self

    def remote(self, name: str) -> Ref:
        self.lost.append(name)
        return Ref(0.0)


def tended(
    monkeypatch: pytest.MonkeyPatch,
    ray: FakeRay,
    *,
    seconds: float,
    replicas: int = 2,
    each: Callable[[Fleet], None] = lambda fleet: None,
) -> tuple[int, Desk]:
    """How many replicas are at work after so long, and the desk. Raises as Fleet does."""
    ray.put_in(monkeypatch)
    monkeypatch.setattr(ray_fleet, "_plan", lambda *asked: object())
    resolved = ResolvedEndpoint(
        "fire", EndpointProfile(model="m"), VLLM, None, "file", endpoint("http://127.0.0.1:9/v1")
    )
    desk, at_work = Desk(), 0
    with Fleet(
        resolved, ScaleProfile(engine="ray", replicas=replicas, gpus_per_replica=4), options=ServeOptions()
    ) as fleet:
        fleet.begin_shift()
        while ray.now < seconds:
            at_work = fleet.tend(desk, resolved.endpoint)
            each(fleet)
            ray.now += 1.0
    return at_work, desk


def test_replicas_that_nodes_have_taken_may_take_as_long_to_start_as_their_recipe_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tended(monkeypatch, FakeRay(start_s=1700), seconds=1800)[0] == 2


def test_the_replacement_of_a_lone_replica_may_take_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    works = iter([(10.0, TOLD)])
    ray = FakeRay(start_s=720, work=lambda: next(works, (1e9, None)))
    at_work, desk = tended(monkeypatch, ray, seconds=1600, replicas=1)
    assert (at_work, desk.lost) == (1, ["replica-1"])


def test_one_that_neither_comes_up_nor_says_why_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerError, match=r"4 replicas failed.*was not up after 2400 s"):
        tended(monkeypatch, FakeRay(start_s=1e9), seconds=8000)


def test_a_cluster_that_takes_too_few_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(room=1)
    with pytest.raises(EndpointError, match="no room with 4 GPUs for a replica"):
        tended(monkeypatch, ray, seconds=700)
    assert 600 < ray.now < 610


def test_a_cluster_that_has_room_no_more_ends_the_run_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(room=2, work=lambda: (10.0, TOLD))
    with pytest.raises(EndpointError, match=r"no room.*out of memory"):
        tended(monkeypatch, ray, seconds=700)
    assert ray.now < 70


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (TOLD, r"replica-\d+ was lost with its node or process \(its worker process has died: out of memory\.\)"),
        (RayError("", KeyError("jobs")), r"replica-\d+ failed by KeyError: 'jobs'"),
        (RayError("", ExceptionGroup("calls", [TypeError("no int")])), r"replica-\d+ failed by TypeError: no int"),
        (RayError("", LemaError("node b: no weights")), "node b: no weights"),
    ],
    ids=["killed", "a fault", "a fault in a call", "an error of ours"],
)
def test_three_that_fail_on_nodes_that_live_end_the_run_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: RayError, why: str
) -> None:
    ray = FakeRay(work=lambda: (1.0, error))
    with pytest.raises(ServerError, match=rf"^\d replicas failed, one after another\. The last: {why}$"):
        tended(monkeypatch, ray, seconds=3600)
    assert ray.now < 60


def test_replicas_that_are_lost_with_their_nodes_are_replaced_as_often_as_that_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = FakeRay(room=10**6, work=lambda: (20.0, TOLD))

    def all_but_the_newest_die(fleet: Fleet) -> None:
        if ray.now % 20 == 0:  # later than their replicas are seen to be lost
            ray.dead.update(node["NodeID"] for node in ray.nodes()[:-2])

    _, desk = tended(monkeypatch, ray, seconds=600, each=all_but_the_newest_die)
    assert len(desk.lost) > 20


@pytest.mark.parametrize("replicas", [1, 4])
def test_replicas_that_are_lost_at_once_again_and_again_are_asked_for_later_each_time(
    monkeypatch: pytest.MonkeyPatch, replicas: int
) -> None:
    ray = FakeRay(work=lambda: (0.0, TOLD), start_s=0.0)
    with pytest.raises(ServerError, match="failed, one after another"):
        tended(monkeypatch, ray, seconds=600, replicas=replicas)
    assert ray.placed <= 7 * replicas  # after 0, 1, 3, 7, 15 and 31 s, and not each second


def test_that_the_next_replica_is_asked_for_later_is_no_want_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_fleet, "set_aside_s", lambda times: 300.0)
    works = iter([(10.0, TOLD)])
    ray = FakeRay(work=lambda: next(works, (1e9, None)))
    assert tended(monkeypatch, ray, seconds=400, replicas=1)[0] == 1


def test_a_reply_forgives_the_failures_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(room=10**6, work=lambda: (20.0, RayError("", LemaError("gone"))))
    _, desk = tended(monkeypatch, ray, seconds=600, each=lambda fleet: fleet.has_replied())
    assert len(desk.lost) > 20


@pytest.mark.parametrize(("concurrency", "count"), [(1, 1), (3, 3), (8, 4)])
def test_there_are_no_more_replicas_than_calls_that_the_servers_take(
    monkeypatch: pytest.MonkeyPatch, concurrency: int, count: int
) -> None:
    FakeRay().put_in(monkeypatch)
    called = endpoint("http://127.0.0.1:9/v1", concurrency=concurrency)
    resolved = ResolvedEndpoint("fire", EndpointProfile(model="m"), None, None, "file", called)
    with Fleet(resolved, ScaleProfile(engine="ray", replicas=4), options=ServeOptions()) as fleet:
        assert fleet.most == count


def test_each_replica_serves_the_form_that_was_chosen_where_the_run_was_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeRay().put_in(monkeypatch)
    profile = EndpointProfile(model="m", recipe="llama_server")
    found = ResolvedEndpoint("fire", profile, load_recipe("llama_server"), None, "bf16", endpoint(""))
    plan = ray_fleet._plan(found, ServeOptions(), None)
    assert plan is not None
    assert plan.profile == replace(profile, form="bf16")
