"""The run lock: one writer a database file. It is flock(2) on FILE.lock while the writer runs; the file says who it is:

4711
2026-11-24 20:31:05
lema data --profile laptop
"""

import os
import shlex
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO

from lema_local.errors import StoreError
from lema_local.records.locks import lock

MAX_COMMAND_CHARACTERS = 200


def take(path: Path, *, wait: bool = False, on_notice: Callable[[str], None] = lambda message: None) -> IO[str]:
    """Become the writer of a database file; close the result to stop. While another is: StoreError that says who, or
    `wait` until it has ended."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"Cannot write in {path.parent}: {error.strerror}.") from error
    file = os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")
    try:
        deadline, told = time.monotonic() + 0.3, False  # `holder` may have it for an instant
        while not lock(file, wait=False):
            if time.monotonic() > deadline:
                pid, who = _who(file)
                if not wait:
                    raise StoreError(
                        f"Another lema ({who}) is writing {path}. Wait for it with --wait, or stop it: kill {pid}"
                    )
                if not told:
                    on_notice(f"Waiting for another lema ({who}), which is writing {path}.")
                    told = True
            time.sleep(0.02 if not told else 0.2)
    except BaseException:
        file.close()
        raise
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n{datetime.now():%Y-%m-%d %H:%M:%S}\n{command[:MAX_COMMAND_CHARACTERS]}")
    file.flush()
    return file


def _who(file: IO[str]) -> tuple[str, str]:
    """The PID of the writer, and one line on it: PID, command, since when."""
    file.seek(0)
    pid, since, command = [*file.read().split("\n", 2), "", ""][:3]
    details = [f"PID {pid.strip() or 'unknown'}", command.replace("\n", " "), f"since {since}" if since else ""]
    return pid.strip() or "unknown", ", ".join(filter(None, details))


def holder(path: Path) -> int | None:
    """The PID of the writer of a database file, or None."""
    try:
        with _lock_path(path).open("r") as file:
            return None if lock(file, wait=False, shared=True) else int(file.readline()) or None
    except (OSError, ValueError):
        return None


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
