"""A database of corrections to review: two reasoners, two correctors, two levels; or with hostile texts."""

from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import facts

from lema_local.records import bulk
from lema_local.records.journal import row_of
from lema_local.records.store import Writer
from lema_local.records.types import Correction, Grade, Problem, Rationale, Review

REASONERS, CORRECTORS, LEVELS = ("llama", "gpt-3.5"), ("gpt-4", "wizard"), ("1", "5")
QUESTION = (
    "A bakery bakes {n} trays of 12 rolls in the morning. By noon 17 rolls are sold, and in the afternoon each of the "
    "4 helpers takes 2 rolls home. How many rolls are left?"
)
MISTAKE = (
    "Step 1: The bakery bakes {n} * 12 = {baked} rolls.\nStep 2: By noon {baked} - 17 = {noon} rolls are left.\n"
    "Step 3: The helpers take 4 + 2 = 6 rolls home.\nStep 4: So {noon} - 6 = {wrong} rolls are left. "
    "The answer is {wrong}."
)
EXPLANATION = "Each of the 4 helpers takes 2 rolls, so the rolls taken home are a product, 4 * 2, not a sum."
SOLUTION = (
    "Step 3: The helpers take 4 * 2 = 8 rolls home.\nStep 4: So {noon} - 8 = {right} rolls are left. "
    "The answer is {right}."
)
HOSTILE = (
    '<script>window.owned = 1</script><img src=x onerror="window.owned = 1"> <a href="javascript:window.owned=1">x</a>',
    "</li></ol></main></body><style>body{display:none}</style><!-- <![CDATA[ ]]> &lt;b&gt; &amp;#60; </textarea>",
    "\u202eright to left override שלום עולם and \u2067isolate مرحبا 12 + 5 = 17",
    "\\frac{1}{2 + \\left( \\begin{align} x &= \\sqrt{ \\text{not closed $ $$ \\[ \\( 3",
    "x" * 100_000,
    "word " * 20_000,
    "NUL \x00 bell \x07 \x1b[31mred\x1b[0m \ufffd \u200b\ufeff 👩‍👩‍👧‍👦 Z̸̛͎a̴l̷g̵o",
)  # fmt: skip


def an_id(number: int) -> str:
    return str(UUID(int=number))


def fill(db: Path, *, each: int = 3, hostile: bool = False) -> None:
    """`each` kept corrections of every reasoner, corrector and level, and one rejected; or those with hostile texts."""
    rows: dict[str, list[Any]] = {"problem": [], "completion": [], "rationale": [], "correction": []}
    if hostile:
        for k, text in enumerate(HOSTILE):
            solution = f"Step 1: {text}\n{text}\nStep 2: The answer is 1."
            _add(
                rows, k, "llama", "gpt-4", "1", (f"{text} {k}", f"Step 1: {text}\nStep 2: {text}", text, solution, text)
            )
        _add(rows, len(HOSTILE), "<b>llama</b>", "<i>gpt</i>", "1", ("plain", HOSTILE[4], None, "no step", None))
    else:
        for k, (reasoner, corrector, level, _) in enumerate(product(REASONERS, CORRECTORS, LEVELS, range(each))):
            _add(rows, k, reasoner, corrector, level, _texts(k + 3))
        _add(rows, 900, "llama", "gpt-4", "1", _texts(40), rejected="wrong answer")
    with Writer(db) as store, store.connect(write=True) as connection, bulk.transaction(connection):
        for table, records in rows.items():
            bulk.append(connection, table, map(row_of, records))


def _texts(n: int) -> tuple[str, str, str | None, str, str | None]:
    baked = n * 12
    values = {"n": n, "baked": baked, "noon": baked - 17, "wrong": baked - 23, "right": baked - 25}
    reference = f"{n} * 12 = {baked} rolls are baked. {baked} - 17 - 4 * 2 = {baked - 25} are left."
    return QUESTION.format(**values), MISTAKE.format(**values), EXPLANATION, SOLUTION.format(**values), reference


def _add(
    rows: dict[str, list[Any]], k: int, reasoner: str, corrector: str, level: str,
    texts: tuple[str, str, str | None, str, str | None], *, rejected: str | None = None,
) -> None:  # fmt: skip
    question, mistake, explanation, solution, reference = texts
    problem = Problem("bakery", "train", question, str(k * 12 + 11), solution=reference, level=level)
    asked = facts.completion(problem, id=an_id(1_000 + k), purpose="sample", template="sample_number.1", text=mistake)
    reply = facts.completion(problem, id=an_id(2_000 + k), purpose="correct", rationale_id=asked.id, text=solution)
    rows["problem"].append(problem)
    rows["completion"] += [asked, reply]
    rows["rationale"].append(Rationale(asked.id, problem.id, reasoner, str(k * 12 + 13), False, False, "exact", False))
    rows["correction"].append(
        Correction(
            reply.id, problem.id, asked.id, corrector, False, 3, explanation, solution, problem.answer,
            rejected is None, rejected,
        )
    )  # fmt: skip


def review(number: int, correction: int, reviewer: str, grade: Grade | None, **more: Any) -> Review:
    """An event, the later the higher its number."""
    at = datetime(2026, 1, 2, 3, number // 60, number % 60, tzinfo=UTC)
    return Review(an_id(5_000 + number), an_id(2_000 + correction), reviewer, grade, None, at, **more)
