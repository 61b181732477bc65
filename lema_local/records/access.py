"""Getting at the database file, which DuckDB gives either to one process that writes or to any number that read.

A query holds the file for milliseconds, so whoever meets another waits a little. Two cases need more than that:

- Readers who leave no gap (twenty dashboards, a read-only shell that stays open): the writer copies the file, writes
  the copy and renames it onto the file. Readers keep the old one until they close it; whoever opens the file then sees
  the new one.
- A shell that was opened for writing shuts everyone out, us too, until it is closed: `LockedError`.

A file may come from anywhere, and so may the SQL that is asked of it. So DuckDB itself keeps a connection in: see
engines.py.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import duckdb

from lema_local.errors import StoreError
from lema_local.records.damage import first_line, is_damage
from lema_local.records.engines import Opened, open_file

HELD_AFTER_S = 3.0  # a merge or a query is over by then: someone left a shell open on the file
IN_PLACE_S = 0.5  # how long a writer looks for a gap between readers before it copies


class LockedError(StoreError):
    """Another process holds the database file at this moment."""


@contextmanager
def reading(
    path: Path, *, patience_s: float, on_held: Callable[[str], None], writes: Sequence[Path] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection, kept in; it may write the files `writes`. Waits for the lock; LockedError says who holds
    it when patience ends."""
    if not path.exists():
        raise StoreError(f"No database at {path}. Make one with `make data`, or name another with --db.")
    wait = _Patience(path, patience_s, on_held)
    while (opened := _try(path, write=False, wait=wait, reaches=writes)) is None:
        wait.a_little()
    with _closing(opened) as connection:
        yield connection


@contextmanager
def writing(path: Path, *, patience_s: float, on_held: Callable[[str], None]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for one piece of writing: to the file, or beside busy readers to a copy that takes its place."""
    wait = _Patience(path, patience_s, on_held)
    in_place_until = time.monotonic() + IN_PLACE_S
    while True:
        opened = _try(path, write=True, wait=wait)
        if opened is not None:
            with _closing(opened) as connection:
                yield connection
            return
        if time.monotonic() >= in_place_until:
            readers = None if _wal(path).exists() else _try(path, write=False, wait=wait)
            if readers is not None:
                with _replacing(path, readers) as connection:
                    yield connection
                return
            wait.a_little()
        else:
            time.sleep(0.01)


@contextmanager
def _replacing(path: Path, reader: Opened) -> Iterator[duckdb.DuckDBPyConnection]:
    """Write a copy, then rename it onto the file. `reader` keeps every writer out of the file in the meantime."""
    new = path.with_name(path.name + ".new")
    remove_left_over(path)
    try:
        with path.open("rb") as source:  # closed after `reader`: see copy_file
            try:
                copy_file(source, new)
                shutil.copymode(path, new)
                with _closing(open_file(new, write=True)) as connection:
                    yield connection
                if _wal(new).exists():
                    raise StoreError(f"Cannot write {new}. Make room, then run the same command again.")
                new.replace(path)
            finally:
                reader.close()
    finally:
        remove_left_over(path)


def left_over(path: Path) -> list[Path]:
    """Files beside a database that only a crash leaves behind; none holds anything that is not elsewhere."""
    ends = (".new", ".new.wal", ".new.part", ".compact", ".compact.wal")
    return [file for end in ends if (file := path.with_name(path.name + end)).exists()]


def remove_left_over(path: Path) -> None:
    """Delete them; for the one writer of a file."""
    for file in left_over(path):
        file.unlink(missing_ok=True)


def copy_file(source: IO[bytes], target: Path) -> None:
    """A whole copy, synced; one that fails leaves nothing behind.

    Where the file is open as a database too, the caller closes `source` after the database: closing any descriptor of a
    file drops the lock that the process has on it (fcntl(2)).
    """
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        part.rename(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreError(
            f"Cannot write {target}: {error.strerror}. Make room, then run the same command again."
        ) from error


def free_name(path: Path) -> Path:
    """The path, or where it is taken, path-2, path-3, ..."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


class _Patience:
    """Waits a little longer each time, tells once of a long wait, and ends in LockedError."""

    def __init__(self, path: Path, patience_s: float, on_held: Callable[[str], None]) -> None:
        self.path, self.patience_s, self.on_held = path, patience_s, on_held
        self.began = time.monotonic()
        self.pause, self.told, self.holder = 0.01, False, ""

    def a_little(self) -> None:
        waited = time.monotonic() - self.began
        message = f"{self.path} is held by another program ({self.holder}). Close it."
        if waited >= self.patience_s:
            raise LockedError(message)
        if waited >= HELD_AFTER_S and not self.told:
            self.told = True
            self.on_held(message)
        time.sleep(self.pause)
        self.pause = min(self.pause * 2, 0.2)


def _try(path: Path, *, write: bool, wait: _Patience, reaches: Sequence[Path] = ()) -> Opened | None:
    try:
        return open_file(path, write=write, reaches=reaches)
    except duckdb.Error as error:
        if "could not set lock" not in str(error).lower():
            if is_damage(error):
                raise
            raise StoreError(f"Cannot open {path}: {first_line(error)} Name another file with --db.") from error
        _, _, after = str(error).partition("(PID ")
        wait.holder = f"PID {after.partition(')')[0]}" if after else "a database shell?"
        return None


@contextmanager
def _closing(opened: Opened) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        yield opened.connection
    except BaseException:
        opened.close(keep=False)
        raise
    opened.close()


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")
