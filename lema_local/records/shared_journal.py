"""A journal that any number of processes add to: FILE.reviews, where grades are safe before the writer merges them.

A person grades for an hour, and `lema data` may run, start or end in the meantime; so whoever reviews is not the one
writer of the file. Each event is one line, as in the writer's own journal, added under flock(2):

    {"crc32": "77c3e1b0", "table": "review", "row": ["8c1e...", "77aa...", "ada", "good", null, "2026-11-24", ...]}

Every writer of the file merges the lines each second and at its start, under the same lock. Grades come at the speed
of people, so each is synced to disk.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lema_local.errors import StoreError
from lema_local.records.journal import Fact, Journal, Sealed, cut_torn_line, fault_of, line_of, survey
from lema_local.records.locks import lock


def shared_path(database: Path) -> Path:
    """Where the events beside a database wait."""
    return database.with_name(database.name + ".reviews")


class SharedJournal(Journal):
    """Append-only file beside the database; safe to use from several processes."""

    def append(self, record: Fact) -> None:
        """Record an event. When this returns it is on disk."""
        data = line_of(record)
        try:
            with self._locked(create=True) as file:
                if file is None:  # never: it was made
                    raise FileNotFoundError(self.path)
                cut_torn_line(self.path)
                size = os.fstat(file).st_size
                try:
                    written = os.write(file, data)
                    while written < len(data):
                        written += os.write(file, data[written:])
                    os.fdatasync(file)
                except OSError:
                    os.ftruncate(file, size)
                    raise
        except OSError as error:
            raise StoreError(f"Cannot write {self.path}: {error.strerror}. Make room; nothing is lost.") from error

    def seal(self) -> Sealed | None:
        """Set the present lines aside for merging, for the one writer. None if there is nothing to merge."""
        if not self.sealed.exists():  # else a merge was interrupted, and its lines come first
            with self._locked(create=False) as file:
                if file is None:
                    return None
                self.path.rename(self.sealed)
        cut_torn_line(self.sealed)
        return survey(self.sealed)

    def waiting(self) -> Iterator[list[Any]]:
        """The rows that are not merged yet, in their order. Some may be in the database by now: an id says so."""
        for path in (self.sealed, self.path):
            with suppress(FileNotFoundError), path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n") and fault_of(line) is None:  # else a crash tore it, or it is damaged
                        with suppress(ValueError, KeyError, TypeError):
                            yield json.loads(line)["row"]

    def holds_any(self) -> bool:
        """Whether events wait to be merged."""
        return self.path.exists() or self.sealed.exists()

    @contextmanager
    def _locked(self, *, create: bool) -> Iterator[int | None]:
        """The open file, locked and still at its path; None where there is none."""
        flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT if create else 0)
        while True:
            try:
                file = os.open(self.path, flags, 0o600)
            except FileNotFoundError:
                yield None
                return
            try:
                lock(file)
                if self._is_in_place(file):
                    yield file
                    return
            finally:
                os.close(file)

    def _is_in_place(self, file: int) -> bool:
        """Whether the file was not set aside between opening and locking it."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False
