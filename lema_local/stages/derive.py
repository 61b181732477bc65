"""Derived records from facts: completions become graded rationales, corrections and evaluations. No LLM call, so it
can be done again.

`derive` grades what is new after a stage; `rederive` grades everything anew after a change of the grader or parser,
and tells what flipped.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lema_local.answers.authors import is_correct_authors
from lema_local.answers.exact import extract_answer
from lema_local.answers.grading import Grader
from lema_local.corrections.checks import check, stray
from lema_local.corrections.parsing import ParsedCorrection, parse_correction, rejection_of
from lema_local.corrections.rationales import number_steps, split_steps
from lema_local.corrections.resolving import steps_to_resume, whole_solution
from lema_local.prompts import sampled_steps
from lema_local.records.endings import is_whole
from lema_local.records.store import Store, Writer, stage_sql
from lema_local.records.types import Correction, Evaluation, Purpose, Rationale

Row = dict[str, Any]
_STRETCH = 20_000  # completions read at a time
TABLES: dict[str, tuple[Purpose, ...]] = {
    "rationale": ("sample", "augment"),
    "correction": ("correct",),
    "evaluation": ("evaluate",),
}


@dataclass(frozen=True, slots=True)
class Flip:
    """How many rows of a table changed: their grade (of corrections, whether they are kept), or anything."""

    table: str
    rows: int
    became_correct: int
    became_wrong: int
    changed: int = 0


def derive(store: Writer, purpose: Purpose) -> int:
    """Grade the completions of a purpose that have no derived row yet; returns how many."""
    store.merge()
    derived = 0
    table = next(table for table, purposes in TABLES.items() if purpose in purposes)
    with Grader() as grader:
        for rows in _completions(store, purpose, everything=False):
            store.derive(table, list(_derived(rows, purpose, grader)))
            derived += len(rows)
        if purpose == "correct" and derived:
            mark_resolved(store, grader)
    return derived


def rederive(store: Writer) -> list[Flip]:
    """Grade every completion anew and replace the derived tables.

    A few thousand rows are in memory at a time, and the database is free for readers while they are graded.
    """
    store.merge()
    with Grader() as grader:
        tables = {table: _all_derived(store, purposes, grader) for table, purposes in TABLES.items()}
        flips = [Flip(table, *counts) for table, counts in store.rederive(tables).items()]
        mark_resolved(store, grader)
        return flips


def mark_resolved(store: Writer, grader: Grader) -> None:
    """Say of each correction that was re-solved whether its reasoner reached the answer."""
    found = []
    for id_, text, finish_reason, step, solution, mistaken, template, reference, kind in store.table(
        stage_sql("resolve_replies")
    )[1]:
        steps = steps_to_resume(ParsedCorrection(step, None, solution), sampled_steps(mistaken, template))
        answer = extract_answer(whole_solution(steps, text), kind) if steps and is_whole(finish_reason) else None
        found.append([id_, grader.grade(answer, reference, kind).is_correct])
    if found:
        store.set_resolved(found)


def _all_derived(store: Writer, purposes: Iterable[Purpose], grader: Grader) -> Iterable[Any]:
    for purpose in purposes:
        for rows in _completions(store, purpose, everything=True):
            yield from _derived(rows, purpose, grader)


def _completions(store: Store, purpose: Purpose, *, everything: bool) -> Iterator[list[Row]]:
    """The completions to grade, a stretch of the table at a time."""
    (span,) = store.rows(stage_sql("ungraded_span"), purpose=purpose, everything=everything)
    if span["first"] is None:
        return
    sql = stage_sql("ungraded")
    for first in range(span["first"], span["last"] + 1, _STRETCH):
        if rows := store.rows(sql, purpose=purpose, everything=everything, first=first, count=_STRETCH):
            yield rows


def _derived(rows: Iterable[Row], purpose: Purpose, grader: Grader) -> Iterable[Any]:
    make: dict[Purpose, Callable[[Row, Grader], Any]] = {
        "sample": _rationale,
        "augment": _rationale,
        "correct": _correction,
        "evaluate": _evaluation,
    }
    return (make[purpose](row, grader) for row in rows)


def _rationale(row: Row, grader: Grader) -> Rationale:
    """Graded by its steps, where it has any: what a model rambles on after them neither saves nor spoils them."""
    return _graded(row, number_steps(split_steps(row["text"])) or row["text"], grader)


def _graded(row: Row, text: str, grader: Grader) -> Rationale:
    answer = extract_answer(text, row["kind"])
    verdict = grader.grade(answer, row["reference"], row["kind"])
    return Rationale(
        id=row["id"],
        problem_id=row["problem_id"],
        reasoner=row["model"],
        answer=answer,
        is_correct=verdict.is_correct,
        is_correct_authors=is_correct_authors(text, row["reference"], row["kind"]),
        decided_by=verdict.decided_by,
        is_cut=not is_whole(row["finish_reason"]),
    )


def _evaluation(row: Row, grader: Grader) -> Evaluation:
    graded = _graded(row, row["text"], grader)
    return Evaluation(
        id=graded.id,
        problem_id=graded.problem_id,
        model=row["model"],
        base=row["model_identity"].removesuffix(f"+{row['checkpoint_id']}"),
        checkpoint_id=row["checkpoint_id"],
        sample_index=row["sample_index"],
        answer=graded.answer,
        is_correct=graded.is_correct,
        is_correct_authors=graded.is_correct_authors,
        decided_by=graded.decided_by,
        is_cut=graded.is_cut,
    )


def _correction(row: Row, grader: Grader) -> Correction:
    mistaken = sampled_steps(row["mistaken_text"] or "", row["mistaken_template"] or "")
    parsed = parse_correction(row["text"], mistaken)
    answer = extract_answer(parsed.correct_solution, row["kind"]) if parsed.correct_solution else None
    is_correct = grader.grade(answer, row["reference"], row["kind"]).is_correct
    found = check(
        parsed,
        question=row["question"],
        solution=row["solution"],
        reference=row["reference"],
        kind=row["kind"],
        mistaken=mistaken,
    )
    return Correction(
        id=row["id"],
        problem_id=row["problem_id"],
        rationale_id=row["rationale_id"],
        corrector=row["model"],
        is_reference_derived=row["is_reference_derived"],
        incorrect_step=parsed.incorrect_step,
        explanation=parsed.explanation,
        correct_solution=parsed.correct_solution,
        answer=answer,
        is_correct=is_correct,
        rejected_because=rejection_of(
            parsed,
            original_steps=len(mistaken),
            finish_reason=row["finish_reason"],
            answer=answer,
            is_correct=is_correct,
            stray=stray(parsed, question=row["question"], mistaken=mistaken),
        ),
        **asdict(found),
        mistaken_steps=len(mistaken),
    )
