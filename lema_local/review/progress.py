"""Where a reviewer stands in a sample, from their events. Pure.

progress = Progress(["a", "b", "c"])
progress.apply(event)          # a grade, a skip or an undo, in their order
progress.next()                # "b": the first that is neither graded nor skipped; then those skipped, oldest first
progress.before_last()         # what an undo would bring back
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lema_local.records.types import Grade, Review
from lema_local.review.rubric import GRADES


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands for a correction at a time; neither grade nor skip: it is open."""

    grade: Grade | None = None
    note: str | None = None
    is_skipped: bool = False


OPEN = Mark()


@dataclass(slots=True)
class Progress:
    """One reviewer's way through a sample."""

    order: Sequence[str]
    marks: dict[str, Mark] = field(default_factory=dict)  # the latest last
    drafts: dict[str, str] = field(default_factory=dict)  # notes of what was undone, to be used again
    _undoable: list[tuple[str, Mark]] = field(default_factory=list)  # a correction, and what stood for it before

    def apply(self, event: Review) -> None:
        """Take in an event; of other samples too, which leaves the way as it is."""
        id_ = event.correction_id
        if event.event == "undo":
            self._undo(id_)
            return
        self._undoable.append((id_, self.marks.pop(id_, OPEN)))
        self.marks[id_] = Mark(event.grade, event.note, event.event == "skip")
        self.drafts.pop(id_, None)
        if event.event == "skip" and event.note:
            self.drafts[id_] = event.note

    def _undo(self, id_: str) -> None:
        at = next((k for k in range(len(self._undoable) - 1, -1, -1) if self._undoable[k][0] == id_), None)
        if at is None:
            return
        _, before = self._undoable.pop(at)
        undone = self.marks.pop(id_, OPEN)
        if before != OPEN:
            self.marks[id_] = before
        if undone.note:
            self.drafts[id_] = undone.note

    def before_last(self) -> tuple[str, Mark] | None:
        """The correction that an undo brings back, and what stood for it before; None: there is nothing to undo."""
        mine = set(self.order)
        return next((each for each in reversed(self._undoable) if each[0] in mine), None)

    def next(self) -> str | None:
        """The correction to grade now; None: all are graded."""
        unseen = next((id_ for id_ in self.order if id_ not in self.marks), None)
        if unseen is not None:
            return unseen
        mine = set(self.order)
        return next((id_ for id_, mark in self.marks.items() if mark.is_skipped and id_ in mine), None)

    def as_dict(self) -> dict[str, Any]:
        """Counts, for the page."""
        marks = [self.marks[id_] for id_ in self.order if id_ in self.marks]
        counts = Counter(mark.grade for mark in marks if mark.grade)
        return {
            "total": len(self.order),
            "graded": counts.total(),
            "skipped": sum(mark.is_skipped for mark in marks),
            "counts": {grade: counts[grade] for grade in GRADES},
            "can_undo": self.before_last() is not None,
        }
