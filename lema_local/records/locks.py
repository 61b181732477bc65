"""Locks between processes: flock(2) on an open file, which ends with the process that holds it, however that ends."""

import fcntl
from typing import IO, Any


def lock(file: int | IO[Any], *, wait: bool = True, shared: bool = False) -> bool:
    """Lock an open file until it is closed; `shared`: with others that share it. Whether it is locked: with `wait` it
    always is in the end."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
