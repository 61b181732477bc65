"""The run lock: one writer a database file. It is flock(2) on FILE.lock, which holds the PID, while the writer runs."""

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from lema_local.errors import StoreError


def take(path: Path) -> IO[str]:
    """Become the writer of a database file; close the result to stop. StoreError, with the PID, when another is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"Cannot write in {path.parent}: {error.strerror}.") from error
    file = os.fdopen(descriptor, "r+")
    deadline = time.monotonic() + 0.3  # `holder` may have it for an instant
    while not _is_mine(file):
        if time.monotonic() > deadline:
            pid = file.read().strip() or "unknown"
            file.close()
            raise StoreError(f"Another lema (PID {pid}) is writing {path}. Wait for it to end, or stop it: kill {pid}")
        time.sleep(0.02)
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def _is_mine(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(path: Path) -> int | None:
    """The PID of the writer of a database file, or None."""
    try:
        with _lock_path(path).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0) or None
    except (OSError, ValueError):
        return None
    return None


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
