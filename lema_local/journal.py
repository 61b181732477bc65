"""The journal: where a reply is safe before it is in DuckDB.

Each record is one JSON line, appended and flushed as it comes (a killed process loses nothing) and synced to disk at
least
every 200 ms (a power cut loses at most that). The lines wait here until the database file is free to be written:

    {"table": "completion", "row": ["0d1f...", "sample", "smollm2-135m-instruct", ...]}

A line torn by a crash was never acknowledged; it is dropped when the file is read.
"""

import dataclasses
import json
import os
import threading
from collections import defaultdict
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from lema_local.errors import StoreError
from lema_local.records import Attempt, Batch, BatchCall, BatchEnd, Checkpoint, Completion, Problem

Fact = Problem | Completion | Attempt | Batch | BatchCall | BatchEnd | Checkpoint

TABLES: dict[type[Any], str] = {
    Problem: "problem",
    Completion: "completion",
    Attempt: "attempt",
    Batch: "batch",
    BatchCall: "batch_call",
    BatchEnd: "batch_end",
    Checkpoint: "checkpoint",
}


@cache
def columns(kind: type[Any]) -> tuple[str, ...]:
    """The columns of a record's table: its id first, where it has one, then its fields in order."""
    names = [field.name for field in dataclasses.fields(kind) if field.name != "id"]
    return ("id", *names) if hasattr(kind, "id") else tuple(names)


def row_of(record: Any) -> list[Any]:
    """A record as a row of its table, values in the order of `columns`. Text that UTF-8 cannot hold is mended."""
    return [_plain(getattr(record, name)) for name in columns(type(record))]  # type: ignore[arg-type]  # a class is hashable


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates, which DuckDB refuses
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, datetime):
        return value.isoformat()
    return value


class Journal:
    """Append-only file beside the database. Safe to use from several threads of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sealed = path.with_name(path.name + ".merging")
        self._lock = threading.Lock()
        self._file: int | None = None
        self._unsynced = False

    def append(self, record: Fact) -> None:
        """Record a fact. When this returns, a kill of the process cannot lose it."""
        line = json.dumps({"table": TABLES[type(record)], "row": row_of(record)}, ensure_ascii=False) + "\n"
        data = line.encode()
        with self._lock:
            try:
                if self._file is None:
                    self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                    # a line torn by an earlier crash must not swallow the next one
                    if os.fstat(self._file).st_size:
                        os.write(self._file, b"\n")
                written = os.write(self._file, data)
                while written < len(data):
                    written += os.write(self._file, data[written:])
            except OSError as error:
                if self._file is not None:  # it may end in half a line now: the next append starts a new one
                    os.close(self._file)
                    self._file = None
                raise StoreError(
                    f"Cannot write {self.path}: {error.strerror}. Make room, then run the same command again."
                ) from error
            self._unsynced = True

    def sync(self) -> None:
        """Force what was appended to disk."""
        with self._lock:
            if self._unsynced and self._file is not None:
                os.fdatasync(self._file)
                self._unsynced = False

    def seal(self) -> bool:
        """Set the present lines aside for merging; later ones go to a new file. True if there is anything to merge."""
        if self.sealed.exists():  # a merge that was interrupted: its lines come first
            return True
        with self._lock:
            if self._file is not None:
                os.fdatasync(self._file)
                os.close(self._file)
                self._file, self._unsynced = None, False
            if not self.path.exists():
                return False
            if self.path.stat().st_size == 0:
                self.path.unlink()
                return False
            self.path.rename(self.sealed)
            return True

    def read_sealed(self) -> dict[str, list[list[Any]]]:
        """The sealed rows by table. Torn lines are left out: they were never acknowledged."""
        rows: dict[str, list[list[Any]]] = defaultdict(list)
        with self.sealed.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                rows[entry["table"]].append(
                    entry["row"] + ([None, 1] if entry["table"] == "completion" and len(entry["row"]) == 19 else [])
                )
        return rows

    def drop_sealed(self) -> None:
        """The sealed rows are in the database: forget them."""
        self.sealed.unlink()

    def close(self) -> None:
        """Sync and close; the file stays if it holds lines."""
        self.sync()
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
