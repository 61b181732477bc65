"""The journal: where a reply is safe before it is in DuckDB.

Each record is one JSON line, appended and flushed as it comes (a killed process loses nothing) and synced to disk at
least every 200 ms (a power cut loses at most that). The lines wait here until the database file is free to be written:

    {"crc32": "5e0f1a77", "table": "completion", "row": ["0d1f...", "sample", "smollm2-135m-instruct", ...]}

The checksum is zlib's CRC-32 over what follows it (from "table" to the line end), so that a line that the disk gave
back otherwise is never taken for a record. Lines of an older lema begin with "table" and have none.

A line torn by a crash was never acknowledged; it is cut off when the file is next written or merged. Text that UTF-8
cannot hold (lone surrogates) is mended with U+FFFD, and a line for the table `mended` says so.
"""

import dataclasses
import json
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any
from zlib import crc32

from lema_local.errors import StoreError
from lema_local.records.access import free_name
from lema_local.records.types import (
    Attempt,
    Batch,
    BatchCall,
    BatchEnd,
    Checkpoint,
    Completion,
    Problem,
    Review,
    TrainingMetric,
)

Fact = Problem | Completion | Attempt | Batch | BatchCall | BatchEnd | Checkpoint | Review | TrainingMetric

TABLES: dict[type[Any], str] = {
    Problem: "problem",
    Completion: "completion",
    Attempt: "attempt",
    Batch: "batch",
    BatchCall: "batch_call",
    BatchEnd: "batch_end",
    Checkpoint: "checkpoint",
    Review: "review",
    TrainingMetric: "training_metric",
}
_OLD_HEAD = b'{"table": "'
_HEAD = b'{"crc32": "'
_SUM = slice(len(_HEAD), len(_HEAD) + 8)
_BODY = len(b'{"crc32": "01234567", ')
_TABLE = len(b'"table": "')
_getters: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {}


def columns(kind: type[Any]) -> tuple[str, ...]:
    """The columns of a record's table: its id first, where it has one, then its fields in order."""
    names = [field.name for field in dataclasses.fields(kind) if field.name != "id"]
    return ("id", *names) if hasattr(kind, "id") else tuple(names)


def values_of(record: Any) -> tuple[Any, ...]:
    """What a record holds, in the order of `columns`."""
    getter = _getters.get(type(record))
    if getter is None:
        getter = _getters[type(record)] = attrgetter(*columns(type(record)))
    return getter(record)


def row_of(record: Any) -> list[Any]:
    """A record as a row of its table. Text that UTF-8 cannot hold is mended."""
    return [_plain(value) for value in values_of(record)]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates, which DuckDB refuses
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, datetime):
        return value.isoformat()
    return value


def line_of(record: Fact) -> bytes:
    """The line, or lines, of a fact: a second one for each field that had to be mended."""
    table, values = TABLES[type(record)], values_of(record)
    try:
        return _line(table, values)
    except (UnicodeEncodeError, ValueError):  # both are rare: the common way pays for neither
        row = row_of(record)
        mended = [
            _line("mended", (table, row[0], name))
            for name, before, after in zip(columns(type(record)), values, row, strict=True)
            if isinstance(before, str)
            and after.count("\ufffd") > before.count("\ufffd")  # halves of one sign join whole
        ]
        row = [str(v) if isinstance(v, float) and not math.isfinite(v) else v for v in row]  # JSON has no NaN
        return b"".join([_line(table, row), *mended])


def _line(table: str, values: Any) -> bytes:
    row = json.dumps(values, ensure_ascii=False, allow_nan=False, default=datetime.isoformat)
    body = f'"table": "{table}", "row": {row}}}\n'.encode()
    return b'{"crc32": "%08x", %b' % (crc32(body), body)


def fault_of(line: bytes) -> str | None:
    """Why a line, its line end with it, is not as it was written; None where nothing is wrong."""
    if line.startswith(_HEAD):
        return None if b"%08x" % crc32(line[_BODY:]) == line[_SUM] else "its checksum does not match"
    return None if line.startswith(_OLD_HEAD) else "it begins as no line of a journal"


