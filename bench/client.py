"""CPU of a call: ours, with grading and storing, beside the libraries under it, in one run against one server.

    python bench/client.py [--calls 2000] [--concurrency 64]

The server is the oracle without problems, which answers at once; it has a process of its own, so that only the client's
CPU is counted (getrusage of this process, all its threads). A measurement, not a test: it never fails on time.
"""

import argparse
import asyncio
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lema_local.answers import extract_answer, is_correct
from lema_local.client import Client
from lema_local.endpoint import Endpoint, Prompt, Sampling
from lema_local.records import Problem
from lema_local.stages.calls import Call, complete
from lema_local.store import Store, Writer

TEXT = "Please solve the following math problem.\nQuestion: What is 6 * 7?\nAnswer: Let's think step by step.\n"
MESSAGES = ({"role": "user", "content": TEXT},)
SAMPLING = Sampling(temperature=0.0, max_tokens=64)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a number of calls cost this process."""

    calls: int
    cpu_s: float
    wall_s: float

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu_s / self.calls


def measured(work: Callable[[int], None], calls: int) -> Cost:
    """The cost of `calls` calls, after a few that warm imports and connections up."""
    work(max(1, calls // 20))
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work(calls)
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return Cost(calls, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s)


def body() -> dict[str, Any]:
    return {"model": "oracle", "messages": list(MESSAGES), "temperature": 0.0, "top_p": 1.0, "max_tokens": 64}


async def in_parallel(one: Callable[[], Any], calls: int, concurrency: int) -> None:
    """`calls` awaits of `one`, `concurrency` at a time."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())


def bare_aiohttp(url: str, concurrency: int) -> Callable[[int], None]:
    """The floor: post, read, parse."""
    import aiohttp

    async def run(calls: int) -> None:
        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one() -> None:
                async with session.post(f"{url}/chat/completions", json=body()) as response:
                    assert (await response.json())["choices"][0]["message"]["content"]

            await in_parallel(one, calls, concurrency)

    return lambda calls: asyncio.run(run(calls))


def bare_openai(url: str, concurrency: int) -> Callable[[int], None]:
    """AsyncOpenAI over its aiohttp transport, as its README shows it."""
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def run(calls: int) -> None:
        async with AsyncOpenAI(base_url=url, api_key="none", http_client=DefaultAioHttpClient()) as client:

            async def one() -> None:
                reply = await client.chat.completions.create(**body())
                assert reply.choices[0].message.content

            await in_parallel(one, calls, concurrency)

    return lambda calls: asyncio.run(run(calls))


def endpoint(url: str, concurrency: int) -> Endpoint:
    return Endpoint("reasoner", url, "oracle", "oracle", "bench", concurrency=concurrency)


def our_client(url: str, concurrency: int) -> Callable[[int], None]:
    """The client alone: every reply judged, none stored."""

    async def run(calls: int) -> None:
        async with Client(endpoint(url, concurrency)) as client:
            prompt = Prompt(messages=MESSAGES)
            await in_parallel(lambda: client.complete(prompt, SAMPLING), calls, concurrency)

    return lambda calls: asyncio.run(run(calls))


def our_stage(url: str, concurrency: int, folder: Path) -> Callable[[int], None]:
    """What a run does: keys, client, grading, journal, and the merge into the database."""
    runs = iter(range(1000))

    def work(calls: int) -> None:
        problem, where = Problem("bench", "train", "What is 6 * 7?", "42"), endpoint(url, concurrency)
        wanted = [Call(where, "sample", "cot_input.1", SAMPLING, problem.id, sample_index=k) for k in range(calls)]
        path = folder / f"{next(runs)}.duckdb"
        with Writer(path) as store:
            store.add(problem)
            complete(
                wanted,
                endpoint=where,
                render=lambda call: Prompt(messages=MESSAGES),
                accepts=lambda call, text: is_correct(extract_answer(text, "number"), problem.answer, "number"),
                store=store,
                label="bench",
                on_notice=lambda message: None,
            )
        (row,) = Store(path).rows("select count(*) as n from completion")
        assert row["n"] == calls

    return work


@contextmanager
def oracle() -> Iterator[str]:
    """The base URL of an oracle that answers at once."""
    command = [sys.executable, "-m", "lema_local.servers.oracle", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+/v1", process.stderr.readline())
            assert found, "the oracle did not start"
            yield found[0]
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    print(f"{options.calls} calls, concurrency {options.concurrency}, Python {platform.python_version()}")
    print(f"{'':52} {'ms CPU/call':>11} {'ratio':>6} {'calls/s':>8}")
    with oracle() as url, tempfile.TemporaryDirectory() as folder:
        works = {
            "openai + aiohttp": bare_openai(url, options.concurrency),
            "aiohttp": bare_aiohttp(url, options.concurrency),
            "lema_local client": our_client(url, options.concurrency),
            "lema_local, with grading, journal and database": our_stage(url, options.concurrency, Path(folder)),
        }
        yardstick = None
        for name, work in works.items():
            cost = measured(work, options.calls)
            yardstick = yardstick or cost.cpu_ms
            ratio, rate = cost.cpu_ms / yardstick, cost.calls / cost.wall_s
            print(f"{name:52} {cost.cpu_ms:11.2f} {ratio:6.2f} {rate:8.0f}", flush=True)


if __name__ == "__main__":
    main()
