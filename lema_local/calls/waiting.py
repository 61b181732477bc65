"""wait_for(): asyncio.run, also where this thread has an event loop already, as a notebook's has."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


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

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        started.set_result((asyncio.get_running_loop(), task))
        return await work

    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        done = pool.submit(asyncio.run, main())
        try:
            return done.result()
        except KeyboardInterrupt:
            loop, task = started.result()
            with suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
            concurrent.futures.wait([done])
            raise
