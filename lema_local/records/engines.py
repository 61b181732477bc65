"""The DuckDB that opens a file: it is started once, and kept when it lets go of the file.

A query holds its file for milliseconds (access.py), so a run opens one thousands of times. To start DuckDB takes five
times the CPU of attaching a file to one that runs, since it registers 3,300 functions. Those used last stay for more:

    opened = open_file(Path("lema.duckdb"), write=False)  # starts DuckDB, attaches the file
    opened.connection.execute("from meta")
    opened.close()                                        # the file is free for everyone; DuckDB stays

What a DuckDB may reach is settled as long as it runs, so each serves one path, to read or to write. One that reads
reaches no other file (but those that the caller names, to write an export) and takes no setting any more; one that
writes reaches the folder of the file, where the journals are. Names of Python variables are no tables in either.
"""

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import duckdb

from lema_local.records.quoting import identifier, literal

READABLE_SINCE = "v1.4.0"  # the oldest DuckDB that reads a new file: shells of 1.x are what people have
_KEPT = 2  # of 4 MB each: a writer's two
_OWN_NAME = "memory"  # of what DuckDB starts with; no file can be attached by this name


class _Key(NamedTuple):
    path: Path
    write: bool
    reaches: tuple[Path, ...]


class Opened:
    """A connection to an attached file, for one piece of work."""

    def __init__(self, engine: "_Engine", connection: duckdb.DuckDBPyConnection) -> None:
        self._engine, self.connection, self._is_open = engine, connection, True

    def close(self, *, keep: bool = True) -> None:
        """Let go of the file. DuckDB stays, unless something went wrong: some faults leave it of no more use."""
        with _lock:
            self._is_open = False
            try:
                self._engine.release(self.connection, keep=keep)
            finally:
                if self._engine.users == 0:
                    _engines.pop(self._engine.key, None)
                    if self._engine.is_sound:
                        _engines[self._engine.key] = self._engine  # the last of them was used last
                        _stop_idle(all_but=_KEPT)
                    else:
                        self._engine.stop()

    def __del__(self) -> None:
        if self._is_open:  # Ctrl-C came between an opening and its work
            self.close(keep=False)


def open_file(path: Path, *, write: bool, reaches: Sequence[Path] = ()) -> Opened:
    """A connection to a file, which is the current database. One that writes creates the file where there is none; one
    that reads may also write the files `reaches`. duckdb.Error where DuckDB cannot open it."""
    key = _Key(path.absolute(), write, tuple(reaches))
    with _lock:
        # DuckDB sees that a file is open for writing. Two who read it would each have a descriptor, and the first one
        # that is closed drops the lock that the process has on the file (fcntl(2))
        if any(other.path == key.path and other != key and engine.users for other, engine in _engines.items()):
            raise duckdb.ConnectionException(f"this process has {path} open already, for other work.")
        engine = _engines.get(key) or _Engine(key)
        try:
            opened = Opened(engine, engine.connect())
        except BaseException:
            if engine.users == 0:
                _engines.pop(key, None)
                engine.stop()
            raise
        _engines[key] = engine
        return opened


class _Engine:
    """A DuckDB, to which its file is attached while someone uses it."""

    def __init__(self, key: _Key) -> None:
        self.key, self.users, self.is_sound = key, 0, True
        self._name = ""
        self._duckdb = duckdb.connect(
            # a new file is one that DuckDB shells of 1.4 and later read too; a file that is there stays as it is
            config={"storage_compatibility_version": READABLE_SINCE, "python_enable_replacements": False}
        )
        folder = key.path.parent
        beside = [key.path.with_name(key.path.name + end) for end in ("", ".wal", ".wal.checkpoint", ".wal.recovery")]
        spilled = f"{key.path}.tmp"
        self._set("temp_directory", literal(spilled))
        if key.write:
            self._set("allowed_directories", _texts({folder, folder.resolve()}))
        else:
            self._set("allowed_paths", _texts([*beside, *key.reaches]))
            self._set("allowed_directories", _texts([f"{spilled}/"]))
        self._set("enable_external_access", "false")
        if not key.write:  # what writes runs no SQL but ours
            self._set("lock_configuration", "true")

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection of which the file is the current database; the first attaches it."""
        if self.users == 0:
            self._attach()
        connection = self._duckdb.cursor()
        try:
            connection.execute(f"use {identifier(self._name)}")
        except BaseException:
            connection.close()
            raise
        self.users += 1
        return connection

    def _attach(self) -> None:
        stem = self.key.path.name.lstrip(".").partition(".")[0]
        # as DuckDB calls others that are in the way
        alias = f"as {identifier(stem + '_db')}" if stem.lower() == _OWN_NAME else ""
        options = "" if self.key.write else ", read_only"
        self._duckdb.execute(f"attach {literal(self.key.path)} {alias} (type duckdb{options})")
        if not self._name:
            ((self._name,),) = self._duckdb.execute(
                "select database_name from system.main.duckdb_databases() where not internal and path is not null"
            ).fetchall()

    def release(self, connection: duckdb.DuckDBPyConnection, *, keep: bool) -> None:
        """End a connection; with the last one the file is detached."""
        is_sound, self.is_sound = self.is_sound and keep, False
        self.users -= 1
        with suppress(duckdb.Error):  # what went wrong before says more
            connection.close()
            if self.users == 0:
                self._duckdb.execute(f"detach {identifier(self._name)}")
            self.is_sound = is_sound

    def stop(self) -> None:
        with suppress(duckdb.Error):
            self._duckdb.close()

    def _set(self, setting: str, value: str) -> None:
        self._duckdb.execute(f"set {setting} = {value}")


def _stop_idle(*, all_but: int = 0) -> None:
    idle = [key for key, engine in _engines.items() if engine.users == 0]
    for key in idle[: max(len(idle) - all_but, 0)]:
        _engines.pop(key).stop()


def _before_fork() -> None:
    """A forked process has none of DuckDB's threads and cannot even stop it: it inherits no idle one."""
    _lock.acquire()
    _stop_idle()


_lock = threading.RLock()
_engines: dict[_Key, _Engine] = {}
os.register_at_fork(before=_before_fork, after_in_parent=_lock.release, after_in_child=_lock.release)


def _texts(values: Iterable[Path | str]) -> str:
    return "[" + ", ".join(literal(value) for value in values) + "]"
