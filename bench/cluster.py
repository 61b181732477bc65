"""What a Ray cluster costs and holds, beside the local engine in the same run.

    python bench/cluster.py [engines] [capacity] [merge] [memory]        # without a name: all, some ten minutes

engines: calls a second at a server that answers at once (the oracle), by the local engine and by two replicas in turn.
capacity: eight replicas with 64 calls in flight each, at a server that takes 1 to 3 s a call, then at one that takes
  2 s to the millisecond, whose replies come in waves that two cores must work off: done, of what they could do.
merge: replies a second that get from replicas, which make them up, over the desk into the database.
memory: of the driver at a million pending calls, some of which are made.

Ray is one of this machine alone; its cores are made up. Starts are not counted. A measurement, not a test: it never
fails on time.
"""

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from client import MESSAGES, SAMPLING, endpoint, oracle

from lema_local.calls.endpoint import Endpoint, Prompt
from lema_local.calls.replies import Reply
from lema_local.errors import BudgetError
from lema_local.records.store import Store, Writer
from lema_local.records.types import Problem
from lema_local.serving.endpoints import ResolvedEndpoint
from lema_local.serving.ray_cluster import package
from lema_local.settings.endpoints import EndpointProfile
from lema_local.settings.profiles import load_profile
from lema_local.settings.tables import ScaleProfile
from lema_local.stages import ray_fleet
from lema_local.stages.calls import complete, pending
from lema_local.stages.desk import Replied
from lema_local.stages.engines import open_model
from lema_local.stages.run import Run
from lema_local.stages.work import Call

ray = package()  # quiet
PART = ("engines", "capacity", "merge", "memory")
MADE_UP = Reply("A step of a solution, of some words. " * 16 + "The answer is 42.", "stop", 300, 120, 1.0, None)
PROBLEM = Problem("bench", "train", "What is 6 * 7?", "42")
PENDING = 1_000_000
MADE = 50_000  # of those, until the memory is read


class Parrot:
    """In the place of a replica: it calls nobody."""

    def __init__(self, name: str) -> None:
        self._name = name

    def start(self, plan: Any) -> str:
        return "here"

    def stop(self) -> None:
        """Nothing to end."""

    def work(self, desk: Any, endpoint: Endpoint, batch: int) -> None:
        while (handout := ray.get(desk.take.remote(self._name, batch))) is not None:
            replied = [Replied(job.number, [MADE_UP] * len(job.indexes), True) for job in handout.jobs]
            ray.get(desk.give.remote(self._name, replied))


@contextmanager
def new_run(replicas: int, batch: int = 16) -> Iterator[Run]:
    with tempfile.TemporaryDirectory() as folder, Writer(Path(folder) / "bench.duckdb") as store:
        store.add(PROBLEM)
        profile = load_profile("smoke", environment={})
        yield Run(replace(profile, scale=ScaleProfile(engine="ray", replicas=replicas, batch=batch)), store)


@contextmanager
def fleet(run: Run, where: Endpoint) -> Iterator[None]:
    with open_model(run, ResolvedEndpoint("bench", EndpointProfile(model="oracle"), None, None, "file", where)):
        yield


def calls_of(where: Endpoint, first: int, calls: int) -> list[Call]:
    """Every second index: no two of them may come by one request."""
    return [
        Call(where, "sample", "cot_input.1", SAMPLING, PROBLEM.id, sample_index=2 * k)
        for k in range(first, first + calls)
    ]


def rate(
    run: Run, where: Endpoint, numbers: "itertools.count[int]", calls: int, times: list[float] | None = None
) -> float:
    """Calls a second, of a stage of so many new ones, until all are in the database; `times`: when each reply came."""

    def accepts(call: Call, text: str) -> bool:
        if times is not None:
            times.append(time.perf_counter())
        return True

    prompt, first = Prompt(messages=MESSAGES), next(numbers) * 10**6
    wanted = calls_of(where, first, calls)
    started = time.perf_counter()
    outcome = complete(run, wanted, endpoint=where, render=lambda call: prompt, accepts=accepts, label="bench")
    run.store.merge()
    took = time.perf_counter() - started
    assert outcome.done == calls
    ids = [call.id for call in wanted]
    assert not run.store.missing("completion", ids)
    return calls / took


