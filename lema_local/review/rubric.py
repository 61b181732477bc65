"""The rubric of human review, and what a sequence of events makes of a correction's grade. Pure.

Grades and what they mean are those of the paper's human study (arXiv 2310.20689, section 3.1), in our words: 50
corrections by GPT-4 were 35 excellent, 11 good and 4 poor.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from lema_local.records.types import Grade, Review

GRADES: tuple[Grade, ...] = get_args(Grade)  # from the best
DEFINITIONS: Mapping[Grade, str] = {
    "excellent": "The wrong step is named, the explanation is sound, and the new steps go on from the kept ones.",
    "good": "As excellent, but the steps that go on have minor faults.",
    "poor": "The wrong step is not named, or the explanation is unsound.",
}
JUDGE = "model:"  # how the reviewer's name of a judge begins; no person's does

PEOPLE = "people"  # the middle grade of all persons who graded a correction

Graders = Literal["people", "models", "all"]
MAX_NAME = 60  # characters
MAX_NOTE = 4_000


def is_model(reviewer: str) -> bool:
    """Whether the grades of this reviewer are a model's."""
    return reviewer.startswith(JUDGE)


def name_fault(reviewer: str) -> str | None:
    """Why this cannot be the name of a person who reviews; None: it can."""
    if not reviewer or reviewer != reviewer.strip() or not reviewer.isprintable():
        return "A reviewer's name is one line of text."
    if set(reviewer) & set("/\\?#%") or not reviewer.strip("."):  # it stands in the page's address
        return "A reviewer's name has no / \\ ? # or %, and more than dots."
    if len(reviewer) > MAX_NAME:
        return f"A reviewer's name has at most {MAX_NAME} characters."
    if reviewer == PEOPLE:
        return f"{PEOPLE!r} stands for all reviewers together: take another name."
    if is_model(reviewer):
        return f"Names that begin with {JUDGE!r} are a judge's."
    return None


def current_grades(events: Iterable[Review]) -> dict[tuple[str, str], Grade]:
    """(correction, reviewer) -> grade, of events in their order: the latest event counts."""
    latest: dict[tuple[str, str], Grade | None] = {}
    for event in events:
        latest[event.correction_id, event.reviewer] = event.grade
    return {key: grade for key, grade in latest.items() if grade is not None}


def consensus(grades: Sequence[Grade]) -> Grade | None:
    """One grade for what several reviewers said: the middle one, of two middle ones the worse. None of none."""
    ranks = sorted(map(GRADES.index, grades))
    return GRADES[ranks[len(ranks) // 2]] if ranks else None


def counts_of(reviewer: str, graders: Graders) -> bool:
    """Whether this reviewer is one of those whose grades were asked for."""
    return graders == "all" or is_model(reviewer) == (graders == "models")
