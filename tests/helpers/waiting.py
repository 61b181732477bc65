"""wait_until(lambda: server.calls >= 7): what a test waits for, and for how long at most."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], bool], *, limit_s: float = 60.0, every_s: float = 0.05) -> None:
    """Until it is so; AssertionError where it never is."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(every_s)
