"""The desk of a review: a sample that is drawn once, and where each reviewer stands in it.

Everything that a key press needs is in memory; a grade is on disk (FILE.reviews) before its answer leaves. The
database is not touched meanwhile: whoever writes it merges the events, and where nobody does, `settle` does. It is read
only for a grade that a browser kept of an earlier sample.
"""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from lema_local.errors import LemaError, StoreError
from lema_local.records.shared_journal import SharedJournal, shared_path
from lema_local.records.store import Store, Writer
from lema_local.records.types import Grade, Review
from lema_local.review.items import Item
from lema_local.review.progress import Progress
from lema_local.review.rubric import GRADES, MAX_NOTE, is_model, name_fault

BUSY_S = 0.5  # how long the desk looks for a gap between others who have the file open


def no_notice(message: str) -> None:
    """Where nobody reads it."""


class RefusedError(LemaError):
    """An event that cannot be: no such correction, reviewer or grade."""


class Desk:
    """Takes events of any number of reviewers. Safe to use from several threads."""

    def __init__(
        self,
        store: Store,
        items: Sequence[Item],
        events: Sequence[Review],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._items = {item.id: item for item in items}
        self._places = {item.id: place for place, item in enumerate(items, 1)}
        self._now, self._latest = (
            now,
            max((event.created_at for event in events), default=datetime.min.replace(tzinfo=UTC)),
        )
        self._seen = {event.id for event in events}
        self._progress: dict[str, Progress] = {}
        self._lock = threading.Lock()
        for event in events:
            if event.correction_id in self._items and not is_model(event.reviewer):
                self._of(event.reviewer).apply(event)

    def __len__(self) -> int:
        return len(self._items)

    def reviewers(self) -> list[dict[str, Any]]:
        """Who has begun, and how far; not what they think."""
        with self._lock:
            found = [(name, progress.as_dict()) for name, progress in sorted(self._progress.items())]
        return [{"name": name, "graded": p["graded"], "total": p["total"]} for name, p in found]

    def view(self, reviewer: str) -> dict[str, Any]:
        """What the page shows a reviewer now: how far they are, and the correction to grade (None: all are)."""
        with self._lock:
            return self._view(reviewer, self._of(reviewer, keep=False))

    def answer(self, reviewer: str, body: dict[str, Any]) -> dict[str, Any]:
        """Record what a reviewer did, and say what comes next. An event that was recorded before changes nothing.

        RefusedError for what cannot be, StoreError where the disk takes no more.
        """
        with self._lock:
            progress = self._of(reviewer)
            event = self._event(reviewer, progress, body)
            if event is not None and event.id not in self._seen:
                self._store.add_review(event)
                self._seen.add(event.id)
                self._latest = event.created_at
                progress.apply(event)
            shown = event.correction_id if event is not None and event.event == "undo" else None
            return self._view(reviewer, progress, shown)

    def _of(self, reviewer: str, *, keep: bool = True) -> Progress:
        fault = name_fault(reviewer)
        if fault is not None:
            raise RefusedError(fault)
        found = self._progress.get(reviewer) or Progress(tuple(self._items))
        if keep:
            self._progress[reviewer] = found
        return found

    def _view(self, reviewer: str, progress: Progress, shown: str | None = None) -> dict[str, Any]:
        id_ = shown or progress.next()
        item = None
        if id_ is not None:
            item = self._items[id_].as_dict() | {"place": self._places[id_], "note": progress.drafts.get(id_, "")}
        pid = self._store.writer_pid()
        is_run = pid is not None and pid != os.getpid()  # else it is our own settling
        return {"reviewer": reviewer, "progress": progress.as_dict(), "item": item, "writer": pid if is_run else None}

    def _event(self, reviewer: str, progress: Progress, body: dict[str, Any]) -> Review | None:
        """The event that a request describes; None: an undo of nothing."""
        id_, kind = _uuid(body.get("id")), body.get("event")
        at = max(self._now(), self._latest + timedelta(microseconds=1))  # the latest counts, so no two are of one time
        if kind == "undo":
            if id_ in self._seen:
                return None
            last = progress.before_last()
            if last is None:
                return None
            correction, before = last
            return Review(id_, correction, reviewer, before.grade, before.note, at, "undo")
        correction = _uuid(body.get("correction"))
        if correction not in self._items and not self._is_recorded(correction):
            raise RefusedError("The database does not hold this correction: grade the one that is shown.")
        note = body.get("note") or None
        if note is not None and (not isinstance(note, str) or len(note) > MAX_NOTE):
            raise RefusedError(f"A note is text of at most {MAX_NOTE} characters.")
        if kind == "skip":
            return Review(id_, correction, reviewer, None, note, at, "skip")
        return Review(id_, correction, reviewer, _grade(kind, body.get("grade")), note, at)

    def _is_recorded(self, correction: str) -> bool:
        """Whether the database holds it."""
        with self._store.connect(patience_s=BUSY_S) as connection:
            found = connection.execute("select 1 from correction where id = $id::uuid", {"id": correction}).fetchone()
        return found is not None


def _grade(kind: object, grade: object) -> Grade:
    for known in GRADES:
        if kind == "grade" and grade == known:
            return known
    raise RefusedError(f"An event is a skip, an undo, or a grade: {', '.join(GRADES)}.")


def _uuid(text: object) -> str:
    try:
        return str(UUID(str(text)))
    except ValueError:
        raise RefusedError("An event and its correction are named by their ids.") from None


def settle(store: Store, *, on_notice: Callable[[str], None] = no_notice) -> bool:
    """Merge the events that wait, where nobody else writes the file now; returns whether all are in the database.
    `on_notice` is told of those that cannot be merged."""
    journal = SharedJournal(shared_path(store.path))
    if journal.holds_any() and store.writer_pid() is None:
        try:
            with Writer(store.path, patience_s=BUSY_S, on_notice=on_notice):
                pass
        except StoreError:  # a run has just begun, or a shell has the file: the events wait, on disk
            return False
    return not journal.holds_any()
