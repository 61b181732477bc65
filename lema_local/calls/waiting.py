"""wait_for(): asyncio.run, also where this thread has an event loop already, as a notebook's has."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
BEGIN_S = 1.0  # in which a thread begins, if it does


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns. Ctrl-C cancels it, waits until it has kept what it has, and is raised. Of the errors of
    a TaskGroup's tasks the first stands for all."""
    try:
        return _run(work)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = (
        concurrent.futures.Future()
    )

    ended = threading.Event()

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        started.set_result((asyncio.get_running_loop(), task))
        return await work

    def run() -> T:
        try:
            return asyncio.run(main())
        finally:
            ended.set()

    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        try:  # around the beginning too: Ctrl-C may come before there is anything to wait for
            return pool.submit(run).result()
        except KeyboardInterrupt:
            with suppress(TimeoutError, RuntimeError):  # it never began, or has just ended
                loop, task = started.result(timeout=BEGIN_S)
                loop.call_soon_threadsafe(task.cancel)
                ended.wait()
            raise