@dataclass(frozen=True, slots=True)
class Sealed:
    """Journal lines set aside for merging."""

    path: Path
    lines: int  # those that are as they were written
    longest: int  # bytes
    tables: tuple[str, ...]
    faults: dict[int, str]  # number of a line that is not, from 1 -> why


class Journal:
    """Append-only file beside the database. Safe to use from several threads of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sealed = path.with_name(path.name + ".merging")
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._unsynced = False

    def append(self, record: Fact) -> None:
        """Record a fact. When this returns, a kill of the process cannot lose it."""
        data = line_of(record)
        with self._lock:
            try:
                if self._file is None:
                    cut_torn_line(self.path)
                    self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                    self._size = os.fstat(self._file).st_size
                written = os.write(self._file, data)
                while written < len(data):
                    written += os.write(self._file, data[written:])
            except OSError as error:
                self._take_back()
                raise StoreError(
                    f"Cannot write {self.path}: {error.strerror}. Make room, then run the same command again."
                ) from error
            self._size += len(data)
            self._unsynced = True

    def _take_back(self) -> None:
        """The file ends in half a line now: cut it off, or leave that to whoever opens the file next."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            os.close(self._file)
            self._file = None

    def sync(self) -> None:
        """Force what was appended to disk."""
        with self._lock:
            if self._unsynced and self._file is not None:
                os.fdatasync(self._file)
                self._unsynced = False

    def seal(self) -> Sealed | None:
        """Set the present lines aside for merging; later ones go to a new file. None if there is nothing to merge."""
        if not self.sealed.exists():  # else a merge was interrupted, and its lines come first
            with self._lock:
                if self._file is not None:
                    os.fdatasync(self._file)
                    os.close(self._file)
                    self._file, self._unsynced = None, False
                if not self.path.exists():
                    return None
                self.path.rename(self.sealed)
        cut_torn_line(self.sealed)
        return survey(self.sealed)

    def drop_sealed(self) -> None:
        """The sealed rows are in the database: forget them."""
        self.sealed.unlink()

    def set_aside(self, faults: dict[int, str]) -> Path:
        """Keep these of the sealed lines (number -> why they cannot be merged) in a file for a person to look at."""
        kept = free_name(self.path.with_name(f"{self.path.name}.unreadable"))
        with self.sealed.open("rb") as lines, kept.open("xb") as file:
            for number, line in enumerate(lines, 1):
                if number in faults:
                    file.write(f"# line {number}: {faults[number]}\n".encode() + line)
            file.flush()
            os.fsync(file.fileno())
        return kept

    def close(self) -> None:
        """Sync and close; the file stays if it holds lines."""
        self.sync()
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


def survey(path: Path) -> Sealed:
    """What a file of journal lines holds, without reading the JSON: half a gigabyte a second."""
    lines, longest, tables, faults = 0, 0, dict[bytes, None](), dict[int, str]()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if len(line) > 1:  # version 1 wrote empty lines
                fault = fault_of(line)
                if fault is not None:
                    faults[number] = fault
                    continue
                lines += 1
                longest = max(longest, len(line))
                start = _TABLE + (_BODY if line.startswith(_HEAD) else 1)
                tables[line[start : line.index(b'"', start)]] = None
    return Sealed(path, lines, longest, tuple(name.decode(errors="replace") for name in tables), faults)


def cut_torn_line(path: Path) -> None:
    """Cut off what follows the last line end: a crash tore it, so it was never acknowledged. But a whole line of which
    only the end is damaged was: it gets its end back."""
    with suppress(FileNotFoundError), path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep:
            start = max(0, keep - (1 << 16))
            file.seek(start)
            found = file.read(keep - start).rfind(b"\n")
            keep = start + found + 1
            if found >= 0:
                break
        if keep < end:
            file.seek(keep)
            rest = file.read()
            if rest.startswith(_HEAD) and fault_of(rest[:-1] + b"\n") is None:
                file.seek(end - 1)
                file.write(b"\n")
            else:
                file.truncate(keep)
