"""A preference pair: the corrected solution against the mistake, as a student writes both."""

from dataclasses import replace

import pytest

from lema_local.corrections.parsing import ParsedCorrection
from lema_local.examples.pairs import Pair, Solved, preference_pair
from lema_local.prompts import cot_input
from lema_local.records.types import Problem

SOLVED = Solved(
    problem=Problem("d", "train", "Tom has 2 boxes of 12 pens and gives 9. How many are left?", "15"),
    mistaken_steps=["There are 2 * 12 = 24 pens", "24 + 9 = 33 are left. The answer is 33."],
    mistaken_answer="33",
    correction=ParsedCorrection(2, "Pens given away are taken off.", "Step 2: 24 - 9 = 15 are left. The answer is 15."),
    corrected_answer="15",
    id="c",
)


def reason(**changed: object) -> str:
    pair, why = preference_pair(replace(SOLVED, **changed))
    assert pair is None
    return why


def test_a_pair_shares_the_steps_before_the_incorrect_one() -> None:
    pair, _ = preference_pair(SOLVED)
    assert pair == Pair(
        prompt=cot_input(SOLVED.problem.question),
        chosen="There are 2 * 12 = 24 pens. 24 - 9 = 15 are left. The answer is 15.",
        rejected="There are 2 * 12 = 24 pens. 24 + 9 = 33 are left. The answer is 33.",
        source_id="c",
        problem_id=SOLVED.problem.id,
    )


def test_a_whole_solution_anew_shares_no_step_with_the_mistake() -> None:
    whole = "Step 1: Each box has 12, so 12 + 12 = 24 pens.\nStep 2: 24 - 9 = 15 are left. The answer is 15."
    pair, _ = preference_pair(replace(SOLVED, correction=ParsedCorrection(2, "Pens are taken off.", whole)))
    assert pair is not None
    assert pair.chosen == "Each box has 12, so 12 + 12 = 24 pens. 24 - 9 = 15 are left. The answer is 15."


def test_a_mistake_without_an_answer_is_rejected_as_it_is() -> None:
    pair, _ = preference_pair(replace(SOLVED, mistaken_steps=["There are 24 pens", "So"], mistaken_answer=None))
    assert pair is not None
    assert pair.rejected == "There are 24 pens. So."


@pytest.mark.parametrize(
    ("solution", "why"),
    [
        ("Step 3: 15 are left. The answer is 15.", "not one solution"),
        ("Step 2: 24 - 9 = 15 are left. The answer is 16.", "the corrected solution ends otherwise"),
        ("Step 2: [PAD] 15 are left. The answer is 15.", "special token"),
        (f"Step 2: {'so ' * 9_000}15 are left. The answer is 15.", "too long"),
    ],
)
def test_what_makes_no_pair_says_why(solution: str, why: str) -> None:
    assert why in reason(correction=ParsedCorrection(2, "No.", solution))


def test_a_mistake_that_reads_otherwise_than_it_was_graded_is_no_pair() -> None:
    assert reason(mistaken_answer="34") == "the mistake ends otherwise"