def engines(calls: int) -> None:
    with oracle() as url, new_run(2) as run:
        where, numbers, rates = endpoint(url, 64), itertools.count(), dict[str, list[float]](local=[], ray=[])
        with fleet(run, where):
            engine = run.engine
            for use in (None, engine):
                run.engine = use
                rate(run, where, numbers, 500)  # warm
            for _ in range(5):
                for name, use in (("local", None), ("ray", engine)):
                    run.engine = use
                    rates[name].append(rate(run, where, numbers, calls))
    local, by_ray = (statistics.median(rates[name]) for name in ("local", "ray"))
    print(f"calls/s at an instant server: local {local:.0f}, 2 replicas {by_ray:.0f}: {by_ray / local:.2f} {rates}")


def capacity(least_s: float, most_s: float, *, rounds: int, replicas: int = 8, in_flight: int = 64) -> None:
    with slow_server(least_s, most_s) as url, new_run(replicas) as run:
        where, numbers = endpoint(url, replicas * in_flight), itertools.count()
        with fleet(run, where):
            rate(run, where, numbers, 2 * replicas * in_flight)
            times: list[float] = []
            whole = rate(run, where, numbers, replicas * in_flight * rounds, times)
    most, twentieth = replicas * in_flight / ((least_s + most_s) / 2), len(times) // 20
    steady = 18 * twentieth / (times[19 * twentieth] - times[twentieth])
    print(
        f"{replicas} x {in_flight} calls of {least_s:g} to {most_s:g} s, at most {most:.0f} calls/s: {steady:.0f} "
        f"({steady / most:.2f}) without the first and last twentieth; {whole:.0f} ({whole / most:.2f}) with them",
        flush=True,
    )


SLOW_SERVER = """
import asyncio, json, random, sys
from aiohttp import web
body = json.dumps({
    "choices": [{"index": 0, "message": {"content": "The answer is 42."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 7},
}).encode()
async def reply(request):
    await request.read()
    await asyncio.sleep(random.uniform(float(sys.argv[1]), float(sys.argv[2])))
    return web.Response(body=body, content_type="application/json")
async def main():
    app = web.Application()
    app.router.add_post("/v1/chat/completions", reply)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextmanager
def slow_server(least_s: float, most_s: float) -> Iterator[str]:
    """The base URL of a server that takes so long a call."""
    command = [sys.executable, "-c", SLOW_SERVER, str(least_s), str(most_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


def merge(calls: int) -> None:
    ray_fleet.Replica = Parrot  # type: ignore[misc, assignment]
    with new_run(2) as run:
        where, numbers = endpoint("http://127.0.0.1:9/v1", 256), itertools.count()
        with fleet(run, where):
            rate(run, where, numbers, 1000)
            print(f"replies/s over the desk into the database: {rate(run, where, numbers, calls):.0f}")
        (row,) = Store(run.store.path).rows("select count(*) as n from completion")
        assert row["n"] == calls + 1000, row


def memory() -> None:
    """In a process of its own, whose peak is read."""
    subprocess.run([sys.executable, __file__, "memory-here"], check=True)


def memory_here() -> None:
    ray_fleet.Replica = Parrot  # type: ignore[misc, assignment]
    with new_run(2) as run:
        where, prompt, made = endpoint("http://127.0.0.1:9/v1", 256), Prompt(messages=MESSAGES), itertools.count()
        wanted = pending(run, calls_of(where, 0, PENDING))

        def render(call: Call) -> Prompt:
            if next(made) > MADE:
                raise BudgetError("enough")
            return prompt

        with fleet(run, where), suppress(BudgetError):
            complete(run, wanted, endpoint=where, render=render, accepts=None, label="bench")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"memory of the driver at {PENDING:,} pending calls, after {MADE:,} replies: {peak:.2f} GiB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PART, "memory-here"], metavar="PART")
    parser.add_argument("--calls", type=int, default=6000)
    options = parser.parse_args()
    parts = options.parts or list(PART)
    ray.init(
        num_cpus=16,
        object_store_memory=200_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        if "engines" in parts:
            engines(options.calls)
        if "capacity" in parts:
            capacity(1.0, 3.0, rounds=30)
            capacity(2.0, 2.0, rounds=15)
        if "merge" in parts:
            merge(10 * options.calls)
        if "memory-here" in parts:
            memory_here()
    finally:
        ray.shutdown()
    if "memory" in parts:
        memory()


if __name__ == "__main__":
    main()
