"""CPU and throughput of calls: ours, with grading and storing, beside the libraries under it, in one run.

    python bench/client.py [--calls 2000] [--concurrency 64] [--endurance 200000]

The server is the oracle without problems: it answers at once, or after a latency. It has a process of its own, so that
only the client's CPU is counted (getrusage of this process, all its threads). A measurement, not a test: it never fails
on time.
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

from lema_local.answers.exact import extract_answer, is_correct
from lema_local.calls.client import Client
from lema_local.calls.endpoint import Endpoint, Prompt, Sampling
from lema_local.records.store import Store, Writer
from lema_local.records.types import Problem
from lema_local.settings.profiles import load_profile
from lema_local.stages.calls import complete
from lema_local.stages.run import Run
from lema_local.stages.work import Call

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


def resident_mib() -> float:
    """What this process holds in memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def our_client(url: str, concurrency: int) -> Callable[[int], None]:
    """The client alone: every reply judged, none stored."""

    async def run(calls: int) -> None:
        async with Client(endpoint(url, concurrency)) as client:
            prompt = Prompt(messages=MESSAGES)
            await in_parallel(lambda: client.complete(prompt, SAMPLING), calls, concurrency)

    return lambda calls: asyncio.run(run(calls))


def our_stage(
    url: str, concurrency: int, folder: Path, on_reply: Callable[[], None] = lambda: None
) -> Callable[[int], None]:
    """What a run does: keys, client, grading, journal, and the merge into the database."""
    profile = load_profile("smoke", environment={})

    def work(calls: int) -> None:
        problem, where = Problem("bench", "train", "What is 6 * 7?", "42"), endpoint(url, concurrency)
        # every second index: no two of them may come by one request
        wanted = [Call(where, "sample", "cot_input.1", SAMPLING, problem.id, sample_index=2 * k) for k in range(calls)]

        def accepts(call: Call, text: str) -> bool:
            on_reply()
            return is_correct(extract_answer(text, "number"), problem.answer, "number")

        path = Path(tempfile.mkdtemp(dir=folder)) / "bench.duckdb"  # a new one: nothing in it to compare with
        with Writer(path) as store:
            store.add(problem)
            run, prompt = Run(profile, store), Prompt(messages=MESSAGES)
            complete(run, wanted, endpoint=where, render=lambda call: prompt, accepts=accepts, label="bench")
        (row,) = Store(path).rows("select count(*) as n from completion")
        assert row["n"] == calls

    return work


@contextmanager
def oracle(latency_s: float = 0.0) -> Iterator[str]:
    """The base URL of an oracle that answers at once, or after a latency."""
    command = [sys.executable, "-m", "lema_local.servers.oracle", "--port", "0", "--latency", str(latency_s)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+/v1", process.stderr.readline())
            assert found, "the oracle did not start"
            yield found[0]
        finally:
            process.terminate()


def cpu(calls: int, concurrency: int, folder: Path) -> None:
    """CPU of a call against a server that answers at once."""
    print(f"{'answers at once':52} {'ms CPU/call':>11} {'ratio':>6} {'calls/s':>8}")
    with oracle() as url:
        works = {
            "openai + aiohttp": bare_openai(url, concurrency),
            "aiohttp": bare_aiohttp(url, concurrency),
            "lema_local client": our_client(url, concurrency),
            "lema_local, with grading, journal and database": our_stage(url, concurrency, folder),
        }
        yardstick = None
        for name, work in works.items():
            cost = measured(work, calls)
            yardstick = yardstick or cost.cpu_ms
            ratio, rate = cost.cpu_ms / yardstick, cost.calls / cost.wall_s
            print(f"{name:52} {cost.cpu_ms:11.2f} {ratio:6.2f} {rate:8.0f}", flush=True)


def throughput(latency_s: float, calls: int, concurrency: int, folder: Path) -> None:
    """Calls a second against a server with a latency, as a share of the bare loop's."""
    print(f"{f'answers after {1000 * latency_s:.0f} ms':52} {'':>11} {'share':>6} {'calls/s':>8}")
    with oracle(latency_s) as url:
        yardstick = None
        for name, work in {
            "aiohttp": bare_aiohttp(url, concurrency),
            "lema_local, with grading, journal and database": our_stage(url, concurrency, folder),
        }.items():
            cost = measured(work, calls)
            rate = cost.calls / cost.wall_s
            yardstick = yardstick or rate
            print(f"{name:52} {'':>11} {rate / yardstick:6.2f} {rate:8.0f}", flush=True)


def startup(folder: Path) -> None:
    """From nothing to a client that could call: imports and the open database, in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from lema_local.stages import correct, sample; "
        "from lema_local.calls.client import Client; from lema_local.records.store import Writer; "
        "from lema_local.calls.endpoint import Endpoint\n"
        "with Writer(Path(sys.argv[1])): Client(Endpoint('e', 'http://127.0.0.1:9/v1', 'm', 'm', 'i'))"
    )
    for _ in range(2):  # the first one reads the files from disk
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, str(folder / "startup.duckdb")], check=True)
        took = time.perf_counter() - started
    print(f"{'start-up: imports, client, database':52} {1000 * took:8.0f} ms")


def endurance(calls: int, concurrency: int, folder: Path) -> None:
    """Whether endless work grows the process."""
    seen, held = 0, dict[int, float]()

    def look() -> None:
        nonlocal seen
        seen += 1
        if seen % 20_000 == 0:
            held[seen] = resident_mib()

    with oracle() as url:
        our_stage(url, concurrency, folder, look)(calls)
    print("memory after so many calls: " + ", ".join(f"{n:,}: {mib:.0f} MiB" for n, mib in held.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument(
        "--endurance", type=int, default=0, help="so many calls in one process, and the memory they take"
    )
    options = parser.parse_args()
    print(f"{options.calls} calls, concurrency {options.concurrency}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cpu(options.calls, options.concurrency, folder)
        for latency_s in (0.05, 0.5):
            throughput(latency_s, options.calls, options.concurrency, folder)
        startup(folder)
        if options.endurance:
            endurance(options.endurance, options.concurrency, folder)


if __name__ == "__main__":
    main()
